//! What sums of all ranks have in common.
use gpu_kernels::{Act, Ptr};

use super::residual;
use crate::device::{Activation, Memory};

/// Activations as f32.
pub fn activations<A: Activation>(memory: &Memory, x: Ptr<Act>, count: usize) -> Vec<f32> {
    memory.read::<A>(x, count).iter().map(|x| x.to_f32()).collect()
}

/// The sums of all parts, in their order.
pub fn sum(parts: &[Vec<f32>]) -> Vec<f32> {
    let mut sums = vec![0.0; parts[0].len()];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// Rounds and adds to the residual.
pub fn store<A: Activation>(memory: &Memory, sums: &[f32], residual: Ptr<Act>, y: Ptr<Act>) {
    let values: Vec<A> = sums.iter().map(|sum| A::from_f32(*sum)).collect();
    if residual.is_null() {
        memory.write::<A>(y, values.len()).copy_from_slice(&values);
    } else {
        residual::add::<A>(memory, residual, y, &values);
    }
}
