//! Tensors of a checkpoint as a model asks for them: checked, and as parts for a device.
mod share;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Dtype, StoredElements, StoredTensor};
use crate::device::{Converted, Format, Weight, WeightPart};
use crate::error::{Category, Error, Result};
use crate::models::spec::{ModelSpec, Tensor};
use crate::quantized::{self, Quantized};

/// Tables that older files carry and every implementation computes anew.
const IGNORED: &str = "rotary_emb.inv_freq";

/// A checkpoint's tensors, to be asked for by name and shape.
#[derive(Debug)]
pub struct Weights {
    checkpoint: Checkpoint,
}

impl Weights {
    /// The tensors of `checkpoint`.
    pub fn new(checkpoint: Checkpoint) -> Weights {
        Weights { checkpoint }
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The parts, stacked, or where they are cut the share of each rank; a vector is one row. What has the weight's format in the mapped file stays there, the rest is
    /// made when a device copies it, or asks for it in memory: bf16, or f32 where the tensor is exact, or rows of codes.
    ///
    /// # Errors
    /// A tensor is missing, or of another shape or type than expected, or what stands beside quantized ones is.
    ///
    /// # Panics
    /// If there is no part, or their widths differ: a mistake in a family.
    pub fn parts(&self, parts: &[Tensor]) -> Result<Weight> {
        let whole: Vec<Tensor> = parts.iter().map(Tensor::whole).collect();
        let modules = whole.chunk_by(|one, next| quantized::is_one_module(&one.name, &next.name));
        let made: Vec<Vec<WeightPart>> = modules.map(|parts| self.module(parts)).collect::<Result<_>>()?;
        share::of_ranks(parts, made.into_iter().flatten().collect())
    }

    /// Checks all tensors of a model before any of them is read.
    ///
    /// # Errors
    /// As [`Weights::parts`], for the first tensor in the order of use.
    pub fn check_all(&self, spec: &ModelSpec) -> Result<()> {
        spec.tensors().into_iter().try_for_each(|tensor| self.find(tensor).map(|_| ()))
    }

    /// Names of the tensors that the model does not ask for, but for those known to be of no use, and for those beside
    /// quantized weights or attention.
    pub fn unused(&self, spec: &ModelSpec) -> Vec<&str> {
        let used: BTreeSet<&str> = spec.tensors().into_iter().map(|tensor| tensor.name.as_str()).collect();
        let is_used = |name: &str| used.contains(name) || quantized::beside(name).is_some_and(|it| used.contains(&*it));
        let scales_cache = |name: &str| {
            let attention = [".k_scale", ".v_scale"].iter().find_map(|suffix| name.strip_suffix(suffix));
            attention.is_some_and(|it| used.contains(&*format!("{}.k_proj.weight", it.trim_end_matches(".attn"))))
        };
        let names = self.checkpoint.tensors().map(|(name, _)| name);
        names.filter(|name| !is_used(name) && !scales_cache(name) && !name.ends_with(IGNORED)).collect()
    }

    /// How many of the model's tensors are narrowed to bf16, by their type on disk.
    pub fn narrowed(&self, spec: &ModelSpec) -> BTreeMap<Dtype, usize> {
        let narrow = spec.tensors().into_iter().filter(|tensor| tensor.format == Format::Bf16);
        let used: BTreeSet<&str> = narrow.map(|tensor| tensor.name.as_str()).collect();
        let mut narrowed = BTreeMap::new();
        for stored in used.into_iter().filter_map(|name| self.checkpoint.tensor(name)) {
            if stored.dtype != Dtype::BF16 {
                *narrowed.entry(stored.dtype).or_default() += 1;
            }
        }
        narrowed
    }

    /// The parts that belong to one module. Plain ones that are to be codes become them together.
    fn module(&self, tensors: &[Tensor]) -> Result<Vec<WeightPart>> {
        let parts: Vec<WeightPart> = tensors.iter().map(|tensor| self.part(tensor)).collect::<Result<_>>()?;
        let format = tensors[0].format;
        if !format.is_packed() || parts.iter().any(|part| part.format() != Format::Bf16) {
            return Ok(parts);
        }
        quantized::quantize(tensors.iter().map(|tensor| tensor.name.as_str().into()).zip(parts).collect(), format)
    }

    /// A part in its tensor's format, or in bf16 where that is packed and what is stored is plain.
    fn part(&self, tensor: &Tensor) -> Result<WeightPart> {
        match self.find(tensor)? {
            Found::Quantized(quantized) => Ok(quantized.part(tensor.format)),
            Found::Plain(stored) if tensor.format.is_packed() => {
                plain_part(&Tensor { format: Format::Bf16, ..tensor.clone() }, stored)
            }
            Found::Plain(stored) => plain_part(tensor, stored),
        }
    }

    fn find(&self, tensor: &Tensor) -> Result<Found<'_>> {
        if let [rows, columns] = tensor.shape[..]
            && let Some(quantized) = Quantized::find(&self.checkpoint, &tensor.name, [rows, columns])?
        {
            return Ok(Found::Quantized(quantized));
        }
        let stored = self.checkpoint.tensor(&tensor.name).ok_or_else(|| self.missing(tensor))?;
        if !stored.is_plain() {
            return Err(wrong_dtype(tensor, stored));
        }
        if stored.shape != tensor.shape {
            return Err(Error::new(Category::Model, "Tensor has the wrong shape")
                .details(format_args!(
                    "{}: {}: expected {:?}, found {:?}",
                    stored.file.display(),
                    tensor.name,
                    tensor.shape,
                    stored.shape
                ))
                .hint("config.json and weights do not belong together: download both from one revision"));
        }
        Ok(Found::Plain(stored))
    }

    fn missing(&self, tensor: &Tensor) -> Error {
        let directory = self.checkpoint.directory().display();
        Error::new(Category::Model, "Tensor not found")
            .details(format_args!(
                "{directory}: {}: expected shape {:?}, found no such tensor",
                tensor.name, tensor.shape
            ))
            .hint("config.json and weights do not belong together: download both from one revision")
    }
}

/// What is stored as a tensor.
enum Found<'a> {
    Plain(&'a Arc<StoredTensor>),
    Quantized(Quantized),
}

fn plain_part(tensor: &Tensor, stored: &Arc<StoredTensor>) -> Result<WeightPart> {
    let ([rows, columns], format, exact) = (tensor.matrix_shape(), tensor.format, tensor.format == Format::F32);
    let elements = if exact { stored.exact_elements() } else { stored.elements() };
    match elements.ok_or_else(|| wrong_dtype(tensor, stored))? {
        StoredElements::InPlace(data) => {
            Ok(WeightPart::in_place(format, data, columns, 0..rows, 0..columns).in_file(quantized::range(stored)))
        }
        StoredElements::Converted { data, element_bytes, convert } => {
            let shared = stored.clone();
            let whole = move || if exact { shared.f32() } else { shared.bf16() };
            let whole = Arc::new(move || whole().expect("its type is one that can be converted"));
            let converted = Converted { data, element_bytes, convert, whole };
            Ok(WeightPart::converted(format, converted, columns, 0..rows, 0..columns))
        }
    }
}

fn wrong_dtype(tensor: &Tensor, stored: &StoredTensor) -> Error {
    Error::new(Category::Model, "Tensor has an unsupported type")
        .details(format_args!(
            "{}: {}: expected BF16, F16 or F32, found {}",
            stored.file.display(),
            tensor.name,
            stored.dtype
        ))
        .hint("the file was written wrongly or by a tool that is not known: download it again")
}
