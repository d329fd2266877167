//! `Head`: what the end of a pass needs.
use gpu_kernels::Element;
use gpu_kernels::sample_limit::{BINS, LIMIT_WORDS};
use gpu_kernels::team::{ALL_BLOCKS, TEAM_BLOCKS, TEAM_ROWS};

use super::builder::{Builder, NormBuffers};
use super::memory_plan::Content;
use super::product_buffers::ProductBuffer;
use crate::device::{BufferId, BufferKind};
use crate::models::spec::ModelSpec;

/// Buffers of the last norm, the head, and the choice of a token.
pub(crate) struct Head {
    pub norm: NormBuffers,
    pub product: ProductBuffer,
    /// `[logit_rows, hidden]`: the rows of the residual stream that reach the head.
    pub x: BufferId,
    /// `[logit_rows, vocab]`.
    pub logits: BufferId,
    /// `[logit_rows, vocab]`: how often each token was generated, where that counts.
    pub counts: BufferId,
    /// `[256, 2]`: the best token of each block of `argmax`, or the sum of each block of `sample`.
    pub blocks: BufferId,
    /// `[64]`: blocks of a row that have arrived.
    pub arrived: BufferId,
    /// `[logit_rows, 4]`: the limits of top-k and top-p.
    pub limits: BufferId,
    /// `[min(logit_rows, 64), 4096, 2]`: how many tokens, or what weights, are how far from the best.
    pub bins: BufferId,
    /// `[2, sequences + 1]`: the last token of each slot, and the fault of its logits.
    pub sampled: BufferId,
    /// `[sequences + 1, context]`: the tokens of each slot, where one samples.
    pub history: BufferId,
}

impl Head {
    pub(super) fn lay_out(spec: &ModelSpec, builder: &mut Builder) -> Head {
        let (limits, rows) = (builder.limits, builder.limits.logit_rows());
        let sampled = 2 * limits.slots() as u64;
        Head {
            norm: builder.norm(&spec.final_norm),
            product: builder.product("head", &spec.head),
            x: builder.scratch("head_x", Element::Act, rows * spec.hidden),
            logits: builder.scratch("logits", Element::F32, rows * spec.vocab),
            counts: builder.scratch("counts", Element::I32, rows * spec.vocab),
            blocks: builder.scratch(
                "block_results",
                Element::I32,
                2 * ALL_BLOCKS.max(TEAM_ROWS * TEAM_BLOCKS) as usize,
            ),
            arrived: builder.counters("blocks_arrived", TEAM_ROWS as usize),
            limits: builder.scratch("limits", Element::I32, rows * LIMIT_WORDS as usize),
            bins: builder.counters("limit_bins", 2 * rows.min(TEAM_ROWS as usize) * BINS as usize),
            sampled: builder.memory.add("sampled".into(), Element::I32, sampled, Content::Empty(BufferKind::Sampled)),
            history: builder.slots("history", Element::I32, limits.context, true),
        }
    }
}
