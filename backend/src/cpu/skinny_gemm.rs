//! Reference of `skinny_gemm`: that of `gemv`, or for each split the product of its columns.
use gpu_kernels::{Gemv, SkinnyGemm};

use super::product::{self, Matrix};
use crate::device::{Activation, Memory, Reference};

impl Reference for SkinnyGemm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let SkinnyGemm { x, w, bias, residual, y, y_f32, partial, rows, n, k, activation, made } = *self;
        let gemv = Gemv { bias, residual, y, y_f32, activation, made, ..Gemv::new(x, w, [rows, n, k]) };
        if partial.is_null() {
            return gemv.reference::<A>(memory);
        }
        let w = Matrix::<A>::of(memory, w, [n as usize, k as usize]);
        let x = memory.read::<A>(x, (rows * k) as usize);
        let mut partial = memory.write::<f32>(partial, self.partials());
        partial.fill(0.0);
        for split in 0..self.splits() {
            let columns = self.columns(split);
            let within = |at: usize| columns.contains(&(at as u32 % k));
            let x: Vec<A> = x.iter().enumerate().map(|(at, x)| if within(at) { *x } else { A::default() }).collect();
            let mut sums = vec![0.0_f32; (rows * n) as usize];
            product::product_of(&x, &gemv, &w, memory, &mut sums);
            for (at, sum) in (0_u32..).zip(sums) {
                partial[self.partial_index(split, at % n, at / n)] = sum;
            }
        }
    }
}
