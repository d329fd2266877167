//! `skinny_gemm`: a product with a large weight for 9 to 128 token rows, bound by the weight's bytes; activation and residual add
//! behind it.
//!
//! # Formula
//! `s[t, n] = Σ_k x[t, k] · w[n, k] + bias[n]`. Then `y_f32 = s`, or `y = r(s)`, or with `residual` `y = r(residual + r(s))`, or
//! with an activation `y = f(r(s))` as in `gemv`. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `w` | `[n, k]` | weight | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as `y`, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//! | `partial` | `[splits(), rows, n]`, or null | f32 | row-major, written |
//!
//! # Launch
//! A block multiplies a tile of 128 rows of the weight (with `swiglu` 64 gates and the 64 rows beside them) with all token rows,
//! 64 columns at a time. Weights and tokens pass through a ring in shared memory, small enough for two blocks to a
//! multiprocessor; the first weights are on their way before the kernel in front has ended, unless weights are what that kernel
//! makes. Where there are fewer tiles than multiprocessors, up to 8 blocks share the columns of a tile, and the last to arrive
//! adds their sums. Where there are more than twice as many, blocks take tiles by turns. There is an entry for each of 16, 32, 64
//! and 128 token rows: `_wgmma` on compute capability 9.0, where the weight's rows are the first operand of two warpgroups,
//! others elsewhere, with 16 rows of the weight to a warp.
//!
//! # Requires
//! 1 to 128 rows; `k` divisible by 8, `n` by 8, with `swiglu` by 16; `x` and `w` 16-byte aligned; exactly one of `y` and `y_f32`,
//! activation and `residual` with `y`, one of them at most; `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! `2·n·k + rows·(k·act + n·out)` bytes, and `2·n` where there is a bias.
//!
//! # Numerics
//! The tensor core sums products in f32, 16 at once, along the columns of a block; the blocks' sums are added in their order.
//! Which columns those are depends on `n`, `k` and the activation alone, so a row's sums are the same in any company. The bias is
//! added to the f32 sum. c = 16, d = 4: what an activation takes or gives is rounded, and may be the neighbour of what it is to
//! be; without one d counts for nothing.
use core::ops::Range;

use crate::gemv::{PLAIN, SWIGLU};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod multiply;
#[cfg(target_arch = "nvptx64")]
mod ring;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod store;

/// Most token rows.
pub const MAX_ROWS: u32 = 128;
/// Rows of the weight in a tile.
pub(crate) const TILE: u32 = 128;
/// Columns of weight and tokens in a stage.
const DEPTH: u32 = 64;
/// Bytes of a row in a stage.
const ROW_BYTES: u32 = DEPTH * 2;
/// Two warpgroups: the first copies weights, the second tokens, and each multiplies with half of a tile.
const THREADS: u32 = 256;
/// Its warps, each with 16 rows of a tile.
pub(crate) const WARPS: u32 = THREADS / 32;
/// Blocks that have room beside each other on a multiprocessor.
const BLOCKS: u32 = 2;

/// Blocks that read as fast as the memory gives: with fewer tiles, several share the columns of one.
const FILL: u32 = 112;
/// Most blocks that share the columns of a tile, and the fewest pairs of stages that each of them has.
pub(crate) const MOST_SPLITS: u32 = 8;
const FEWEST_PAIRS: u32 = 2;

