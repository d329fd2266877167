//! Reference of `moe_quant_gemm`: `moe_gemm`'s, with weights that are widened exactly, value times scale in f32.
use gpu_kernels::MoeQuantGemm;

use super::moe_gemm::{experts, product};
use super::packed::PackedMatrix;
use super::product::Matrix;
use crate::device::{Activation, Memory, Reference};

impl Reference for MoeQuantGemm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let around = self.around();
        let w = PackedMatrix::of(memory, self.w, self.scales);
        product(&around).run::<A>(&Matrix::Packed(w, self.k as usize), &experts(&around, memory), memory);
    }
}
