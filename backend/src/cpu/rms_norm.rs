//! Reference of `rms_norm`.
use gpu_kernels::{RmsNorm, rms_norm};
use half::bf16;

use super::parallel::for_each;
use super::sum::sum;
use crate::device::{Activation, Memory, Reference};

impl Reference for RmsNorm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, hidden) = (self.rows as usize, self.hidden as usize);
        let x = memory.read::<A>(self.x, rows * hidden);
        let mut y = memory.write::<A>(self.y, rows * hidden);
        let weight = memory.weight(self.weight);
        let weight = weight.row(0);
        let items = x.chunks(hidden).zip(y.chunks_mut(hidden)).collect();
        for_each(rows * hidden * 3, items, |(x, y)| normalise(x, weight, (self.eps, self.roundings), y));
    }
}

/// `y` = the row `x`, normalised with one rounding or two.
pub(super) fn normalise<A: Activation>(x: &[A], weight: &[bf16], (eps, roundings): (f32, u32), y: &mut [A]) {
    let mean_square = sum(x.iter().map(|x| x.to_f32() * x.to_f32())) / x.len() as f32;
    let root = (mean_square + eps).sqrt();
    for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
        let unit = x.to_f32() / root;
        let unit = if roundings == rms_norm::TWICE { A::round(unit) } else { unit };
        *y = A::from_f32(weight.to_f32() * unit);
    }
}