/// Token rows and stages of an entry, with warpgroups and without.
struct Variant {
    rows: u32,
    wgmma: (&'static str, u32),
    plain: (&'static str, u32),
}

/// By token rows; two blocks' rings have room on a multiprocessor of Hopper, one has it on every GPU.
const VARIANTS: [Variant; 4] = [
    Variant { rows: 16, wgmma: ("skinny_gemm_wgmma_16", 6), plain: ("skinny_gemm_16", 5) },
    Variant { rows: 32, wgmma: ("skinny_gemm_wgmma_32", 5), plain: ("skinny_gemm_32", 4) },
    Variant { rows: 64, wgmma: ("skinny_gemm_wgmma_64", 4), plain: ("skinny_gemm_64", 4) },
    Variant { rows: 128, wgmma: ("skinny_gemm_wgmma_128", 3), plain: ("skinny_gemm_128", 3) },
];

kernel_args! {
    /// Arguments of `skinny_gemm`.
    pub struct SkinnyGemm {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[n, k]`.
        pub w: Ptr<Weight>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// As `y`, or null.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, with [`SWIGLU`] `[rows, n/2]`, or null; written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// `[splits(), rows, n]` or null, written: what [`SkinnyJoin`](crate::SkinnyJoin) adds.
        pub partial: Ptr<f32>,
        /// Token rows.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Columns of the weight.
        pub k: u32,
        /// [`PLAIN`], `RELU2` or [`SWIGLU`].
        pub activation: u32,
        /// Whether a kernel in front makes `w`, so that nothing of it can be read ahead: 0 or 1.
        pub made: u32,
        /// Tuning.
        pub tune: u32,
    }
}

impl SkinnyGemm {
    /// `x · wᵀ` of `[rows, n, k]` alone: the caller says where it goes, and what stands behind.
    pub const fn new(x: Ptr<Act>, w: Ptr<Weight>, [rows, n, k]: [u32; 3]) -> SkinnyGemm {
        SkinnyGemm {
            x,
            w,
            bias: Ptr::NULL,
            residual: Ptr::NULL,
            y: Ptr::NULL,
            y_f32: Ptr::NULL,
            partial: Ptr::NULL,
            rows,
            n,
            k,
            activation: PLAIN,
            made: 0,
            tune: 0,
        }
    }

    /// Columns of the output.
    const fn width(&self) -> u32 {
        if self.activation == SWIGLU { self.n / 2 } else { self.n }
    }

    /// Columns of the output that a tile gives.
    const fn tile_width(&self) -> u32 {
        if self.activation == SWIGLU { TILE / 2 } else { TILE }
    }

    /// Tiles of the weight.
    pub const fn tiles(&self) -> u32 {
        self.width().div_ceil(self.tile_width())
    }

    /// Blocks that share the columns of a tile; it does not depend on `rows` or on the device.
    pub const fn splits(&self) -> u32 {
        let most = self.k.div_ceil(2 * DEPTH) / FEWEST_PAIRS;
        let wanted = FILL.div_ceil(self.tiles());
        let splits = if wanted < most { wanted } else { most };
        if splits > MOST_SPLITS {
            MOST_SPLITS
        } else if splits == 0 {
            1
        } else {
            splits
        }
    }

    /// The columns that the blocks number `split` multiply: whole pairs of stages.
    pub const fn columns(&self, split: u32) -> Range<u32> {
        let (pairs, splits) = (self.k.div_ceil(2 * DEPTH), self.splits());
        let end = pairs * (split + 1) / splits * 2 * DEPTH;
        pairs * split / splits * 2 * DEPTH..if end < self.k { end } else { self.k }
    }

    fn variant(&self) -> &'static Variant {
        let fits = |variant: &&Variant| self.rows <= variant.rows;
        VARIANTS.iter().find(fits).unwrap_or(&VARIANTS[VARIANTS.len() - 1])
    }
}

impl Kernel for SkinnyGemm {
    const NAME: &'static str = "skinny_gemm";

    fn check(&self) -> Result<(), &'static str> {
        let outputs = [self.y.is_null(), self.y_f32.is_null(), self.partial.is_null()];
        let alone = self.bias.is_null() && self.residual.is_null();
        require! {
            self.rows > 0 && self.rows <= MAX_ROWS => "1 to 128 rows",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            self.n > 0 && self.n.is_multiple_of(8) => "n divisible by 8",
            self.activation <= SWIGLU => "a known activation",
            self.activation != SWIGLU || self.n.is_multiple_of(16) => "n divisible by 16 with gates",
            outputs.iter().filter(|is_null| !**is_null).count() == 1 => "exactly one of y, y_f32 and partial",
            self.partial.is_null() || alone => "partial with neither bias nor residual",
            self.activation == PLAIN || (self.y_f32.is_null() && self.residual.is_null()) => "activations with neither y_f32 nor residual",
            self.y_f32.is_null() || self.residual.is_null() => "y_f32 without residual",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let variant = self.variant();
        let (symbol, stages) = if device.has_wgmma() { variant.wgmma } else { variant.plain };
        let shared_bytes = stages * (TILE + variant.rows) * ROW_BYTES;
        // All blocks have as many tiles, or one less.
        let turns = self.tiles().div_ceil(device.multiprocessors * BLOCKS);
        let splits = if self.partial.is_null() { 1 } else { self.splits() };
        let grid = [self.tiles().div_ceil(turns), splits, 1];
        Launch { grid, shared_bytes, overlaps: self.made == 0, ..Launch::linear(symbol, 1, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let out = if self.y.is_null() { 4 * n } else { 2 * u64::from(self.width()) };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        let residual = if self.residual.is_null() { 0 } else { out };
        2 * n * k + bias + rows * (k * 2 + out + residual)
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * u64::from(self.k)
    }
}
