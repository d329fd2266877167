//! The entry points of `dense_gemm`.
use super::product::{Chunk, Product};
use super::{COLUMNS, DenseGemm, TOKENS, WARPS, warpgroups, warps};
use crate::moe_sort::{NARROW, TILE};
use core::num::NonZero;
use cuda_std::{bf16, global, grid, kernel, thread, wgmma};

/// Wide tiles whose chunks follow each other.
const GROUP: u32 = 8;
/// What changes no sum: +0 would make +0 of −0.
const NO_BIAS: f32 = -0.0;

kernel! {
    /// Up to 64 token rows and 128 rows of the weight.
    pub fn dense_gemm(args: DenseGemm) {
        grid::launch_dependents();
        grid::wait_for_dependencies();
        let (first, row) = (thread::block_idx_x() * TOKENS, thread::block_idx_y() * COLUMNS);
        let (live, rows) = ((args.rows - first).min(TOKENS), (args.n - row).min(COLUMNS));
        warps::multiply(&args, &Chunk { weights: args.weights(row), first, live, row, rows });
    }

    /// The block's share of all chunks.
    pub fn dense_gemm_wgmma(args: DenseGemm) {
        wgmma::threads_at_most::<{ WARPS * 32 }>();
        grid::launch_dependents();
        grid::wait_for_dependencies();
        warpgroups::multiply(&args);
    }
}

impl DenseGemm {
    /// The address of a row of the weight.
    #[inline(always)]
    fn weights(&self, row: u32) -> u64 {
        self.w.addr + u64::from(row) * u64::from(self.k) * 2
    }

    /// Whether two neighbours of the result are one access.
    #[inline(always)]
    fn has_pairs(&self) -> bool {
        (self.n | self.stride).is_multiple_of(2)
    }

    /// The address of an element of `bytes` bytes of what begins at `start`. The columns are few, and the sum with theirs the same
    /// for many rows.
    #[inline(always)]
    fn at(&self, start: u64, [row, column]: [u32; 2], bytes: u64) -> u64 {
        start + u64::from(column) * bytes + u64::from(row) * u64::from(self.stride) * bytes
    }
}

impl Product for DenseGemm {
    type Bias = [f32; 2];

    #[inline(always)]
    fn k(&self) -> u32 {
        self.k
    }

    #[inline(always)]
    unsafe fn chunk(&self, number: u32) -> Option<Chunk> {
        let ([_, wide], tiles) = (self.chunks(), self.wide_tiles());
        let (mut tile, mut row) = (tiles, number.wrapping_sub(tiles * wide) * TILE);
        if number < tiles * wide {
            let of_group = NonZero::new(GROUP * wide)?;
            let (group, within) = (number / of_group, number % of_group);
            let together = NonZero::new((tiles - group * GROUP).min(GROUP))?;
            (tile, row) = (group * GROUP + within % together, within / together * NARROW);
        }
        let first = tile * TILE;
        let live = self.rows.saturating_sub(first).min(TILE);
        let mut chunk = Chunk { weights: self.weights(row), first, live, row, rows: 0 };
        chunk.rows = self.n.saturating_sub(row).min(chunk.most_rows());
        (live > 0 && chunk.rows > 0).then_some(chunk)
    }

    #[inline(always)]
    unsafe fn token(&self, place: u32) -> u64 {
        self.x.addr + u64::from(place) * u64::from(self.k) * 2
    }

    #[inline(always)]
    unsafe fn output_row(&self, place: u32) -> u32 {
        place
    }

    #[inline(always)]
    unsafe fn bias(&self, column: u32) -> [f32; 2] {
        [column, column + 1].map(|column| {
            if self.bias.is_null() || column >= self.n {
                return NO_BIAS;
            }
            // SAFETY: the column is there.
            bf16::to_f32(unsafe { global::load(self.bias.addr + u64::from(column) * 2) })
        })
    }

    #[inline(always)]
    unsafe fn residual(&self, row: u32, column: u32) -> u32 {
        if self.residual.is_null() || column >= self.n {
            return 0;
        }
        let at = self.at(self.residual.addr, [row, column], 2);
        // SAFETY: what is read is there, and aligned.
        unsafe {
            if self.has_pairs() {
                return global::load(at);
            }
            let (first, mut second): (u16, u16) = (global::load(at), 0);
            if column + 1 < self.n {
                second = global::load(at + 2);
            }
            u32::from(first) | u32::from(second) << 16
        }
    }

    #[inline(always)]
    unsafe fn store(&self, at: [u32; 2], sums: [f32; 2], bias: [f32; 2], residual: u32) {
        let sums = [sums[0] + bias[0], sums[1] + bias[1]];
        let [_, column] = at;
        let (has_one, has_two) = (column < self.n, column + 1 < self.n);
        // SAFETY: what is stored is there, and aligned.
        unsafe {
            if self.y.is_null() {
                let y = self.at(self.y_f32.addr, at, 4);
                if has_one {
                    global::store(y, sums[0]);
                }
                if has_two {
                    global::store(y + 4, sums[1]);
                }
                return;
            }
            let (y, before) = (self.at(self.y.addr, at, 2), bf16::unpack(residual));
            let added = [before[0] + bf16::round(sums[0]), before[1] + bf16::round(sums[1])];
            let pair = bf16::pack(if self.residual.is_null() { sums } else { added });
            if self.has_pairs() {
                if has_one {
                    global::store(y, pair);
                }
                return;
            }
            if has_one {
                global::store(y, pair as u16);
            }
            if has_two {
                global::store(y + 2, (pair >> 16) as u16);
            }
        }
    }
}
