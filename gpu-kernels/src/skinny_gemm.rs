//! `skinny_gemm`: a product with a large weight for 9 to 64 token rows, bound by the weight's bytes; activation and residual add
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
//! | `partial` | `[partials()]`, or null | f32 | a warp's sums side by side: `partial_index`; written |
//!
//! # Launch
//! A block multiplies a tile of up to 128 rows of the weight, 16 to a warp (with `swiglu` eight gates and the eight rows beside them),
//! with all token rows. Tiles are so high that few multiprocessors of an H200 are idle.
//! Weights and tokens pass through a ring of each in shared memory; the first weights are on their way before the kernel in front
//! has ended, unless weights are what that kernel makes; the last of them are asked for when the first have landed, since tokens come
//! behind all that is asked for. With `partial`, where there are few tiles, up to 8 blocks share the
//! columns of one, and `skinny_join` adds their sums. Where there are more tiles than multiprocessors, blocks take them by turns.
//! Without `partial`, on compute capability 9.0, the blocks that share the columns of a tile are a cluster, if the chip runs all of
//! them at once: behind its last product each sends the others, by `st.async` into their rings, the sums that they add, a warp's for
//! 16 rows of the weight and eight token rows at a time, and adds and stores its own, to the bits of `skinny_join` (entries
//! `_cluster`). A plan has both launches, and device/cuda/joins.rs makes one of them ([`SkinnyGemm::with_join`]). Elsewhere a block
//! has all columns then.
//! There is an entry for each of 16, 32 and 64 token rows: `_wgmma` on compute capability 9.0, where the weight's rows are the
//! first operand of two warpgroups, 128 columns at a time; others elsewhere, with 16 rows of the weight to a warp, 64 columns at
//! a time.
//!
//! # Requires
//! 1 to 64 rows; `k` divisible by 8, `n` by 8, with `swiglu` by 16; `x` and `w` 16-byte aligned; exactly one of `y`, `y_f32` and
//! `partial`; activation and `residual` with `y`, one of them at most, or the activation with `partial`, which has neither bias nor
//! residual; `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! `2·n·k + rows·(k·act + n·out)` bytes, and `2·n` where there is a bias; sums of splits, which stay in the L2 cache, are not counted. On an H100, `skinny_join`
//! included and with tiles of 128 rows, one after the other in a graph, µs with 16, 32 and 64 rows: 5120×3072 13.0, 14.0, 16.0; 3072×3072 9.1, 10.0, 12.3;
//! 9216×3072 24.0, 24.3, 25.5; 3072×9216 22.6, 23.9, 27.0; 28672×4096 with `swiglu` 81.6, 83.2, 84.1. `ptxas` for sm_90a: at most
//! 128 registers, none spilled, and 216, 200 and 224 KB of shared memory.
//!
//! # Numerics
//! The tensor core sums products in f32, 16 at once, along the columns of a block. Which columns those are depends on `n` and `k`
//! alone, so a row's sums are the same in any company of 9 to 64 rows. The bias is added to the f32 sum. c = 16,
//! d = 4: what an activation takes or gives is rounded, and may be the neighbour of what it is to be; without one d counts for
//! nothing.
use core::ops::Range;

use crate::activation::{PLAIN, SWIGLU};
use crate::all_reduce::meeting::Outbox;
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, SkinnyJoin, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
pub(crate) mod cluster;
#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod multiply;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod ring;
pub(crate) mod shares;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod store;

/// Most token rows.
pub const MAX_ROWS: u32 = 64;
/// Most rows of the weight in a tile.
pub(crate) const TILE: u32 = 128;
/// Columns of weight and tokens in a stage.
pub(crate) const DEPTH: u32 = 64;
/// Bytes of a row in a stage.
pub(crate) const ROW_BYTES: u32 = DEPTH * 2;
/// Two warpgroups: the first copies weights, the second tokens, and each multiplies with 64 of its rows.
pub(crate) const THREADS: u32 = 256;
/// Its warps, each with 16 rows of a tile, if it has so many.
pub(crate) const WARPS: u32 = THREADS / 32;
/// Most blocks that share the columns of a tile.
pub(crate) const MOST_SPLITS: u32 = 8;
/// Shared bytes behind the rings where splits are a cluster.
pub(crate) const MAILBOX_BYTES: u32 = 8;

/// An entry: 64-column matrices in a stage, stages of weights and of tokens.
struct Entry {
    symbol: &'static str,
    parts: u32,
    weights: u32,
    tokens: u32,
}

