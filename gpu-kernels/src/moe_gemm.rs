//! `moe_gemm`: the product of each token row with the weights of the experts that were chosen for it, for many rows.
//!
//! # Formula
//! As `moe_gemv`: for choice p of token t and `e = ids[p]`, `s[p, n] = Σ_k x[q, k] · w[e, n, k]`, where q is t, or p with
//! `row_per_choice`; `y = r(s)`, or with the activation `relu2` `y = r(max(r(s), 0)²)`. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]`, or `[rows · top_k, k]` | act | row-major |
//! | `w` | `[held, n, k]` | weight | row-major: experts `first` to `first + held` |
//! | `order` | `[rows · top_k]` | i32 | choices by expert: `moe_sort` |
//! | `tiles` | `[max_tiles, 4]` | i32 | expert, first place in `order`, places: `moe_sort` |
//! | `y` | `[rows · top_k, n]` | act | row-major, written |
//!
//! # Launch
//! Choices of experts that `w` does not hold are left alone: a launch for each panel of experts serves all.
//!
//! On compute capability 9.0, where `w` holds all experts, a block for each multiprocessor takes every so many of the chunks that
//! all tiles are cut into: up to 128 choices of an expert times 256 rows of its weight, or up to 256 times 128, 64 columns at a
//! time through a ring of 4 stages in shared memory. Two warpgroups multiply, the weight's rows being `wgmma`'s. An expert's
//! weight is read once for up to 256 choices. A tile's chunks are multiplied by neighbouring blocks at about the same time, so
//! that its tokens are read from memory once.
//!
//! Elsewhere a block has up to 64 choices of a tile and 128 rows of the weight: 8 warps of 32 × 32, and a ring of 3 stages.
//! Blocks without choices end at once.
//!
//! # Requires
//! At least 1 choice, and less than 2³¹ chunks; `k` divisible by 8, `n` by 16; `x` and `w` 16-byte aligned; `y` overlaps nothing that is read.
//!
//! # Moves
//! `2 · n · k` bytes of each expert that is met, and `rows · top_k · (k · act + n · act)`; which are met is counted as for
//! `moe_gemv`.
//!
//! # Numerics
//! The tensor core sums products in f32, 16 at once, in the order of k, whatever else is in the tile. c = 16, d = 4.
use crate::activation::{PLAIN, RELU2};
use crate::dense_gemm::{COLUMNS, DEPTH, RING_BYTES, TOKENS, WARPS, WARPS_BYTES};
use crate::kernel::{kernel_args, require};
use crate::moe_gemv::met;
use crate::moe_route::MAX_EXPERTS;
use crate::moe_sort::{NARROW, TILE, max_tiles};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
mod chunks;
#[cfg(target_arch = "nvptx64")]
mod entry;

/// Blocks of warps for a tile.
const PARTS: u32 = TILE / TOKENS;
/// Steps of 64 columns for which a further block is worth its while.
const STEPS_OF_A_BLOCK: u32 = 16;

kernel_args! {
    /// Arguments of `moe_gemm`.
    pub struct MoeGemm {
        /// `[rows, k]`, or with `row_per_choice` `[rows · top_k, k]`.
        pub x: Ptr<Act>,
        /// `[held, n, k]`.
        pub w: Ptr<Weight>,
        /// `[rows · top_k]`: choices by expert.
        pub order: Ptr<i32>,
        /// `[max_tiles, 4]`: expert, first place, places, wide tiles before.
        pub tiles: Ptr<i32>,
        /// `[rows · top_k, n]`, written.
        pub y: Ptr<Act>,
        /// Token rows.
        pub rows: u32,
        /// Experts that a row goes to.
        pub top_k: u32,
        /// Experts.
        pub experts: u32,
        /// The first expert that `w` holds.
        pub first: u32,
        /// Experts that `w` holds.
        pub held: u32,
        /// Rows of an expert's weight.
        pub n: u32,
        /// Columns of an expert's weight.
        pub k: u32,
        /// [`PLAIN`] or [`RELU2`].
        pub activation: u32,
        /// Whether `x` has a row for each choice instead of each token: 0 or 1.
        pub row_per_choice: u32,
    }
}

impl MoeGemm {
    /// Chunks of a narrow and of a wide tile.
    const fn chunks(&self) -> [u32; 2] {
        [self.n.div_ceil(TILE), self.n.div_ceil(NARROW)]
    }

    /// At least the chunks of all tiles.
    fn most_chunks(&self) -> u64 {
        u64::from(max_tiles(self.rows * self.top_k, self.experts)) * u64::from(self.chunks()[1])
    }
}

impl Kernel for MoeGemm {
    const NAME: &'static str = "moe_gemm";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.top_k > 0 => "at least one choice",
            self.rows < 1 << 20 && self.top_k < 1 << 10 => "fewer than 2^20 rows and 2^10 choices of a row",
            self.experts > 0 && self.experts <= MAX_EXPERTS => "1 to 1024 experts",
            self.held > 0 && self.first + self.held <= self.experts => "experts that are there",
            self.n > 0 && self.n.is_multiple_of(16) && self.n.div_ceil(COLUMNS) < 1 << 16 => "n divisible by 16",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            self.most_chunks() < 1 << 31 => "fewer chunks than 2^31",
            self.activation == PLAIN || self.activation == RELU2 => "a known activation",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let tiles = max_tiles(self.rows * self.top_k, self.experts);
        if device.has_wgmma() && self.held == self.experts {
            let steps = self.n.div_ceil(TILE) * self.k.div_ceil(DEPTH);
            let blocks = tiles.saturating_mul(steps).div_ceil(STEPS_OF_A_BLOCK).min(device.multiprocessors);
            let launch = Launch::linear("moe_gemm_wgmma", blocks, WARPS * 32);
            return Launch { shared_bytes: RING_BYTES, overlaps: true, ..launch };
        }
        // Neighbouring blocks share an expert's weights.
        let grid = [tiles * PARTS, self.n.div_ceil(COLUMNS), 1];
        Launch { grid, shared_bytes: WARPS_BYTES, overlaps: true, ..Launch::linear(Self::NAME, 1, WARPS * 32) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (n, k, choices) = (u64::from(self.n), u64::from(self.k), u64::from(self.rows) * u64::from(self.top_k));
        let share = f64::from(self.held) / f64::from(self.experts);
        let weights = met(shape, self.rows, self.top_k, self.experts) * (2 * n * k) as f64;
        (share * (weights + (choices * 2 * (n + k)) as f64)) as u64
    }

    fn flops(&self, _: &StepShape) -> u64 {
        let all = 2 * u64::from(self.rows) * u64::from(self.top_k) * u64::from(self.n) * u64::from(self.k);
        all * u64::from(self.held) / u64::from(self.experts)
    }
}
