//! `Expected`: a file of prompts, the logits that a reference computed for them, and its greedy continuations.
//!
//! A safetensors file that holds, for each prompt of L tokens, `ids_L` i32 `[L]`, `logits_f32_L` and `logits_bf16_L` f32
//! `[rows, vocab]` for the prompt's last rows, and `greedy_f32_L` i32 `[n]`. Its metadata may say `quantized_KIND_error_L` and
//! `quantized_KIND_bf16_error_L`: the errors of the logits in f32 and in BF16 with something in FP8; KIND is kv for keys and
//! values, activations for the inputs of products, activations_and_kv for both.
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::error::{Category, Error, Result};

/// One prompt and what the reference made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedPrompt {
    /// The prompt.
    pub ids: Vec<u32>,
    /// Rows of the logits: the prompt's last ones.
    pub rows: usize,
    /// `[rows, vocab]`, computed in f32.
    pub logits_f32: Vec<f32>,
    /// `[rows, vocab]`, computed in bf16.
    pub logits_bf16: Vec<f32>,
    /// Greedy continuation, computed in f32.
    pub greedy: Vec<u32>,
    /// The errors that the reference has with something in FP8, where the file says them.
    pub fp8_errors: Fp8Errors,
}

/// Errors with something in FP8: the larger of those in f32 and in BF16.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fp8Errors {
    /// With keys and values.
    pub kv: Option<f64>,
    /// With the inputs of products.
    pub activations: Option<f64>,
    /// With both.
    pub both: Option<f64>,
}

/// The prompts of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// Width of the logits.
    pub vocab: usize,
    /// The prompts, shortest first.
    pub prompts: Vec<ExpectedPrompt>,
}

impl Expected {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, is no safetensors file, or lacks a tensor or has one of another dtype or shape.
    pub fn read(path: &Path) -> Result<Expected> {
        let bad = |details: String| {
            Error::new(Category::Input, "The expected file cannot be used")
                .details(format!("{}: {details}", path.display()))
                .hint("expected is a safetensors file with ids_L, logits_f32_L, logits_bf16_L and greedy_f32_L")
        };
        let bytes = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| bad(error.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| bad(error.to_string()))?;
        let said = header.metadata().clone().unwrap_or_default();
        let names = tensors.names();
        let mut labels: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("ids_")).collect();
        labels.sort_by_key(|label| (label.len(), *label));
        let Some(first) = labels.first() else { return Err(bad("no tensor is named ids_L".into())) };
        let logits = tensors.tensor(&format!("logits_f32_{first}")).ok();
        let vocab = logits.and_then(|logits| logits.shape().last().copied()).unwrap_or(0);
        let error = |what: &str, label: &str| {
            let figure = |kind: &str| said.get(&format!("quantized_{what}_{kind}_{label}"))?.parse::<f64>().ok();
            Some(figure("error")?.max(figure("bf16_error")?))
        };
        let fp8_errors = |label: &str| Fp8Errors {
            kv: error("kv", label),
            activations: error("activations", label),
            both: error("activations_and_kv", label),
        };
        let prompt =
            |label| Ok(ExpectedPrompt { fp8_errors: fp8_errors(label), ..read_prompt(&tensors, label, vocab)? });
        let prompts = labels.into_iter().map(|label| prompt(label).map_err(bad));
        Ok(Expected { vocab, prompts: prompts.collect::<Result<_>>()? })
    }
}

fn read_prompt(tensors: &SafeTensors, label: &str, vocab: usize) -> std::result::Result<ExpectedPrompt, String> {
    let (_, ids) = read(tensors, &format!("ids_{label}"), Dtype::I32, i32::from_le_bytes)?;
    let (_, greedy) = read(tensors, &format!("greedy_f32_{label}"), Dtype::I32, i32::from_le_bytes)?;
    let (shape, logits_f32) = read(tensors, &format!("logits_f32_{label}"), Dtype::F32, f32::from_le_bytes)?;
    let (shape_bf16, logits_bf16) = read(tensors, &format!("logits_bf16_{label}"), Dtype::F32, f32::from_le_bytes)?;
    let rows = shape.first().copied().unwrap_or(0);
    if shape != [rows, vocab] || rows == 0 || rows > ids.len() {
        return Err(format!("logits_f32_{label} has shape {shape:?}, expected [1 to {}, {vocab}]", ids.len()));
    }
    if shape_bf16 != shape {
        return Err(format!("logits_bf16_{label} has shape {shape_bf16:?}, expected {shape:?}"));
    }
    let unsigned = |ids: Vec<i32>| ids.into_iter().map(u32::try_from).collect::<std::result::Result<Vec<_>, _>>();
    match (unsigned(ids), unsigned(greedy)) {
        (Ok(ids), Ok(greedy)) => {
            Ok(ExpectedPrompt { ids, rows, logits_f32, logits_bf16, greedy, fp8_errors: Fp8Errors::default() })
        }
        _ => Err(format!("ids_{label} or greedy_f32_{label} has a negative id")),
    }
}

type ShapeAndValues<T> = (Vec<usize>, Vec<T>);

fn read<T>(
    tensors: &SafeTensors,
    name: &str,
    dtype: Dtype,
    decode: fn([u8; 4]) -> T,
) -> std::result::Result<ShapeAndValues<T>, String> {
    let tensor = tensors.tensor(name).map_err(|_| format!("tensor {name} is missing"))?;
    if tensor.dtype() != dtype {
        return Err(format!("{name} is {:?}, expected {dtype:?}", tensor.dtype()));
    }
    let (values, _) = tensor.data().as_chunks::<4>();
    Ok((tensor.shape().to_vec(), values.iter().map(|bytes| decode(*bytes)).collect()))
}
