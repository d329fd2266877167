//! `Met`: how many experts the choices of each layer meet, read back from the device.
use std::collections::BTreeSet;

use gpu_kernels::MoeRoute;

use super::steps::{KeptInputs, borrowed};
use crate::device::{Device, Plan, Step};
use crate::error::Result;
use crate::forward::Span;

/// For each step of a plan the experts that its layer's choices meet.
pub(super) struct Met(Vec<Option<u32>>);

impl Met {
    /// Runs the plan up to its last choice and reads what was chosen for the rows of `spans`; a plan without experts is not run.
    ///
    /// # Errors
    /// The device failed.
    pub fn count(plan: Plan, spans: &[Span], inputs: &KeptInputs, device: &mut dyn Device) -> Result<Met> {
        let rows: usize = spans.iter().map(Span::rows).sum();
        let (mut met, mut now) = (Vec::new(), None);
        let (mut part, mut inputs) = (Plan::default(), borrowed(inputs));
        for step in plan.steps {
            met.push(now);
            let route = route(&step);
            part.steps.push(step);
            if let Some(MoeRoute { ids, top_k, .. }) = route {
                let id = device.prepare(std::mem::take(&mut part))?;
                device.run(id, &std::mem::take(&mut inputs))?;
                let chosen = device.read_i32(ids, rows * top_k as usize)?;
                now = Some(chosen.into_iter().collect::<BTreeSet<i32>>().len() as u32);
            }
        }
        Ok(Met(met))
    }

    /// The experts that are met around step `index`.
    pub fn at(&self, index: usize) -> Option<u32> {
        self.0[index]
    }
}

/// The choice of experts, if the step is one.
fn route(step: &Step) -> Option<MoeRoute> {
    let Step::Launch(kernel) = step else { return None };
    kernel.as_any().downcast_ref::<MoeRoute>().copied()
}
