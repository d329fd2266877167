//! The product with the weights of chosen experts, for `moe_gemv` and `moe_gemm` alike.
use gpu_kernels::{Act, Ptr, Weight, gemv};

use super::parallel::for_each;
use super::{relu2, sum};
use crate::device::{Activation, Memory};

/// What is multiplied.
pub struct ExpertProduct {
    pub x: Ptr<Act>,
    pub w: Ptr<Weight>,
    pub y: Ptr<Act>,
    pub top_k: u32,
    pub n: u32,
    pub k: u32,
    pub activation: u32,
    /// Whether `x` has a row for each choice.
    pub row_per_choice: bool,
}

impl ExpertProduct {
    /// Writes the row of `y` for each choice; `ids` are the experts.
    pub fn run<A: Activation>(&self, ids: &[i32], memory: &Memory) {
        let (n, k, top_k) = (self.n as usize, self.k as usize, self.top_k as usize);
        let x_rows = if self.row_per_choice { ids.len() } else { ids.len() / top_k };
        let x: Vec<f32> = memory.read::<A>(self.x, x_rows * k).iter().map(|x| x.to_f32()).collect();
        let w = memory.weight(self.w);
        let w = &*w;
        let mut y = memory.write::<A>(self.y, ids.len() * n);
        let items = y.chunks_mut(n).zip(ids).enumerate().collect();
        for_each(ids.len() * n * k / 8, items, |(choice, (y, id))| {
            let row = if self.row_per_choice { choice } else { choice / top_k };
            let x = &x[row * k..][..k];
            for (column, y) in y.iter_mut().enumerate() {
                let w = w.row(*id as usize * n + column);
                let value = A::from_f32(sum::sum(x.iter().zip(w).map(|(x, w)| x * w.to_f32())));
                *y = if self.activation == gemv::RELU2 { relu2::of(value) } else { value };
            }
        });
    }
}
