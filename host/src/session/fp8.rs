//! What becomes FP8 where the user asks for it: keys and values, and inputs of products.
use gpu_kernels::KvFormat;

use super::choice::KvChoice;
use super::note::Note;
use crate::error::{Category, Error, Result};
use crate::models::{self, spec::ModelSpec};

/// Says how keys and values are kept where that is in FP8.
///
/// # Errors
/// It is, and `fault` is what is wrong with the scales.
pub fn keep_cache(
    spec: &mut ModelSpec,
    choice: KvChoice,
    fault: Option<Error>,
    note: &mut dyn FnMut(Note),
) -> Result<()> {
    let [scaled, all] = models::keep_cache(spec, choice.format(), fault)?;
    if choice.format() == KvFormat::Fp8 {
        let scales = match scaled {
            0 => "scale 1, since the file has no others".to_owned(),
            _ if scaled == all => "the scales of the file".to_owned(),
            _ => format!("the scales of the file in {scaled} of {all} layers, and scale 1 in the others"),
        };
        note(Note::Info(format!("  Keys and values are kept in FP8 with {scales}")));
    }
    Ok(())
}

/// Has the inputs of products be quantized.
///
/// # Errors
/// No product has weights for that.
pub fn quantize_inputs(spec: &mut ModelSpec, note: &mut dyn FnMut(Note)) -> Result<()> {
    let products = models::quantize_inputs(spec);
    if products == 0 {
        return Err(Error::new(Category::Model, "No product takes inputs in FP8")
            .details("expected weights in FP8 with one scale for all columns of a row, found none outside of experts and head")
            .hint("leave --activations fp8 out, or add --quantize fp8 to a BF16 checkpoint"));
    }
    note(Note::Info(format!("  The inputs of {products} products become FP8 where they have more than 64 rows")));
    Ok(())
}
