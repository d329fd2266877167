//! Reference of `quant_gemv`: `gemv`'s, with a weight that is widened exactly, value times scale in f32.
use gpu_kernels::QuantGemv;

use super::gemv::multiply;
use super::packed::PackedMatrix;
use super::product::Matrix;
use crate::device::{Activation, Memory, Reference};

impl Reference for QuantGemv {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let w = PackedMatrix::of(memory, self.w, self.scales);
        multiply::<A>(&self.around(), &Matrix::Packed(w, self.k as usize), memory);
    }
}
