//! Reference of `moe_gemv`.
use gpu_kernels::MoeGemv;

use super::experts::ExpertProduct;
use crate::device::{Activation, Memory, Reference};

impl Reference for MoeGemv {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let choices = (self.rows * self.top_k) as usize;
        let ids = memory.read::<i32>(self.ids, choices);
        let product = product(self);
        product.run::<A>(&product.weights(self.w, memory), &ids, memory);
    }
}

pub fn product(args: &MoeGemv) -> ExpertProduct {
    let MoeGemv { x, y, top_k, n, k, activation, row_per_choice, experts, .. } = *args;
    let held = 0..experts as usize;
    ExpertProduct { x, y, top_k, n, k, activation, row_per_choice: row_per_choice != 0, held }
}
