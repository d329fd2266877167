//! The walk: blocks in order become the steps of a plan.
use gpu_kernels::{Advance, Embed, HistoryAppend, Ptr, Widen};

use super::layout::Embedding;
use super::{Bucket, Layout};
use crate::device::Plan;

/// The plan of one pass over the model for steps of `bucket`.
pub fn plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass = Pass { layout, bucket, plan: Plan { decode: bucket.is_decode(), steps: Vec::new() } };
    if bucket.is_decode() {
        pass.advance();
    }
    if bucket.sampling {
        pass.history_append();
    }
    pass.embed();
    layout.blocks.iter().for_each(|block| block.steps(&mut pass));
    if bucket.logit_rows > 0 {
        pass.head();
    }
    pass.plan
}

/// The plan that notes the ids of a step of `bucket`, and does nothing else.
pub fn history_plan(layout: &Layout, bucket: &Bucket) -> Plan {
    let mut pass = Pass { layout, bucket, plan: Plan { decode: bucket.is_decode(), steps: Vec::new() } };
    pass.history_append();
    pass.plan
}

/// One pass over the model, while its plan is made.
pub(crate) struct Pass<'a> {
    pub layout: &'a Layout,
    pub bucket: &'a Bucket,
    pub plan: Plan,
}

impl Pass<'_> {
    /// Token rows.
    pub fn rows(&self) -> u32 {
        self.bucket.rows as u32
    }

    fn advance(&mut self) {
        let inputs = &self.layout.inputs;
        self.plan.launch(Advance {
            fresh: inputs.fresh.ptr(),
            positions: inputs.positions.ptr(),
            lengths: inputs.lengths.ptr(),
            sequences: self.bucket.sequences as u32,
        });
    }

    fn history_append(&mut self) {
        let inputs = &self.layout.inputs;
        self.plan.launch(HistoryAppend {
            ids: inputs.ids.ptr(),
            sampled: self.layout.head.sampled.ptr(),
            slots: inputs.row_slots.ptr(),
            positions: inputs.positions.ptr(),
            history: self.layout.head.history.ptr(),
            rows: self.rows(),
            context: self.layout.limits.context as u32,
        });
    }

    fn embed(&mut self) {
        let (rows, hidden, vocab) = (self.rows(), self.layout.hidden as u32, self.layout.vocab as u32);
        let (ids, sampled) = (self.layout.inputs.ids.ptr(), self.layout.head.sampled.ptr());
        let out = self.layout.x.ptr();
        match self.layout.embedding {
            Embedding::Table(table) => {
                self.plan.launch(Embed { ids, sampled, table: table.ptr(), out, rows, hidden, vocab });
            }
            Embedding::Packed { format, codes, scales } => {
                let scales = scales.map_or(Ptr::NULL, |scales| scales.ptr());
                let rows = Widen::new(codes.ptr(), scales, out, [rows, hidden], format);
                self.plan.launch(Widen { ids, sampled, ..rows });
            }
        }
    }
}
