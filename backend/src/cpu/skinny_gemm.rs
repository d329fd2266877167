//! Reference of `skinny_gemm`: that of `gemv`, or for each split the product of its columns.
use std::ops::Range;

use gpu_kernels::{Gemv, SkinnyGemm};

use super::product::{self, Matrix};
use crate::device::{Activation, Memory, Reference};

impl Reference for SkinnyGemm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let SkinnyGemm { x, w, bias, residual, y, y_f32, partial, rows, n, k, activation, made, .. } = *self;
        let gemv = Gemv { bias, residual, y, y_f32, activation, made, ..Gemv::new(x, w, [rows, n, k]) };
        if partial.is_null() {
            return gemv.reference::<A>(memory);
        }
        let w = Matrix::<A>::of(memory, w, [n as usize, k as usize]);
        let place = |split, row, token| self.partial_index(split, row, token);
        let columns = (0..self.splits()).map(|split| self.columns(split));
        split(&gemv, &w, columns, place, &mut memory.write::<f32>(partial, self.partials()), memory);
    }
}

/// Writes the products of the columns of each split to where `place` says that those of a split, a row of the weight and a token
/// row stand in `partial`; zeros elsewhere.
pub fn split<A: Activation>(
    gemv: &Gemv,
    w: &Matrix<A>,
    splits: impl Iterator<Item = Range<u32>>,
    place: impl Fn(u32, u32, u32) -> usize,
    partial: &mut [f32],
    memory: &Memory,
) {
    let Gemv { rows, n, k, .. } = *gemv;
    let x = memory.read::<A>(gemv.x, (rows * k) as usize);
    partial.fill(0.0);
    for (split, columns) in (0..).zip(splits) {
        let within = |at: usize| columns.contains(&(at as u32 % k));
        let x: Vec<A> = x.iter().enumerate().map(|(at, x)| if within(at) { *x } else { A::default() }).collect();
        let mut sums = vec![0.0_f32; (rows * n) as usize];
        product::product_of(&x, gemv, w, memory, &mut sums);
        for (at, sum) in (0_u32..).zip(sums) {
            partial[place(split, at % n, at / n)] = sum;
        }
    }
}