/// The entries for up to so many token rows, with warpgroups and without; the former's where splits are clusters.
struct Variant {
    rows: u32,
    warpgroups: Entry,
    clustered: &'static str,
    warps: Entry,
}

/// By token rows. With warpgroups a block takes nearly all shared memory of a multiprocessor; the others run on every GPU.
const VARIANTS: [Variant; 3] = [
    Variant {
        rows: 16,
        warpgroups: Entry { symbol: "skinny_gemm_wgmma_16", parts: 2, weights: 6, tokens: 6 },
        clustered: "skinny_gemm_cluster_16",
        warps: Entry { symbol: "skinny_gemm_16", parts: 1, weights: 4, tokens: 4 },
    },
    Variant {
        rows: 32,
        warpgroups: Entry { symbol: "skinny_gemm_wgmma_32", parts: 2, weights: 5, tokens: 5 },
        clustered: "skinny_gemm_cluster_32",
        warps: Entry { symbol: "skinny_gemm_32", parts: 1, weights: 4, tokens: 4 },
    },
    Variant {
        rows: 64,
        warpgroups: Entry { symbol: "skinny_gemm_wgmma_64", parts: 2, weights: 5, tokens: 4 },
        clustered: "skinny_gemm_cluster_64",
        warps: Entry { symbol: "skinny_gemm_64", parts: 1, weights: 4, tokens: 3 },
    },
];

/// A launch of blocks whose splits stand apart, with entry `symbol` for `splits` of each of the tiles in clusters.
pub(crate) fn in_clusters(apart: Launch, symbol: &'static str, [tiles, splits]: [u32; 2]) -> Launch {
    let shared_bytes = apart.shared_bytes + MAILBOX_BYTES;
    Launch { symbol, grid: [splits, tiles, 1], shared_bytes, cluster: splits, ..apart }
}

/// Sixteens of the weight's rows.
pub(crate) const fn sixteens(n: u32) -> u32 {
    n.div_ceil(16)
}

/// Sixteens of the weight's rows, and eights of the token rows that are multiplied for `rows` of them: a warp's sums of one and of the
/// other are what a warp of `skinny_join` adds.
pub(crate) const fn sums(n: u32, rows: u32) -> [u32; 2] {
    [
        sixteens(n),
        if rows <= 16 {
            2
        } else if rows <= 32 {
            4
        } else {
            8
        },
    ]
}

/// Sums of a warp for 16 rows of the weight and eight token rows.
pub(crate) const SUMS: usize = 128;

/// As [`SkinnyGemm::partial_index`], by how many sixteens and eights there are, and `n` and activation of the product.
pub(crate) fn partial_index(
    [sixteens, eights]: [u32; 2],
    [n, activation]: [u32; 2],
    [split, row, token]: [u32; 3],
) -> usize {
    // With gates, eight and what stands beside them make sixteen.
    let half = n / 2;
    let row = match activation {
        SWIGLU if row < half => row / 8 * 16 + row % 8,
        SWIGLU => (row - half) / 8 * 16 + 8 + row % 8,
        _ => row,
    };
    let place = ((split * sixteens + row / 16) * eights + token / 8) as usize;
    let lane = row % 8 * 4 + token % 8 / 2;
    place * SUMS + (lane * 4 + row / 8 % 2 * 2 + token % 2) as usize
}

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
        /// [`SkinnyGemm::partials`] sums or null, written: what [`crate::SkinnyJoin`] adds.
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
        /// Rows of the weight in a tile, in sixteens: 1 to 8 warps of a block have one each. The outputs do not depend on it.
        pub height: u32,
    }
}

