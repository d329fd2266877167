//! `Pass`: a plan in the making, and its steps in front of the blocks.
use gpu_kernels::{Advance, Embed, HistoryAppend, Ptr, Widen};

use super::Bucket;
use super::head::TOKEN_WORDS;
use super::shared::{Embedding, SharedBuffers};
use crate::device::{AllGather, Output, Plan};

/// One pass over the model, while its plan is made.
pub(crate) struct Pass<'a> {
    pub shared: &'a SharedBuffers,
    pub bucket: &'a Bucket,
    pub plan: Plan,
}

impl<'a> Pass<'a> {
    /// A plan without steps.
    pub(super) fn new(shared: &'a SharedBuffers, bucket: &'a Bucket) -> Pass<'a> {
        // Log-probabilities stand behind the tokens.
        let published = (!bucket.logprobs).then_some(TOKEN_WORDS * shared.limits.slots());
        Pass {
            shared,
            bucket,
            plan: Plan { decode: bucket.is_decode(), continues: false, published, steps: Vec::new() },
        }
    }

    /// Token rows.
    pub fn rows(&self) -> u32 {
        self.bucket.rows as u32
    }

    pub(super) fn advance(&mut self) {
        let inputs = &self.shared.inputs;
        self.plan.launch(Advance {
            fresh: inputs.fresh.ptr(),
            positions: inputs.positions.ptr(),
            lengths: inputs.lengths.ptr(),
            sequences: self.bucket.sequences as u32,
        });
    }

    pub(super) fn history_append(&mut self) {
        let inputs = &self.shared.inputs;
        self.plan.launch(HistoryAppend {
            ids: inputs.ids.ptr(),
            sampled: self.shared.head.sampled.ptr(),
            slots: inputs.row_slots.ptr(),
            positions: inputs.positions.ptr(),
            history: self.shared.head.history.ptr(),
            rows: self.rows(),
            context: self.shared.limits.context as u32,
        });
    }

    pub(super) fn embed(&mut self) {
        let (rows, hidden, vocab) = (self.rows(), self.shared.columns as u32, self.shared.vocab as u32);
        let (ids, sampled) = (self.shared.inputs.ids.ptr(), self.shared.head.sampled.ptr());
        let x = self.shared.x.ptr();
        let out = self.shared.own_embedded.map_or(x, |own| own.ptr());
        match self.shared.embedding {
            Embedding::Table(table) => {
                let tables = Embed::alone(table.ptr());
                self.plan.launch(Embed { ids, sampled, tables, out, rows, hidden, vocab, ranks: 1 });
            }
            Embedding::Packed { format, codes, scales } => {
                let scales = scales.map_or(Ptr::NULL, |scales| scales.ptr());
                let rows = Widen::new(codes.ptr(), scales, out, [rows, hidden], format);
                self.plan.launch(Widen { ids, sampled, ..rows });
            }
        }
        if self.shared.own_embedded.is_some() {
            self.plan.all_gather(AllGather { x: Output::Act(out), y: Output::Act(x), rows, n: hidden });
        }
    }
}
