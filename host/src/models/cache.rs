//! How attention keeps keys and values: as the user wants, with the scales that the file has.
use gpu_kernels::{KV_SCALES, KvFormat};

use super::config::Notes;
use super::spec::{Attention, Block, ModelSpec};
use crate::checkpoint::{Checkpoint, StoredTensor};
use crate::error::{Category, Error, Result};
use crate::quantized;

/// What the names of the scales end with, of keys and of values.
const SCALES: [&str; 2] = [".k_scale", ".v_scale"];

/// Gives each attention of `spec` the scales that the file has for its keys and values: one of each beside `k_proj` and `v_proj`
/// (ModelOpt), or beside the attention as a whole (compressed-tensors, vLLM). Comes back with what is wrong with the first of
/// them that cannot be used, which matters to who asks for FP8 alone: a scale is missing beside the other, is not one number, or
/// is none from 1e-18 to 1e18.
pub fn settle(checkpoint: &Checkpoint, spec: &mut ModelSpec, notes: &Notes) -> Option<Error> {
    let (mut found, mut fault) = (false, None);
    for attention in attentions(spec) {
        match stored(checkpoint, attention) {
            Ok(scales) => attention.cache.stored = scales,
            Err(error) => fault = fault.or(Some(error)),
        }
        found |= attention.cache.stored.is_some();
    }
    let mut notes = notes.borrow_mut();
    if let Some(fault) = &fault {
        notes.push(format!("{}: they are not used without {OPTION}", fault.message()));
    }
    if fault.is_none() && found && !notes.iter().any(|note| note.contains(OPTION)) {
        notes.push(format!(
            "the file has scales for keys and values in 8 bits, which {OPTION} uses; by default they are not quantized"
        ));
    }
    fault
}

/// What asks for keys and values in FP8.
pub const OPTION: &str = "--kv-cache fp8";

/// Keeps all keys and values of a model in a format; returns how many attentions have scales of the file, and how many there are.
///
/// # Errors
/// In 8 bits, `fault`: what is wrong with the scales.
pub fn keep_cache(spec: &mut ModelSpec, format: KvFormat, fault: Option<Error>) -> Result<[usize; 2]> {
    if let (KvFormat::Fp8, Some(fault)) = (format, fault) {
        return Err(fault);
    }
    let (mut scaled, mut all) = (0, 0);
    for attention in attentions(spec) {
        attention.cache.format = format;
        scaled += usize::from(attention.cache.stored.is_some());
        all += 1;
    }
    Ok([scaled, all])
}

fn attentions(spec: &mut ModelSpec) -> impl Iterator<Item = &mut Attention> {
    spec.blocks.iter_mut().filter_map(|block| match block {
        Block::Attention(attention) => Some(attention),
        _ => None,
    })
}

/// The scales of an attention, whose matrices are those of queries, keys and values.
fn stored(checkpoint: &Checkpoint, attention: &Attention) -> Result<Option<[f32; 2]>> {
    let [_, k_proj, v_proj] = &attention.qkv.parts[..] else { return Ok(None) };
    let [k_proj, v_proj] = [k_proj, v_proj].map(|matrix| matrix.name.trim_end_matches(".weight"));
    let whole = k_proj.trim_end_matches(".k_proj");
    for modules in [[k_proj, v_proj], [whole, whole], [&format!("{whole}.attn"); 2].map(String::as_str)] {
        let names = [0, 1].map(|i| format!("{}{}", modules[i], SCALES[i]));
        match [0, 1].map(|i| checkpoint.tensor(&names[i])) {
            [Some(k_scale), Some(v_scale)] => {
                return Ok(Some([number(&names[0], k_scale)?, number(&names[1], v_scale)?]));
            }
            [None, None] => {}
            [first, _] => {
                let (there, missing) = if first.is_some() { (&names[0], &names[1]) } else { (&names[1], &names[0]) };
                return Err(Error::new(Category::Model, "The scales of keys and values are incomplete")
                    .details(format_args!("{missing}: expected beside {there}, found no such tensor"))
                    .hint("download the index and all shards again, from one revision"));
            }
        }
    }
    Ok(None)
}

fn number(name: &str, tensor: &StoredTensor) -> Result<f32> {
    let place = || format!("{}: {name}", tensor.file.display());
    if !tensor.is_plain() || tensor.shape.iter().product::<usize>() != 1 {
        return Err(Error::new(Category::Model, "A scale of keys or values is not one number")
            .details(format_args!(
                "{}: expected BF16, F16 or F32 of shape [] or [1], found {} {:?}",
                place(),
                tensor.dtype,
                tensor.shape
            ))
            .hint(
                "scales of single heads are not supported: take a checkpoint with one for each layer, or delete them",
            ));
    }
    let scale = quantized::number(tensor, 0);
    if KV_SCALES.contains(&scale) {
        return Ok(scale);
    }
    Err(Error::new(Category::Model, "A scale of keys or values cannot be used")
        .details(format_args!("{}: expected a number from 1e-18 to 1e18, found {scale}", place()))
        .hint("the file is damaged, or its model was quantized wrongly: download it again"))
}
