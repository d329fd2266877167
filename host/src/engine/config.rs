//! `EngineConfig`: what the user may choose about sizes.
use gpu_kernels::gemv::SMALL_WEIGHT;

use crate::device::Device;
use crate::error::{Category, Error, Result};
use crate::forward::{Layout, Limits, MemoryPlan};
use crate::models::spec::ModelSpec;

/// Longest context unless the user asks for more, tokens.
const DEFAULT_CONTEXT: usize = 4096;

/// Token rows of one step unless the caller asks for another number.
const DEFAULT_CHUNK: usize = 2048;

/// Most token rows of one step on a CPU, where they take seconds: Ctrl-C is seen between two steps.
pub const CPU_CHUNK: usize = 512;

/// Sizes that an engine is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Tokens that one sequence may have.
    pub context: usize,
    /// Sequences that run at the same time.
    pub max_sequences: usize,
    /// Token rows of one step; longer prompts are computed in several.
    pub chunk: usize,
    /// KV pages, at least for one context; none for as many as all sequences may need.
    pub pages: Option<usize>,
    /// As [`Limits::spare_slots`].
    pub spare_slots: usize,
    /// As [`Limits::small_weight`].
    pub small_weight: u64,
}

impl EngineConfig {
    /// One sequence of `context` tokens, by default the smaller of the model's length and 4096.
    ///
    /// # Errors
    /// `context` is 0 or longer than the model's.
    pub fn for_model(spec: &ModelSpec, context: Option<usize>) -> Result<EngineConfig> {
        let context = context.unwrap_or(spec.context_length.min(DEFAULT_CONTEXT));
        if context == 0 || context > spec.context_length {
            return Err(Error::new(Category::Input, "The context is out of range")
                .details(format!("expected 1 to {}, found {context}", spec.context_length))
                .hint("choose another --context"));
        }
        let (chunk, small_weight) = (DEFAULT_CHUNK.min(context), SMALL_WEIGHT);
        Ok(EngineConfig { context, max_sequences: 1, chunk, pages: None, spare_slots: 0, small_weight })
    }

    /// The sizes that buffers are made for.
    pub fn limits(&self) -> Limits {
        let limits = Limits::new(self.context, self.max_sequences, self.chunk);
        Limits {
            pages: self.pages.unwrap_or(limits.pages),
            spare_slots: self.spare_slots,
            small_weight: self.small_weight,
            ..limits
        }
    }
}

/// The layout of `spec` on `device`: where a model wants a matrix library and there is none, one without, and why there is none.
///
/// # Errors
/// Inputs of products are to be quantized, which the device cannot multiply with.
pub fn lay_out(spec: &ModelSpec, limits: Limits, device: &dyn Device) -> Result<(Layout, MemoryPlan, Option<Error>)> {
    let limits = Limits { skinny_rows: device.skinny_rows(), ..limits };
    let (layout, memory) = Layout::new(spec, limits);
    if memory.expects_fp8_gemms() {
        device.fp8_products()?;
    }
    let library = if memory.expects_gemms() { device.matrix_library() } else { Ok(()) };
    let Err(error) = library else { return Ok((layout, memory, None)) };
    let (layout, memory) = Layout::new(spec, Limits { gemms: false, ..limits });
    Ok((layout, memory, Some(error)))
}
