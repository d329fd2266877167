//! What the stored tensors decide: whether the head is tied, where a tensor is, and how many layers there are.
use std::collections::BTreeSet;

use super::config::Notes;
use super::decoder::HEAD;
use super::spec::{ModelSpec, Product, Tensor};
use crate::checkpoint::Checkpoint;
use crate::error::{Category, Error, Result};
use crate::quantized::is_stored;

/// Tables that older files carry for their layers and every implementation computes anew.
const TABLE: &str = "rotary_emb.inv_freq";

/// Which tensor is the embedding and which the head of a model whose config ties them. By transformers' rule they are
/// not tied where both are stored with different values, and either may stand for both where the other is missing.
///
/// # Errors
/// config.json does not tie them, and there is no head.
pub fn settle_head(checkpoint: &Checkpoint, spec: &mut ModelSpec, notes: &Notes) -> Result<()> {
    let embedding = spec.embedding.name.clone();
    let embedding = is_stored(checkpoint, &embedding).then_some(&*embedding);
    let head = is_stored(checkpoint, HEAD).then_some(HEAD);
    let [rows, columns] = [spec.vocab, spec.hidden];
    let tied = spec.head.parts[0].name == spec.embedding.name;
    match (tied, embedding, head) {
        (false, Some(_), None) if checkpoint.absent(HEAD).is_none() => Err(no_head(checkpoint, rows, columns)),
        (true, None, Some(_)) => {
            spec.embedding = Tensor::matrix(HEAD, rows, columns);
            spec.head = Product::of(spec.embedding.clone());
            Ok(())
        }
        (true, Some(embedding), Some(head)) if !equal(checkpoint, embedding, head) => {
            spec.head = Product::of(Tensor::matrix(HEAD, rows, columns));
            notes.borrow_mut().push(format!(
                "config.json: tie_word_embeddings true is ignored: {HEAD} is stored and differs from {}",
                spec.embedding.name
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Quantized ones never are: their scales might differ, and nobody stores one matrix so twice.
fn equal(checkpoint: &Checkpoint, left: &str, right: &str) -> bool {
    let (Some(left), Some(right)) = (checkpoint.tensor(left), checkpoint.tensor(right)) else { return false };
    let plain = left.is_plain() && right.is_plain();
    let same = if left.dtype == right.dtype { left.data() == right.data() } else { left.bf16() == right.bf16() };
    plain && left.shape == right.shape && same
}

fn no_head(checkpoint: &Checkpoint, rows: usize, columns: usize) -> Error {
    Error::new(Category::Model, "Tensor not found")
        .details(format_args!(
            "{}: {HEAD}: expected shape [{rows}, {columns}], found no such tensor, and config.json does not tie it",
            checkpoint.directory().display()
        ))
        .hint("download all shards again; if the head is the embedding, set tie_word_embeddings to true in config.json")
}

/// Checks the index's word for the tensors that the model asks for; what else it names may be missing.
///
/// # Errors
/// A tensor is in no shard, though the index names one.
pub fn check_index(checkpoint: &Checkpoint, spec: &ModelSpec) -> Result<()> {
    let absent = |tensor: &&Tensor| Some((tensor.name.clone(), checkpoint.absent(&tensor.name)?));
    let Some((name, shard)) = spec.tensors().iter().find_map(absent) else { return Ok(()) };
    Err(Error::new(Category::Model, "Tensor is not in its shard")
        .details(format_args!("{name}: expected in {}, as model.safetensors.index.json says", shard.display()))
        .hint("download the index and its shards again, from one revision"))
}

/// Says how many layers the file has beyond those that config.json counts.
pub fn uncounted_layers(checkpoint: &Checkpoint) -> Option<String> {
    let counted = checkpoint.config().get("num_hidden_layers")?.as_u64()?;
    let names = checkpoint.tensors().map(|(name, _)| name).filter(|name| !name.ends_with(TABLE));
    let beyond: BTreeSet<u64> = names.filter_map(layer).filter(|&layer| layer >= counted).collect();
    let last = beyond.last()?;
    Some(format!(
        "{} layers of the file are not used: config.json: num_hidden_layers is {counted}, the file has layers up to {last}",
        beyond.len()
    ))
}

/// The number of the layer that a tensor belongs to.
fn layer(name: &str) -> Option<u64> {
    let rest = name.strip_prefix("model.layers.").or_else(|| name.strip_prefix("backbone.layers."))?;
    rest.split('.').next()?.parse().ok()
}
