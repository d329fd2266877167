//! `EngineConfig`: what the user may choose about sizes.
use gpu_kernels::PAGE_TOKENS;

use crate::error::{Category, Error, Result};
use crate::models::spec::{Block, ModelSpec};

/// Longest context unless the user asks for more, tokens.
const DEFAULT_CONTEXT: usize = 4096;

/// Token rows of one step unless the caller asks for another number.
const DEFAULT_CHUNK: usize = 2048;

/// Sizes that an engine is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Tokens that one sequence may have.
    pub context: usize,
    /// Sequences that run at the same time.
    pub max_sequences: usize,
    /// Token rows of one step; longer prompts are computed in several.
    pub chunk: usize,
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
        Ok(EngineConfig { context, max_sequences: 1, chunk: DEFAULT_CHUNK.min(context) })
    }

    /// `wanted` sequences, or as many as have room in `cache_bytes` of keys and values of `element_bytes` each; at least 1.
    pub fn fit_sequences(&mut self, spec: &ModelSpec, wanted: usize, cache_bytes: u64, element_bytes: u64) {
        let of_token = spec.blocks.iter().map(|block| match block {
            Block::Attention(attention) => 2 * (attention.kv_heads * attention.head_dim) as u64 * element_bytes,
            Block::Mlp(_) | Block::Linear(_) => 0,
        });
        let of_sequence = of_token.sum::<u64>() * self.context.next_multiple_of(PAGE_TOKENS as usize) as u64;
        let room = cache_bytes / of_sequence.max(1);
        self.max_sequences = wanted.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1);
    }
}
