//! Reference of `moe_combine`.
use gpu_kernels::MoeCombine;

use crate::device::{Activation, Memory, Reference};

impl Reference for MoeCombine {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, n) = (self.rows as usize, self.n as usize);
        let mut sums = weighted::<A>(self, memory);
        for addend in [self.shared, self.residual].into_iter().filter(|addend| !addend.is_null()) {
            let addend = memory.read::<A>(addend, rows * n);
            sums.iter_mut().zip(addend.iter()).for_each(|(sum, addend)| *sum = addend.to_f32() + A::round(*sum));
        }
        let mut y = memory.write::<A>(self.y, rows * n);
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = A::from_f32(sum));
    }
}

/// The experts' rows, weighted and added in the order of choice.
fn weighted<A: Activation>(combine: &MoeCombine, memory: &Memory) -> Vec<f32> {
    let (rows, top_k, n) = (combine.rows as usize, combine.top_k as usize, combine.n as usize);
    let experts = memory.read::<A>(combine.experts, rows * top_k * n);
    if combine.weights.is_null() {
        return experts.iter().map(|expert| expert.to_f32()).collect();
    }
    let weights = memory.read::<f32>(combine.weights, rows * top_k);
    let mut sums = vec![0.0; rows * n];
    for (choice, (expert, weight)) in experts.chunks(n).zip(weights.iter()).enumerate() {
        let sum = &mut sums[choice / top_k * n..][..n];
        sum.iter_mut().zip(expert).for_each(|(sum, expert)| *sum += weight * expert.to_f32());
    }
    sums
}
