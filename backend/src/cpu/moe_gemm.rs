//! Reference of `moe_gemm`.
use gpu_kernels::MoeGemm;
use gpu_kernels::moe_sort::max_tiles;

use super::experts::ExpertProduct;
use crate::device::{Activation, Memory, Reference};

impl Reference for MoeGemm {
    fn reference<A: Activation>(&self, memory: &Memory) {
        let product = product(self);
        product.run::<A>(&product.weights(self.w, memory), &experts(self, memory), memory);
    }
}

pub fn product(args: &MoeGemm) -> ExpertProduct {
    let MoeGemm { x, y, top_k, n, k, activation, row_per_choice, first, held, .. } = *args;
    let held = first as usize..(first + held) as usize;
    ExpertProduct { x, y, top_k, n, k, activation, row_per_choice: row_per_choice != 0, held }
}

/// The expert of each choice, as the tiles have it.
pub fn experts(gemm: &MoeGemm, memory: &Memory) -> Vec<i32> {
    let choices = gemm.rows * gemm.top_k;
    let order = memory.read::<i32>(gemm.order, choices as usize);
    let tiles = memory.read::<i32>(gemm.tiles, 4 * max_tiles(choices, gemm.experts) as usize);
    let mut ids = vec![0; choices as usize];
    for tile in tiles.chunks(4) {
        let places = &order[tile[1] as usize..][..tile[2] as usize];
        places.iter().for_each(|choice| ids[*choice as usize] = tile[0]);
    }
    ids
}
