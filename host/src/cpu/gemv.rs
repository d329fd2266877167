//! Reference of `gemv`: the product that GEMMs take too.
use gpu_kernels::Gemv;

use super::product;
use crate::device::{Activation, Gemm, Memory, Output, Reference};

impl Reference for Gemv {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let out = if self.y.is_null() { Output::F32(self.y_f32) } else { Output::Act(self.y) };
        let Gemv { x, w, bias, rows, n, k, .. } = *self;
        product::gemm::<A>(&Gemm { x, w, bias, out, rows, n, k }, memory);
    }
}
