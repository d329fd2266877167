//! The entry points of `moe_gemm`.
use super::{MoeGemm, PARTS};
use crate::activation::RELU2;
use crate::dense_gemm::product::{Chunk, Product};
use crate::dense_gemm::{COLUMNS, TOKENS, WARPS, warpgroups, warps};
use crate::relu2::entry::relu2_of;
use core::num::NonZero;
use cuda_std::{bf16, global, grid, kernel, thread, wgmma};

kernel! {
    /// Up to 64 choices of an expert and 128 rows of its weight.
    pub fn moe_gemm(args: MoeGemm) {
        grid::launch_dependents();
        grid::wait_for_dependencies();
        let (tile, part) = (thread::block_idx_x() / PARTS, thread::block_idx_x() % PARTS * TOKENS);
        let [expert, first, places, _] = args.tile(tile);
        let held = expert.wrapping_sub(args.first);
        if part >= places || held >= args.held {
            return;
        }
        let (live, row) = ((places - part).min(TOKENS), thread::block_idx_y() * COLUMNS);
        let rows = (args.n - row).min(COLUMNS);
        let weights = args.weights(held, row);
        warps::multiply(&args, &Chunk { weights, first: first + part, live, row, rows });
    }

    /// The block's share of all chunks.
    pub fn moe_gemm_wgmma(args: MoeGemm) {
        wgmma::threads_at_most::<{ WARPS * 32 }>();
        grid::launch_dependents();
        grid::wait_for_dependencies();
        warpgroups::multiply(&args);
    }
}

impl MoeGemm {
    /// The words of a tile: expert, first place, places, wide tiles before.
    ///
    /// # Safety
    /// The tile is there, and written.
    #[inline(always)]
    pub(super) unsafe fn tile(&self, tile: u32) -> [u32; 4] {
        // SAFETY: the caller's promise.
        unsafe { global::load(self.tiles.addr + 16 * u64::from(tile)) }
    }

    /// The address of a row of an expert that `w` holds.
    #[inline(always)]
    pub(super) fn weights(&self, held: u32, row: u32) -> u64 {
        self.w.addr + (u64::from(held) * u64::from(self.n) + u64::from(row)) * u64::from(self.k) * 2
    }
}

impl Product for MoeGemm {
    type Bias = ();

    #[inline(always)]
    fn k(&self) -> u32 {
        self.k
    }

    #[inline(always)]
    unsafe fn chunk(&self, number: u32) -> Option<Chunk> {
        // SAFETY: the caller's promise.
        unsafe { self.find_chunk(number) }
    }

    #[inline(always)]
    unsafe fn token(&self, place: u32) -> u64 {
        // SAFETY: the caller's promise.
        let choice = unsafe { self.output_row(place) };
        let token = match NonZero::new(self.top_k) {
            Some(top_k) if self.row_per_choice == 0 => choice / top_k,
            _ => choice,
        };
        self.x.addr + u64::from(token) * u64::from(self.k) * 2
    }

    /// The choice.
    #[inline(always)]
    unsafe fn output_row(&self, place: u32) -> u32 {
        // SAFETY: the place is there.
        unsafe { global::load(self.order.addr + 4 * u64::from(place)) }
    }

    #[inline(always)]
    unsafe fn bias(&self, _: u32) {}

    #[inline(always)]
    unsafe fn residual(&self, _: u32, _: u32) -> u32 {
        0
    }

    #[inline(always)]
    unsafe fn store(&self, [row, column]: [u32; 2], sums: [f32; 2], (): (), _: u32) {
        // The columns are few, and the sum with theirs the same for many rows.
        let y = self.y.addr + u64::from(column) * 2 + u64::from(row) * u64::from(self.n) * 2;
        let outputs = if self.activation == RELU2 { sums.map(|sum| relu2_of(bf16::round(sum))) } else { sums };
        // Sixteens of columns are there or not.
        if column / 16 * 16 < self.n {
            // SAFETY: n is divisible by 16, and so both columns are there.
            unsafe { global::store(y, bf16::pack(outputs)) };
        }
    }
}
