//! The choice of the next token, as steps of a plan: it is made on the device, and only ids come back.
use gpu_kernels::Argmax;

use crate::device::Plan;

/// Appends the greedy choice: the highest logit, the lowest id among equals.
pub fn greedy(plan: &mut Plan, choice: Argmax) {
    plan.launch(choice);
}
