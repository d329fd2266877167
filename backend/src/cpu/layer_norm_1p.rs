//! Reference of `layer_norm_1p`.
use gpu_kernels::LayerNorm1p;
use half::bf16;

use super::parallel::for_each;
use super::sum::sum;
use crate::device::{Activation, Memory, Reference};

impl Reference for LayerNorm1p {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, hidden) = (self.rows as usize, self.hidden as usize);
        let x = memory.read::<A>(self.x, rows * hidden);
        let mut y = memory.write::<A>(self.y, rows * hidden);
        let (weight, bias) = (memory.weight(self.weight), memory.weight(self.bias));
        let (weight, bias) = (weight.row(0), bias.row(0));
        let items = x.chunks(hidden).zip(y.chunks_mut(hidden)).collect();
        for_each(rows * hidden * 4, items, |(x, y)| normalise(x, weight, bias, self.eps, y));
    }
}

/// `y` = the row `x`, normalised.
pub(super) fn normalise<A: Activation>(x: &[A], weight: &[bf16], bias: &[bf16], eps: f32, y: &mut [A]) {
    let hidden = x.len() as f32;
    let mean = sum(x.iter().map(|x| x.to_f32())) / hidden;
    let variance = sum(x.iter().map(|x| (x.to_f32() - mean) * (x.to_f32() - mean))) / hidden;
    let deviation = (variance + eps).sqrt();
    for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        let scale = A::round(1.0 + weight.to_f32());
        *y = A::from_f32((x.to_f32() - mean) / deviation * scale + bias.to_f32());
    }
}
