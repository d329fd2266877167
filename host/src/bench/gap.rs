//! `GapBuffers`: how long the device stands still between two steps of a decode, by its own clock.
use gpu_kernels::{Element, Ptr, StepGap};

use super::steps::by_the_host;
use crate::device::{BufferId, BufferKind, Buffers, Device, Inputs, Plan, PlanId, Run};
use crate::error::Result;

/// Blocks of steps whose gaps are averaged, behind one that warms up.
const BLOCKS: usize = 4;

/// What gaps are measured with.
pub struct GapBuffers {
    ended: BufferId,
    count: BufferId,
    gaps: BufferId,
    steps: u32,
}

impl GapBuffers {
    /// Adds them to a model's buffers, with room for the gaps of `steps` steps.
    pub fn add(buffers: &mut Buffers, steps: usize) -> GapBuffers {
        let mut buffer =
            |name: &str, element, elements, kind| buffers.add(format!("gap.{name}"), element, elements, kind);
        GapBuffers {
            ended: buffer("ended", Element::I32, 1, BufferKind::State),
            count: buffer("count", Element::I32, 1, BufferKind::Input),
            gaps: buffer("gaps", Element::F32, steps as u64, BufferKind::State),
            steps: steps as u32,
        }
    }

    /// `plan` between two looks at the clock.
    pub fn around(&self, plan: Plan) -> Plan {
        let end = StepGap { ended: self.ended.ptr(), count: self.count.ptr(), gaps: Ptr::NULL, steps: 0 };
        let mut timed = Plan { steps: Vec::new(), ..plan };
        timed.launch(StepGap { gaps: self.gaps.ptr(), steps: self.steps, ..end });
        timed.steps.extend(plan.steps);
        timed.launch(end);
        timed
    }

    /// Mean seconds between two of `steps` steps of a plan that [`GapBuffers::around`] made, run in the engine's order;
    /// `inputs` are those of the first. None where there is only one step.
    ///
    /// # Errors
    /// The device failed.
    pub fn measure(&self, plan: PlanId, inputs: &Inputs, steps: usize, device: &mut dyn Device) -> Result<Option<f64>> {
        if steps < 2 {
            return Ok(None);
        }
        let first = [inputs, &[(self.count.ptr(), &[0])]].concat();
        let runs: Vec<Run> = (0..steps).map(|step| (plan, if step == 0 { first.as_slice() } else { &[] })).collect();
        let mut sum = 0.0;
        for block in 0..=BLOCKS {
            by_the_host(&runs, device)?;
            // In front of its first step the device waited for the block.
            let gaps = device.read_f32(self.gaps.ptr(), steps)?;
            sum += if block > 0 { gaps[1..].iter().map(|gap| f64::from(*gap)).sum() } else { 0.0 };
        }
        Ok(Some(sum / (BLOCKS * (steps - 1)) as f64 * 1e-9))
    }
}
