//! Reference of `dense_gemm`: the product of a plan's GEMM.
use gpu_kernels::DenseGemm;

use super::product;
use crate::device::{Activation, Gemm, Memory, Output, Reference};

impl Reference for DenseGemm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let DenseGemm { x, w, bias, residual, y, y_f32, rows, n, k, stride } = *self;
        let out = if y.is_null() { Output::F32(y_f32) } else { Output::Act(y) };
        product::gemm::<A>(&Gemm { bias, residual, stride, ..Gemm::new(x, w, out, [rows, n, k]) }, memory);
    }
}
