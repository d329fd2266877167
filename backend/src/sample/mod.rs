//! The choice of the next token, as steps of a plan: it is made on the device, and only ids come back.
mod constraints;
mod parameters;

use gpu_kernels::{Argmax, Penalize, Sample, SampleLimit};

use crate::device::Plan;

pub use constraints::{Constraints, MAX_BIASES, MAX_PHRASE_WORDS};
pub use parameters::{BIASES, RowParameters, Sampling, TEMPERATURES};

/// Appends the greedy choice: the highest logit, the lowest id among equals.
pub fn greedy(plan: &mut Plan, choice: Argmax) {
    plan.launch(choice);
}

/// Appends penalties, the greedy choice, and for the rows that have a temperature the limits of their filters and the choice by
/// chance.
pub fn by_parameters(plan: &mut Plan, penalties: Penalize, best: Argmax, limits: &[SampleLimit], choice: Sample) {
    plan.launch(penalties);
    plan.launch(best);
    limits.iter().for_each(|limit| plan.launch(*limit));
    plan.launch(choice);
}
