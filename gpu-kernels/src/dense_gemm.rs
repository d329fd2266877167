//! `dense_gemm`: a product with a large weight for many token rows, where there is no matrix library; the residual add behind it.
//!
//! # Formula
//! `s[t, n] = Σ_k x[t, k] · w[n, k] + bias[n]`. Then `y_f32 = s`, or `y = r(s)`, or with `residual` `y = r(residual + r(s))`. `r`
//! rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `w` | `[n, k]` | weight | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | `[rows, n]` or null | act | as `y`; may be `y` |
//! | `y` | `[rows, n]` or null | act | `stride` elements from one row to the next, written |
//! | `y_f32` | `[rows, n]` or null | f32 | likewise, written |
//!
//! # Launch
//! On compute capability 9.0 a block for each multiprocessor takes every so many of the chunks that the product is cut into: up
//! to 256 token rows times 128 rows of the weight, or of a last tile of up to 128 token rows those times 256, 64 columns at a
//! time through a ring of 4 stages in shared memory. Two warpgroups multiply, the weight's rows being `wgmma`'s. Neighbouring
//! blocks take chunks of the same 2048 token rows, so that what they read meets in the L2 cache.
//!
//! Elsewhere, and where such chunks leave half of the multiprocessors idle, a block has up to 64 token rows and 128 rows of the
//! weight: 8 warps of 32 × 32, and a ring of 3 stages.
//!
//! # Requires
//! At least 1 row, and less than 2³¹ chunks; `k` divisible by 8; `x` and `w` 16-byte aligned, and where `n` and `stride` are even
//! `y` and `residual` 4-byte aligned; exactly one of `y` and `y_f32`; `residual` with `y`; `y` overlaps nothing that is read but
//! `residual`.
//!
//! # Moves
//! `2·n·k + rows·(k·act + n·out)` bytes, `2·n` where there is a bias, and the residual.
//!
//! # Numerics
//! The tensor core sums products in f32, 16 at once, in the order of k, whatever else is in the tile. The bias is added to the f32
//! sum. c = 16, d = 4: what a residual is added to is rounded, and may be the neighbour of what it is to be; else d counts for nothing.
use crate::kernel::{kernel_args, require};
use crate::moe_sort::{NARROW, TILE, is_wide};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod product;
#[cfg(target_arch = "nvptx64")]
mod ring;
#[cfg(target_arch = "nvptx64")]
mod stages;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod warpgroups;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod warps;

/// Token rows and rows of the weight of a block of warps.
pub(crate) const TOKENS: u32 = 64;
pub(crate) const COLUMNS: u32 = 128;
/// Columns of weight and tokens in a stage.
pub(crate) const DEPTH: u32 = 64;
/// Stages of the warps' ring.
const STAGES: u32 = 3;
/// Warps of a block: 2 along the tokens, 4 along the weight's rows. Two warpgroups are as many.
pub(crate) const WARPS: u32 = 8;
/// Bytes of a stage: tokens, then weights.
const STAGE_BYTES: u32 = (TOKENS + COLUMNS) * DEPTH * 2;
/// Bytes of the warps' ring.
pub(crate) const WARPS_BYTES: u32 = STAGES * STAGE_BYTES;

/// Rows of weights and tokens in a stage of the warpgroups' ring, and its stages.
const RING_ROWS: u32 = TILE + NARROW;
const RING_STAGES: u32 = 4;
/// Bytes of the warpgroups' ring.
pub(crate) const RING_BYTES: u32 = RING_STAGES * RING_ROWS * DEPTH * 2;

kernel_args! {
    /// Arguments of `dense_gemm`.
    pub struct DenseGemm {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[n, k]`.
        pub w: Ptr<Weight>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// As `y`, or null.
        pub residual: Ptr<Act>,
        /// `[rows, n]` or null, written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// Token rows.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Columns of the weight.
        pub k: u32,
        /// Elements from one row of the result, and of the residual, to the next.
        pub stride: u32,
    }
}

impl DenseGemm {
    /// `x · wᵀ` of `[rows, n, k]` alone: the caller says where it goes.
    pub const fn new(x: Ptr<Act>, w: Ptr<Weight>, [rows, n, k]: [u32; 3]) -> DenseGemm {
        let (bias, residual, y, y_f32) = (Ptr::NULL, Ptr::NULL, Ptr::NULL, Ptr::NULL);
        DenseGemm { x, w, bias, residual, y, y_f32, rows, n, k, stride: n }
    }

    /// Tiles of more than [`NARROW`] token rows.
    const fn wide_tiles(&self) -> u32 {
        self.rows / TILE + is_wide(self.rows % TILE) as u32
    }

    /// Chunks of a narrow and of a wide tile.
    const fn chunks(&self) -> [u32; 2] {
        [self.n.div_ceil(TILE), self.n.div_ceil(NARROW)]
    }

    /// Chunks of all tiles.
    fn all_chunks(&self) -> u64 {
        let ([narrow, wide], tiles) = (self.chunks(), self.wide_tiles());
        let has_narrow = self.rows > tiles * TILE;
        u64::from(tiles) * u64::from(wide) + if has_narrow { u64::from(narrow) } else { 0 }
    }
}

impl Kernel for DenseGemm {
    const NAME: &'static str = "dense_gemm";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.n > 0 => "at least one row, of tokens and of the weight",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            self.n.div_ceil(COLUMNS) < 1 << 16 && self.all_chunks() < 1 << 31 => "n below 2^23 and fewer chunks than 2^31",
            self.stride >= self.n => "a stride that holds a row",
            self.y.is_null() != self.y_f32.is_null() => "exactly one of y and y_f32",
            self.residual.is_null() || self.y_f32.is_null() => "residual with y",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let chunks = self.all_chunks() as u32;
        if device.has_wgmma() && chunks >= device.multiprocessors / 2 {
            let blocks = chunks.min(device.multiprocessors);
            let launch = Launch::linear("dense_gemm_wgmma", blocks, WARPS * 32);
            return Launch { shared_bytes: RING_BYTES, overlaps: true, ..launch };
        }
        // Neighbouring blocks share weights.
        let grid = [self.rows.div_ceil(TOKENS), self.n.div_ceil(COLUMNS), 1];
        Launch { grid, shared_bytes: WARPS_BYTES, overlaps: true, ..Launch::linear(Self::NAME, 1, WARPS * 32) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let out = if self.y.is_null() { 4 } else { 2 };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        let residual = if self.residual.is_null() { 0 } else { 2 * rows * n };
        2 * n * k + bias + residual + rows * (2 * k + out * n)
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * u64::from(self.k)
    }
}
