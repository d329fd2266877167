//! Reference of `skinny_gemm`: that of `gemv`, or for each split the product of its columns.
use gpu_kernels::{Gemv, SkinnyGemm};

use super::product::{self, Matrix};
use crate::device::{Activation, Memory, Reference};

impl Reference for SkinnyGemm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let SkinnyGemm { x, w, bias, residual, y, y_f32, partial, rows, n, k, activation, made, .. } = *self;
        let plain = Gemv { bias, residual, y, y_f32, activation, made, ..Gemv::new(x, w, [rows, n, k]) };
        if partial.is_null() {
            return plain.reference::<A>(memory);
        }
        let w = Matrix::<A>::of(memory, w, [n as usize, k as usize]);
        let (k, elements) = (k as usize, (rows * n) as usize);
        for split in 0..self.splits() {
            let columns = self.columns(split);
            let mut x = memory.read::<A>(x, rows as usize * k).to_vec();
            for (at, x) in x.iter_mut().enumerate() {
                if !columns.contains(&((at % k) as u32)) {
                    *x = A::default();
                }
            }
            let to = partial.offset(u64::from(split) * elements as u64);
            product::product_of(&x, &plain, &w, memory, &mut memory.write::<f32>(to, elements));
        }
    }
}
