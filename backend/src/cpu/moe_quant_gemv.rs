//! Reference of `moe_quant_gemv`: `moe_gemv`'s, with weights that are widened exactly, value times scale in f32.
use gpu_kernels::MoeQuantGemv;

use super::moe_gemv::product;
use super::packed::PackedMatrix;
use super::product::Matrix;
use crate::device::{Activation, Memory, Reference};

impl Reference for MoeQuantGemv {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let ids = memory.read::<i32>(self.ids, (self.rows * self.top_k) as usize);
        let w = PackedMatrix::of(memory, self.w, self.scales);
        product(&self.around()).run::<A>(&Matrix::Packed(w, self.k as usize), &ids, memory);
    }
}
