//! Steps as they are run to be timed: inputs that are kept, and runs in the engine's order.
use std::time::{Duration, Instant};

use gpu_kernels::Ptr;

use crate::device::{Device, Inputs, Run};
use crate::engine::check_fault;
use crate::error::Result;
use crate::forward::{Bucket, Layout, Span, StepInputs};

/// A step's inputs, kept.
pub(super) type KeptInputs = Vec<(Ptr<i32>, Vec<i32>)>;

/// Inputs of a step of `spans`, padded to `bucket`.
pub(super) fn inputs(spans: &[Span], bucket: &Bucket, layout: &Layout) -> KeptInputs {
    let inputs = StepInputs::new(spans, bucket, layout.limits());
    layout.with_inputs(&inputs, |inputs: &Inputs| inputs.iter().map(|(to, values)| (*to, values.to_vec())).collect())
}

pub(super) fn borrowed(inputs: &KeptInputs) -> Vec<(Ptr<i32>, &[i32])> {
    inputs.iter().map(|(to, values)| (*to, values.as_slice())).collect()
}

/// Whether the last step's tokens were chosen from numbers: what computes none may take another time.
fn check_numbers(sampled: &[i32]) -> Result<()> {
    let faults = &sampled[sampled.len() / 2..];
    // The last slot is for pads.
    let mut slots = faults.iter().enumerate().take(faults.len().saturating_sub(1));
    slots.try_for_each(|(slot, fault)| check_fault(*fault, format_args!("sequence {slot} of the pass that is timed")))
}

/// The engine's own order: where the device runs ahead, a step is given before the tokens of the one before are read.
pub(super) fn by_the_host(runs: &[Run], device: &mut dyn Device) -> Result<Duration> {
    let started = Instant::now();
    let mut before = None;
    for (plan, inputs) in runs {
        let ticket = device.run(*plan, inputs)?;
        if let Some(before) = before.replace(ticket) {
            device.sampled(before)?;
        }
    }
    let last = before.map_or(Ok(Vec::new()), |last| device.sampled(last))?;
    let time = started.elapsed();
    check_numbers(&last)?;
    Ok(time)
}
