//! The history of a sequence that begins behind a cached prefix: penalties and rules read which ids stand there, and these are
//! in its slot only when a step has noted them.
use std::slice;

use super::Engine;
use crate::device::PlanId;
use crate::error::Result;
use crate::forward::{self, Bucket, Span, StepInputs};

impl Engine {
    /// Has the device note the ids of cached prefixes for those that have just begun and read them.
    pub(super) fn note_prefixes(&mut self) -> Result<()> {
        if !self.running.iter().any(|sequence| sequence.unnoted() > 0) {
            return Ok(());
        }
        self.resident = None;
        let rows = self.layout.limits().rows;
        for index in 0..self.running.len() {
            let spans = self.running[index].take_unnoted(rows);
            spans.iter().try_for_each(|span| self.note(span))?;
        }
        Ok(())
    }

    fn note(&mut self, span: &Span) -> Result<()> {
        let spans = slice::from_ref(span);
        let bucket = Bucket::of(spans, self.layout.limits());
        let plan = self.history_plan(&bucket)?;
        let inputs = StepInputs::new(spans, &bucket, self.layout.limits());
        self.layout.with_inputs(&inputs, |inputs| self.device.enqueue(plan, inputs))
    }

    /// The plan that notes ids and does nothing else; there is one for each number of rows, and it is kept.
    fn history_plan(&mut self, bucket: &Bucket) -> Result<PlanId> {
        let key = (bucket.rows, bucket.is_decode());
        if let Some(plan) = self.plans.histories.get(&key) {
            return Ok(*plan);
        }
        let plan = self.device.prepare(forward::history_plan(&self.layout, bucket))?;
        self.plans.histories.insert(key, plan);
        Ok(plan)
    }
}