impl SkinnyGemm {
    /// `x · wᵀ` of `[rows, n, k]` alone: the caller says where it goes, and what stands behind.
    pub fn new(x: Ptr<Act>, w: Ptr<Weight>, [rows, n, k]: [u32; 3]) -> SkinnyGemm {
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
            height: shares::of_bf16([n, k])[0],
        }
    }

    /// Columns of the output.
    pub(crate) const fn width(&self) -> u32 {
        if self.activation == SWIGLU { self.n / 2 } else { self.n }
    }

    /// Tiles of the weight.
    pub const fn tiles(&self) -> u32 {
        sixteens(self.n).div_ceil(self.height)
    }

    /// Blocks that share the columns of a tile; it does not depend on `rows` or on the device.
    pub fn splits(&self) -> u32 {
        shares::of_bf16([self.n, self.k])[1]
    }

    /// The product's launches: itself, or where blocks share the columns of a tile and there is `partial` for their sums, that and
    /// what adds them.
    pub fn launches(self, partial: Ptr<f32>) -> (SkinnyGemm, Option<SkinnyJoin>) {
        let SkinnyGemm { bias, residual, y, y_f32, rows, n, activation, .. } = self;
        let splits = self.splits();
        if splits == 1 || partial.is_null() {
            return (self, None);
        }
        let (no_bias, no_act, no_f32) = (Ptr::NULL, Ptr::NULL, Ptr::NULL);
        let sums = SkinnyGemm { bias: no_bias, residual: no_act, y: no_act, y_f32: no_f32, partial, ..self };
        let outbox = Outbox::NONE;
        (sums, Some(SkinnyJoin { partial, bias, residual, y, y_f32, outbox, rows, n, splits, activation }))
    }

    /// Whether the blocks that share the columns of a tile are a cluster on a device.
    fn is_clustered(&self, device: &DeviceInfo) -> bool {
        self.partial.is_null() && shares::are_clusters(device, [self.tiles(), self.splits()], 1)
    }

    /// The product with what `join` does with its sums, where the blocks whose sums those are can be clusters on a device.
    pub fn with_join(&self, join: &SkinnyJoin, device: &DeviceInfo) -> Option<SkinnyGemm> {
        let SkinnyJoin { bias, residual, y, y_f32, .. } = *join;
        let joined = SkinnyGemm { bias, residual, y, y_f32, partial: Ptr::NULL, ..*self };
        let adds = join.adds(self.partial, [self.rows, self.n, self.splits(), self.activation]);
        (adds && joined.is_clustered(device)).then_some(joined)
    }

    /// Elements of `partial`.
    pub fn partials(&self) -> usize {
        let [sixteens, eights] = sums(self.n, self.rows);
        (self.splits() * sixteens * eights) as usize * SUMS
    }

    /// Where in `partial` the sum of a split for a row of the weight and a token row stands. Behind the rows of the weight there
    /// may be sums of nothing.
    pub fn partial_index(&self, split: u32, row: u32, token: u32) -> usize {
        let sums = sums(self.n, self.rows);
        partial_index(sums, [self.n, self.activation], [split, row, token])
    }

    /// The columns that the blocks number `split` multiply: whole pairs of stages.
    pub fn columns(&self, split: u32) -> Range<u32> {
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
            self.rows > 0 && self.rows <= MAX_ROWS => "1 to 64 rows",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            self.n > 0 && self.n.is_multiple_of(8) => "n divisible by 8",
            self.activation <= SWIGLU => "a known activation",
            self.activation != SWIGLU || self.n.is_multiple_of(16) => "n divisible by 16 with gates",
            self.height > 0 && self.height <= WARPS => "tiles of 16 to 128 rows",
            outputs.iter().filter(|is_null| !**is_null).count() == 1 => "exactly one of y, y_f32 and partial",
            self.partial.is_null() || alone => "partial with neither bias nor residual",
            self.activation == PLAIN || (self.y_f32.is_null() && self.residual.is_null()) => "activations with neither y_f32 nor residual",
            self.y_f32.is_null() || self.residual.is_null() => "y_f32 without residual",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let variant = self.variant();
        let entry = if device.has_wgmma() { &variant.warpgroups } else { &variant.warps };
        let rows = entry.weights * TILE + entry.tokens * variant.rows;
        let shared_bytes = rows * entry.parts * ROW_BYTES;
        // All blocks have as many tiles, or one less.
        let turns = self.tiles().div_ceil(device.multiprocessors);
        let splits = if self.partial.is_null() { 1 } else { self.splits() };
        let grid = [self.tiles().div_ceil(turns), splits, 1];
        let apart = Launch { grid, shared_bytes, overlaps: self.made == 0, ..Launch::linear(entry.symbol, 1, THREADS) };
        if self.is_clustered(device) {
            in_clusters(apart, variant.clustered, [self.tiles(), self.splits()])
        } else {
            apart
        }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        let out = match (self.y.is_null(), self.partial.is_null()) {
            (false, _) => 2 * rows * u64::from(self.width()),
            (_, true) => 4 * rows * n,
            // Sums of splits are no work of the product's: they stay in the L2 cache, or a cluster has none.
            _ => 0,
        };
        let residual = if self.residual.is_null() { 0 } else { out };
        2 * n * k + bias + rows * k * 2 + out + residual
    }

    fn flops(&self, _: &StepShape) -> u64 {
        2 * u64::from(self.rows) * u64::from(self.n) * u64::from(self.k)
    }
}
