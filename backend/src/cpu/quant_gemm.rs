//! Reference of `quant_gemm`: that of `skinny_gemm`, with a weight that is widened exactly, value times scale in f32.
use gpu_kernels::{Gemv, QuantGemm};

use super::packed::PackedMatrix;
use super::product::Matrix;
use super::{gemv, skinny_gemm};
use crate::device::{Activation, Memory, Reference};

impl Reference for QuantGemm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let QuantGemm { x, bias, residual, y, y_f32, partial, rows, n, k, activation, .. } = *self;
        let around =
            Gemv { bias, residual, y, y_f32, activation, ..Gemv::new(x, gpu_kernels::Ptr::NULL, [rows, n, k]) };
        let w = Matrix::<A>::Packed(PackedMatrix::of(memory, self.w, self.scales), k as usize);
        if partial.is_null() {
            return gemv::multiply(&around, &w, memory);
        }
        let place = |split, row, token| self.partial_index(split, row, token);
        let columns = (0..self.splits()).map(|split| self.columns(split));
        skinny_gemm::split(&around, &w, columns, place, &mut memory.write::<f32>(partial, self.partials()), memory);
    }
}
