//! `Head`: what the end of a pass needs.
use gpu_kernels::sample_limit::{BINS, LIMIT_WORDS};
use gpu_kernels::team::{ALL_BLOCKS, TEAM_BLOCKS, TEAM_ROWS};
use gpu_kernels::{Element, mask_logits, top_logprobs};

use super::builder::{Builder, NormBuffers};
use super::memory_plan::Content;
use super::product_buffers::ProductBuffer;
use crate::device::{BufferId, BufferKind};
use crate::models::spec::ModelSpec;

/// Words of a slot that every step tells: its token and a fault.
pub(super) const TOKEN_WORDS: usize = 2;

/// Buffers of the last norm, the head, and the choice of a token.
pub(crate) struct Head {
    pub norm: NormBuffers,
    pub product: ProductBuffer,
    /// `[logit_rows, hidden]`: the rows of the residual stream that reach the head.
    pub x: BufferId,
    /// `[logit_rows, vocab]`.
    pub logits: BufferId,
    /// `[logit_rows, rows of the head]`: this rank's columns of the logits, where each rank has some.
    pub own_logits: Option<BufferId>,
    /// `[logit_rows]`: where the mask of a row begins, −1 for none; written in front of the choice.
    pub mask_index: BufferId,
    /// `[sequences, ⌈vocab / 32⌉]`: the masks, as [`gpu_kernels::MaskLogits`] reads them.
    pub masks: BufferId,
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
    /// `[logit_rows, vocab]`: logits as the model gives them, where log-probabilities are asked for beside penalties.
    pub kept_logits: BufferId,
    /// `[logit_rows, blocks, 42]`: what the blocks of `top_logprobs` find.
    pub logprobs_found: BufferId,
    /// `[logit_rows]`: its blocks of a row that have arrived.
    pub logprobs_arrived: BufferId,
    /// `[44, sequences + 1]`: the last token of each slot, the fault of its logits, then the words of `top_logprobs`.
    pub sampled: BufferId,
    /// `[sequences + 1, context]`: the tokens of each slot, where one samples.
    pub history: BufferId,
}

impl Head {
    pub(super) fn lay_out(spec: &ModelSpec, builder: &mut Builder) -> Head {
        let (limits, rows) = (builder.limits, builder.limits.logit_rows());
        let sampled = (TOKEN_WORDS + top_logprobs::WORDS as usize) * limits.slots();
        let masks = limits.sequences * spec.vocab.div_ceil(mask_logits::WORD_TOKENS as usize);
        let found = rows * (top_logprobs::blocks(spec.vocab as u32) * top_logprobs::WORDS) as usize;
        Head {
            norm: builder.norm(&spec.final_norm),
            product: builder.product("head", &spec.head),
            x: builder.scratch("head_x", Element::Act, rows * spec.hidden),
            logits: builder.scratch("logits", Element::F32, rows * spec.vocab),
            own_logits: (spec.head.rows() < spec.vocab)
                .then(|| builder.scratch("own_logits", Element::F32, rows * spec.head.rows())),
            mask_index: builder.input("mask_index", rows),
            masks: builder.input("masks", masks),
            counts: builder.scratch("counts", Element::I32, rows * spec.vocab),
            blocks: builder.scratch(
                "block_results",
                Element::I32,
                2 * ALL_BLOCKS.max(TEAM_ROWS * TEAM_BLOCKS) as usize,
            ),
            arrived: builder.counters("blocks_arrived", TEAM_ROWS as usize),
            limits: builder.scratch("limits", Element::I32, rows * LIMIT_WORDS as usize),
            bins: builder.counters("limit_bins", 2 * rows.min(TEAM_ROWS as usize) * BINS as usize),
            kept_logits: builder.scratch("kept_logits", Element::F32, rows * spec.vocab),
            logprobs_found: builder.scratch("logprobs_found", Element::I32, found),
            logprobs_arrived: builder.counters("logprobs_arrived", rows),
            sampled: builder.memory.add(
                "sampled".into(),
                Element::I32,
                sampled as u64,
                Content::Empty(BufferKind::Sampled { slots: limits.slots() }),
            ),
            history: builder.slots("history", Element::I32, limits.context, true),
        }
    }
}
