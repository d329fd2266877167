//! Reference of `gated_norm`.
use gpu_kernels::GatedNorm;
use half::bf16;

use super::parallel::for_each;
use super::sum::sum;
use crate::device::{Activation, Memory, Reference};

impl Reference for GatedNorm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let (rows, width) = (self.rows as usize, self.width as usize);
        let group = width / self.groups as usize;
        // A copy: the output may be written over it.
        let y = memory.read::<A>(self.y, rows * width).to_vec();
        let z = memory.read::<A>(self.z, (rows - 1) * self.z_stride as usize + width);
        let weight = memory.weight(self.weight);
        let weight = weight.row(0);
        let mut out = memory.write::<A>(self.out, rows * width);
        let items = out.chunks_mut(width).zip(y.chunks(width)).zip(z.chunks(self.z_stride as usize)).collect();
        for_each(rows * width * 8, items, |((out, y), z)| {
            normalise([y, z], weight, (group, self.eps), out);
        });
    }
}

/// `out` = the row `y` behind the gates `z`, each `group` of it normalised.
pub(super) fn normalise<A: Activation>([y, z]: [&[A]; 2], weight: &[bf16], (group, eps): (usize, f32), out: &mut [A]) {
    let gate = |(y, z): (&A, &A)| y.to_f32() * (z.to_f32() / (1.0 + (-z.to_f32()).exp()));
    let gated: Vec<f32> = y.iter().zip(z).map(gate).collect();
    let groups = out.chunks_mut(group).zip(gated.chunks(group)).zip(weight.chunks(group));
    for ((out, gated), weight) in groups {
        let mean_square = sum(gated.iter().map(|g| g * g)) / group as f32;
        let root = (mean_square + eps).sqrt();
        for ((out, g), weight) in out.iter_mut().zip(gated).zip(weight) {
            *out = A::from_f32(weight.to_f32() * (g / root));
        }
    }
}
