//! The format of each product, as the stored tensors decide it.
use super::config::Notes;
use super::spec::{InputChange, ModelSpec, Product, Tensor};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::quantized::Quantized;
use gpu_kernels::Format;

/// How a matrix of a product is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFormat {
    /// Its name without `.weight`.
    pub module: String,
    /// None where it is plain numbers.
    pub format: Option<Format>,
}

/// Gives each product of `spec`, and the embedding, the format that holds what is stored; says how each matrix of a
/// product is stored.
///
/// # Errors
/// A quantized tensor is incomplete, of a wrong shape or type, or of a tool whose files are not read.
pub fn settle(checkpoint: &Checkpoint, spec: &mut ModelSpec, notes: &Notes) -> Result<Vec<StoredFormat>> {
    let (mut stored, mut wide) = (Vec::new(), Vec::new());
    for product in spec.products_mut() {
        let found: Vec<_> = product.parts.iter().map(|part| find(checkpoint, part)).collect::<Result<_>>()?;
        let module = |part: &Tensor| part.name.trim_end_matches(".weight").to_owned();
        let format = |found: &Option<Quantized>| found.as_ref().map(|found| found.format);
        let both = product.parts.iter().zip(&found);
        stored.extend(both.map(|(part, found)| StoredFormat { module: module(part), format: format(found) }));
        if choose(product, &found) == Some(Format::F32) {
            wide.push(module(&product.parts[0]));
        }
    }
    if let Some(found) = find(checkpoint, &spec.embedding)? {
        let changed = found.order.is_some() || found.factor.is_some();
        spec.embedding.format = if changed { Format::F32 } else { found.format };
    }
    if let Some(first) = wide.first() {
        notes.borrow_mut().push(format!(
            "{} products are kept in F32, since their parts are stored in different formats or orders: the first is of {first}",
            wide.len()
        ));
    }
    Ok(stored)
}

fn find(checkpoint: &Checkpoint, tensor: &Tensor) -> Result<Option<Quantized>> {
    Quantized::find(checkpoint, &tensor.name, tensor.matrix_shape())
}

/// Gives a product the format that all of its parts have, else F32; none where all are plain.
fn choose(product: &mut Product, found: &[Option<Quantized>]) -> Option<Format> {
    if found.iter().all(Option::is_none) {
        return None;
    }
    let all: Option<Vec<Quantized>> = found.iter().cloned().collect();
    let common = all.as_deref().and_then(Quantized::common);
    if let (Some(_), Some(first)) = (common, found[0].as_ref()) {
        product.input =
            InputChange { ordered: first.order.is_some(), factored: first.factor.is_some(), ..InputChange::default() };
    }
    let format = common.unwrap_or(Format::F32);
    product.parts.iter_mut().for_each(|part| part.format = format);
    Some(format)
}
