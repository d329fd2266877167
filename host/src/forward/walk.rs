//! The walk: blocks in order become the steps of a plan.
use gpu_kernels::{Advance, Embed, HistoryAppend};

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
        self.plan.launch(Embed {
            ids: self.layout.inputs.ids.ptr(),
            sampled: self.layout.head.sampled.ptr(),
            table: self.layout.embedding.ptr(),
            out: self.layout.x.ptr(),
            rows: self.rows(),
            hidden: self.layout.hidden as u32,
            vocab: self.layout.vocab as u32,
        });
    }
}
