//! The product with the weights of chosen experts, for `moe_gemv` and `moe_gemm` alike.
use std::ops::Range;

use gpu_kernels::{Act, Ptr, Weight, activation};

use super::parallel::for_each;
use super::product::{Matrix, MatrixRows};
use super::{relu2, sum};
use crate::device::{Activation, Memory};

/// What is multiplied.
pub struct ExpertProduct {
    pub x: Ptr<Act>,
    pub y: Ptr<Act>,
    pub top_k: u32,
    pub n: u32,
    pub k: u32,
    pub activation: u32,
    /// Whether `x` has a row for each choice.
    pub row_per_choice: bool,
    /// The experts that `w` holds; choices of others are left alone.
    pub held: Range<usize>,
}

impl ExpertProduct {
    /// The bf16 or f32 weights of the experts that are held.
    pub fn weights<'a, A: Activation>(&self, w: Ptr<Weight>, memory: &'a Memory) -> Matrix<'a, A> {
        Matrix::of(memory, w, [self.held.len() * self.n as usize, self.k as usize])
    }

    /// Writes the row of `y` for each choice; `ids` are the experts, whose weights `w` holds.
    pub fn run<A: Activation>(&self, w: &Matrix<A>, ids: &[i32], memory: &Memory) {
        let (n, k, top_k) = (self.n as usize, self.k as usize, self.top_k as usize);
        let x_rows = if self.row_per_choice { ids.len() } else { ids.len() / top_k };
        let x: Vec<f32> = memory.read::<A>(self.x, x_rows * k).iter().map(|x| x.to_f32()).collect();
        let w = w.source();
        let mut y = memory.write::<A>(self.y, ids.len() * n);
        let items = y.chunks_mut(n).zip(ids).enumerate().collect();
        for_each(ids.len() * n * k / 8, items, |(choice, (y, id))| {
            let row = if self.row_per_choice { choice } else { choice / top_k };
            let x = &x[row * k..][..k];
            if !self.held.contains(&(*id as usize)) {
                return;
            }
            let first = (*id as usize - self.held.start) * n;
            for (column, y) in y.iter_mut().enumerate() {
                let value = A::from_f32(match w {
                    MatrixRows::Weight(w, start) => dot(x, w.row(start + first + column)),
                    MatrixRows::Panel(w, k) => dot(x, &w[(first + column) * k..][..k]),
                    MatrixRows::Packed(w, k) => dot(x, &w.unpacked(first + column, k)),
                });
                *y = if self.activation == activation::RELU2 { relu2::of(value) } else { value };
            }
        });
    }
}

fn dot<W: Activation>(x: &[f32], w: &[W]) -> f32 {
    sum::sum(x.iter().zip(w).map(|(x, w)| x * w.to_f32()))
}
