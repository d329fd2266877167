//! The steps at the end of a pass: the last norm, the head, and the choice of a token.
use gpu_kernels::all_reduce::meeting::Outbox;
use gpu_kernels::{
    Act, Argmax, GatherRows, KeepLogits, MaskLogits, Penalize, Ptr, Sample, SampleLimit, TopLogprobs, sampling,
};

use super::Bucket;
use super::head::TOKEN_WORDS;
use super::pass::Pass;
use super::products::Multiply;
use crate::device::{AllGather, BufferId, Output};
use crate::sample;

impl Pass<'_> {
    /// The logits: only the rows that are asked for pass the last norm and the head. A decode bucket asks for every row in order.
    pub(super) fn head(&mut self) {
        let head = &self.shared.head;
        let rows = self.bucket.logit_rows as u32;
        let x = if self.bucket.is_decode() { self.shared.x.ptr() } else { self.gather() };
        let logits = Output::F32(head.logits.ptr());
        let own = head.own_logits.map_or(logits, |own| Output::F32(own.ptr()));
        self.multiply(Multiply { norm: Some(&head.norm), ..Multiply::new(x, &head.product, own, rows) });
        if head.own_logits.is_some() && self.own_columns().is_none() {
            self.plan.all_gather(AllGather { x: own, y: logits, rows, n: head.product.n as u32 });
        }
    }

    /// This rank's columns of the logits, where the best of them is all that other ranks need to know of them.
    fn own_columns(&self) -> Option<BufferId> {
        let Bucket { sampling, masked, logprobs, reads_logits, .. } = *self.bucket;
        self.shared.head.own_logits.filter(|_| !(sampling || masked || logprobs || reads_logits))
    }

    /// The choice of tokens from the logits, and what is told of it.
    pub(super) fn choice(&mut self) {
        let rows = self.bucket.logit_rows as u32;
        if let Some(own) = self.own_columns() {
            let vocab = self.shared.head.product.n as u32;
            return self.plan.all_argmax(Argmax { logits: own.ptr(), vocab, ..self.best(rows) });
        }
        let mut told = self.shared.head.logits.ptr();
        if self.bucket.logprobs && (self.bucket.sampling || self.bucket.masked) {
            told = self.keep_logits(rows);
        }
        if self.bucket.masked {
            self.mask_logits(rows);
        }
        self.choose(rows);
        if self.bucket.logprobs {
            self.top_logprobs(told, rows);
        }
    }

    /// Copies the logits whose log-probabilities are asked for: those of the model, which the choice changes.
    fn keep_logits(&mut self, rows: u32) -> Ptr<f32> {
        let (head, asked, vocab) = (&self.shared.head, self.shared.inputs.logprobs.ptr(), self.shared.vocab as u32);
        let kept = head.kept_logits.ptr();
        self.plan.launch(KeepLogits { logits: head.logits.ptr(), asked, kept, rows, vocab });
        kept
    }

    /// Leaves no chance to the tokens that masks forbid.
    fn mask_logits(&mut self, rows: u32) {
        let (head, vocab) = (&self.shared.head, self.shared.vocab as u32);
        let (logits, index, masks) = (head.logits.ptr(), head.mask_index.ptr(), head.masks.ptr());
        self.plan.launch(MaskLogits { logits, index, masks, rows, vocab });
    }

    /// Tells what the log-probabilities of the chosen tokens and of the best are made of.
    fn top_logprobs(&mut self, logits: Ptr<f32>, rows: u32) {
        let (inputs, shared, head) = (&self.shared.inputs, self.shared, &self.shared.head);
        let sampled = head.sampled.ptr::<i32>();
        self.plan.launch(TopLogprobs {
            logits,
            asked: inputs.logprobs.ptr(),
            slots: inputs.logit_slots.ptr(),
            sampled,
            results: sampled.offset((TOKEN_WORDS * shared.limits.slots()) as u64),
            found: head.logprobs_found.ptr(),
            counters: head.logprobs_arrived.ptr(),
            rows,
            vocab: shared.vocab as u32,
        });
    }

    /// The greedy choice.
    fn best(&self, rows: u32) -> Argmax {
        let (shared, head) = (self.shared, &self.shared.head);
        let sampled = head.sampled.ptr::<i32>();
        Argmax {
            logits: head.logits.ptr(),
            slots: shared.inputs.logit_slots.ptr(),
            sampled,
            faults: sampled.offset(shared.limits.slots() as u64),
            shared: head.blocks.ptr(),
            counters: head.arrived.ptr(),
            outbox: Outbox::NONE,
            rows,
            vocab: shared.vocab as u32,
        }
    }

    fn choose(&mut self, rows: u32) {
        let (inputs, shared, head) = (&self.shared.inputs, self.shared, &self.shared.head);
        let best = self.best(rows);
        let Argmax { logits, slots, sampled, shared: sums, counters, vocab, .. } = best;
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
            context: shared.limits.context as u32,
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
            sums,
            counters,
            rows,
            vocab,
        };
        sample::by_parameters(&mut self.plan, penalties, best, limits_of.as_flattened(), choice);
    }

    /// The rows of the residual stream that reach the head.
    fn gather(&mut self) -> Ptr<Act> {
        let (x, out) = (self.shared.x.ptr(), self.shared.head.x.ptr());
        let (rows, hidden) = (self.bucket.logit_rows as u32, self.shared.hidden as u32);
        self.plan.launch(GatherRows { x, index: self.shared.inputs.logit_index.ptr(), out, rows, hidden });
        out
    }
}
