//! Reference of `skinny_join`.
use gpu_kernels::{SkinnyJoin, gemv};

use super::{product, relu2, residual, swiglu};
use crate::device::{Activation, Memory, Reference};

impl Reference for SkinnyJoin {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let sums = self.sums(memory);
        if self.y.is_null() {
            return memory.write::<f32>(self.y_f32, sums.len()).copy_from_slice(&sums);
        }
        let n = self.n as usize;
        let sums: Vec<A> = sums.into_iter().map(A::from_f32).collect();
        let outputs = match self.activation {
            gemv::RELU2 => sums.into_iter().map(relu2::of).collect(),
            gemv::SWIGLU => {
                let rows = sums.chunks(n).map(|row| row.split_at(n / 2));
                rows.flat_map(|(gate, up)| gate.iter().zip(up).map(|(gate, up)| swiglu::gated(*gate, *up))).collect()
            }
            _ => sums,
        };
        if self.residual.is_null() {
            memory.write::<A>(self.y, outputs.len()).copy_from_slice(&outputs);
        } else {
            residual::add(memory, self.residual, self.y, &outputs);
        }
    }
}

trait Summed {
    fn sums(&self, memory: &Memory) -> Vec<f32>;
}

impl Summed for SkinnyJoin {
    /// The splits' sums and the bias, `[rows, n]`.
    fn sums(&self, memory: &Memory) -> Vec<f32> {
        let elements = (self.rows * self.n) as usize;
        let partial = memory.read::<f32>(self.partial, elements * self.splits as usize);
        let mut sums = partial[..elements].to_vec();
        for split in partial[elements..].chunks(elements) {
            sums.iter_mut().zip(split).for_each(|(sum, part)| *sum += part);
        }
        if let Some(bias) = product::bias(memory, self.bias, self.n) {
            sums.iter_mut().enumerate().for_each(|(at, sum)| *sum += bias[at % self.n as usize]);
        }
        sums
    }
}
