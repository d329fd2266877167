//! The end of a pass: the last norm, the head, and the choice of a token.
use gpu_kernels::sample_limit::{BINS, LIMIT_WORDS};
use gpu_kernels::team::{ALL_BLOCKS, TEAM_BLOCKS, TEAM_ROWS};
use gpu_kernels::{Act, Argmax, Element, GatherRows, Penalize, Ptr, Sample, SampleLimit, sampling};

use super::builder::{Builder, NormBuffers};
use super::memory_plan::Content;
use super::product_buffers::ProductBuffer;
use super::products::Multiply;
use super::walk::Pass;
use crate::device::{BufferId, BufferKind, Output};
use crate::models::spec::ModelSpec;
use crate::sample;

/// What the end of a pass needs.
pub(super) struct Head {
    norm: NormBuffers,
    product: ProductBuffer,
    /// `[logit_rows, hidden]`: the rows of the residual stream that reach the head.
    x: BufferId,
    /// `[logit_rows, vocab]`.
    pub logits: BufferId,
    /// `[logit_rows, vocab]`: how often each token was generated, where that counts.
    counts: BufferId,
    /// `[256, 2]`: the best token of each block of `argmax`, or the sum of each block of `sample`.
    blocks: BufferId,
    /// `[64]`: blocks of a row that have arrived.
    arrived: BufferId,
    /// `[logit_rows, 4]`: the limits of top-k and top-p.
    limits: BufferId,
    /// `[min(logit_rows, 64), 4096, 2]`: how many tokens, or what weights, are how far from the best.
    bins: BufferId,
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

impl Pass<'_> {
    /// Only the rows that are asked for pass the last norm and the head. A decode bucket asks for every row in order.
    pub(super) fn head(&mut self) {
        let head = &self.layout.head;
        let rows = self.bucket.logit_rows as u32;
        let x = if self.bucket.is_decode() { self.layout.x.ptr() } else { self.gather() };
        let logits = Multiply::new(x, &head.product, Output::F32(head.logits.ptr()), rows);
        self.multiply(Multiply { norm: Some(&head.norm), ..logits });
        self.choose(rows);
    }

    fn choose(&mut self, rows: u32) {
        let (inputs, layout, head) = (&self.layout.inputs, self.layout, &self.layout.head);
        let (logits, slots, sampled) = (head.logits.ptr(), inputs.logit_slots.ptr(), head.sampled.ptr());
        let faults = sampled.offset(layout.limits.slots() as u64);
        let vocab = layout.vocab as u32;
        let (shared, counters) = (head.blocks.ptr(), head.arrived.ptr());
        let best = Argmax { logits, slots, sampled, faults, shared, counters, rows, vocab };
        if !self.bucket.sampling {
            return sample::greedy(&mut self.plan, best);
        }
        let (parameters, index, positions) = (inputs.sampling.ptr(), inputs.logit_index.ptr(), inputs.positions.ptr());
        let penalties = Penalize {
            logits,
            sampling: parameters,
            bias_ids: inputs.bias_ids.ptr(),
            bias_values: inputs.bias_values.ptr(),
            bias_until: inputs.bias_until.ptr(),
            phrases: inputs.phrases.ptr(),
            history: head.history.ptr(),
            slots,
            index,
            positions,
            counts: head.counts.ptr(),
            rows,
            vocab,
            context: layout.limits.context as u32,
        };
        let (limits, bins) = (head.limits.ptr(), head.bins.ptr());
        let limit = |filter, digit| SampleLimit {
            logits,
            sampling: parameters,
            slots,
            sampled,
            limits,
            bins,
            counters,
            rows,
            vocab,
            filter,
            digit,
        };
        let filters = [sampling::TOP_K, sampling::TOP_P];
        let limits_of = filters.map(|filter| [limit(filter, 0), limit(filter, 1)]);
        let choice = Sample {
            logits,
            sampling: parameters,
            slots,
            index,
            positions,
            sampled,
            limits,
            sums: shared,
            counters,
            rows,
            vocab,
        };
        sample::by_parameters(&mut self.plan, penalties, best, limits_of.as_flattened(), choice);
    }

    /// The rows of the residual stream that reach the head.
    fn gather(&mut self) -> Ptr<Act> {
        let (x, out) = (self.layout.x.ptr(), self.layout.head.x.ptr());
        let (rows, hidden) = (self.bucket.logit_rows as u32, self.layout.hidden as u32);
        self.plan.launch(GatherRows { x, index: self.layout.inputs.logit_index.ptr(), out, rows, hidden });
        out
    }
}
