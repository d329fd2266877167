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
//! A block has a tile of up to 64 choices of one expert and 128 rows of its weight: 8 warps of 32 × 32, 64 columns at a time
//! through a ring of 3 stages in shared memory. Blocks of tiles without places end at once.
//!
//! # Requires
//! At least 1 choice; `k` divisible by 8, `n` by 16; `x` and `w` 16-byte aligned; `y` overlaps nothing that is read.
//!
//! # Moves
//! `2 · n · k` bytes of each expert that is met, and `rows · top_k · (k · act + n · act)`; as many are counted as random choices
//! would meet.
//!
//! # Numerics
//! The tensor core sums products in f32, 16 at once, in the order of k, whatever else is in the tile. c = 16, d = 4.
use crate::gemv::{PLAIN, RELU2};
use crate::kernel::{kernel_args, require};
use crate::moe_gemv::met;
use crate::moe_route::MAX_EXPERTS;
use crate::moe_sort::{TILE, max_tiles};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod stages;

/// Rows of the weight in a block.
const COLUMNS: u32 = 128;
/// Columns of weight and tokens in a stage.
const DEPTH: u32 = 64;
/// Stages of the ring.
const STAGES: u32 = 3;
/// Warps of a block: 2 along the choices, 4 along the weight's rows.
const WARPS: u32 = 8;
/// Bytes of a stage: tokens, then weights.
const STAGE_BYTES: u32 = (TILE + COLUMNS) * DEPTH * 2;

kernel_args! {
    /// Arguments of `moe_gemm`.
    pub struct MoeGemm {
        /// `[rows, k]`, or with `row_per_choice` `[rows · top_k, k]`.
        pub x: Ptr<Act>,
        /// `[held, n, k]`.
        pub w: Ptr<Weight>,
        /// `[rows · top_k]`: choices by expert.
        pub order: Ptr<i32>,
        /// `[max_tiles, 4]`: expert, first place, places.
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
            self.activation == PLAIN || self.activation == RELU2 => "a known activation",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        // Neighbouring blocks share an expert's weights.
        let grid = [max_tiles(self.rows * self.top_k, self.experts), self.n.div_ceil(COLUMNS), 1];
        let shared_bytes = STAGES * STAGE_BYTES;
        Launch { grid, shared_bytes, overlaps: true, ..Launch::linear(Self::NAME, 1, WARPS * 32) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (n, k, choices) = (u64::from(self.n), u64::from(self.k), u64::from(self.rows) * u64::from(self.top_k));
        let share = f64::from(self.held) / f64::from(self.experts);
        let weights = met(self.rows, self.top_k, self.experts) * (2 * n * k) as f64 + (choices * 2 * (n + k)) as f64;
        (share * weights) as u64
    }

    fn flops(&self, _: &StepShape) -> u64 {
        let all = 2 * u64::from(self.rows) * u64::from(self.top_k) * u64::from(self.n) * u64::from(self.k);
        all * u64::from(self.held) / u64::from(self.experts)
    }
}
