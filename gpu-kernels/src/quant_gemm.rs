//! `quant_gemm`: the product of `skinny_gemm` with a weight of 8- or 4-bit codes, for 9 to 64 token rows; bound by the bytes of
//! the codes.
//!
//! # Formula
//! As `skinny_gemm`'s, where `w[n, k]` is what docs/formats.md makes of the codes and scales of `format`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `w` | `[n, k]` | packed | rows as docs/formats.md has them |
//! | `scales` | `[n, Format::scales(k)]`, or null where that is 0 | f32 | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as `y`, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//! | `partial` | `[partials()]`, or null | f32 | as `skinny_gemm`'s; written |
//!
//! # Launch
//! A block multiplies a tile of 128 rows of the weight (with `swiglu` 64 gates and the 64 rows beside them) with all token
//! rows. Codes, the scales behind them, and tokens pass through rings in shared memory; the first codes are on their way
//! before the kernel in front has ended. A lane widens its codes in registers, by arithmetic on their bits, to what the
//! tensor core takes as its first operand: in the order of the columns, so that tokens stay as they are. Warpgroups widen the
//! next 64 columns (of INT4 with more than 32 token rows, or in groups of 32, 32) while the products of those before are
//! under way, as far as registers are left: not where sums of groups stand beside sums of all for more than 32 token rows.
//! With `partial`, up to 8 blocks share the columns of a tile, and `skinny_join` adds their sums; without, they are a cluster
//! where they can, as in `skinny_gemm`. A multiprocessor has room for two blocks (codes in groups with more than 32 rows,
//! without warpgroups, for one), of which one widens while the other multiplies; where there are more tiles, blocks take them
//! by turns. There is an entry for 32 and for 64 token rows of each format, of codes of 8 bits with and without groups, and
//! of INT4 in groups of 64 and of 32: `_wgmma` on compute capability 9.0, others elsewhere. `ptxas` 13.0 spills nothing.
//!
//! # Requires
//! 1 to 64 rows; `k` and `n` divisible by 8, `n` with `swiglu` by 16; a packed format, whose scales beside the codes are for whole
//! rows, or for groups of a power of two of columns, 64 at least; no code or scale is NaN; `x` and `w` 16-byte aligned; exactly
//! one of `y`, `y_f32` and `partial`; activation and `residual` with `y`, one of them at most, or the activation with `partial`,
//! which has neither bias nor residual; `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! The bytes of codes and scales, `rows·(k·act + n·out)`, and `2·n` where there is a bias; sums of splits, which stay in the L2 cache, are not counted.
//!
//! # Numerics
//! Codes widen as in `quant_gemv`. The tensor core sums products in f32, 16 at once, along the columns of a block; scales of groups
//! multiply the f32 sums of the columns that share them, of a row all of a block. Which columns those are depends on `n`, `k`, the
//! format and the activation alone, so a row's sums are the same in any company of 9 to 64 rows. The bias is added to the f32 sum.
//! c = 16, d = 4: what an activation takes or gives is rounded, and may be the neighbour of what it is to be; without one d counts
//! for nothing.
use core::ops::Range;

use crate::activation::SWIGLU;
use crate::all_reduce::meeting::Outbox;
use crate::format::{BLOCK, FP8, Format, INT4, INT4_ZEROS, INT8, NVFP4};
use crate::kernel::{kernel_args, require};
use crate::skinny_gemm::{DEPTH, MOST_SPLITS, SUMS, THREADS, TILE, WARPS, in_clusters, partial_index, shares, sums};
use crate::{Act, DeviceInfo, Kernel, Launch, Packed, Ptr, SkinnyGemm, SkinnyJoin, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
pub(crate) mod bits;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod multiply;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod ring;

/// Bytes of a row's codes in a stage.
pub(crate) const CODE_BYTES: u32 = 128;
/// Most blocks that share tiles out, two to a multiprocessor of Hopper; and as many as leave places free, so that clusters find room.
const FILL: [u32; 2] = [256, 200];
/// Columns that a block may have more, so that they find room.
const MORE: u32 = 256;
/// Blocks that a multiprocessor has room for.
pub(crate) const RESIDENT: u32 = 2;

/// An entry: its stages of codes and of tokens, and the columns of the latter.
struct Entry {
    symbol: &'static str,
    codes: u32,
    tokens: u32,
    columns: u32,
}

/// The entries of a format for up to so many token rows.
struct Variant {
    rows: u32,
    /// With warpgroups, and without.
    entries: [Entry; 2],
    /// As with warpgroups, with splits that are clusters.
    clustered: &'static str,
}

/// What differs from format to format.
pub(crate) struct Rings {
    /// Columns of a stage of codes.
    columns: u32,
    /// Bytes of a row's scales in it.
    scales: u32,
    variants: [Variant; 2],
    /// The entries of `moe_quant_gemm`, with the rings of the second variant's, and that for few choices, with those of the first.
    experts: [&'static str; 3],
    /// Its entry for experts of many choices, the weight's rows in a tile, and stages of codes and of tokens.
    many: (&'static str, [u32; 3]),
}

/// The entries of a format.
macro_rules! variants {
    ($format:literal, $many:expr, $($rows:literal $wgmma:tt $warps:tt;)*) => {(
        [$(Variant {
            rows: $rows,
            entries: [
                variants!(concat!("quant_gemm_wgmma_", $format, "_", $rows), $wgmma),
                variants!(concat!("quant_gemm_", $format, "_", $rows), $warps),
            ],
            clustered: concat!("quant_gemm_cluster_", $format, "_", $rows),
        }),*],
        [
            concat!("moe_quant_gemm_wgmma_", $format),
            concat!("moe_quant_gemm_", $format),
            concat!("moe_quant_gemm_few_", $format),
        ],
        (concat!("moe_quant_gemm_wide_", $format), $many),
    )};
    ($symbol:expr, [$codes:literal $tokens:literal $columns:literal]) => {
        Entry { symbol: $symbol, codes: $codes, tokens: $tokens, columns: $columns }
    };
}

impl Rings {
    /// Of a format's number and group; none for formats that are not streamed.
    pub(crate) const fn of(kind: u32, group: u32) -> Option<Rings> {
        let (columns, scales, (variants, experts, many)) = match (kind, group) {
            (FP8 | INT8, 1..) if group < 64 || !group.is_power_of_two() => return None,
            (FP8, 0) => (BLOCK / 2, 0, variants!("fp8", [192, 4, 7], 32 [4 4 128] [3 3 128]; 64 [4 3 128] [3 3 128];)),
            (FP8, _) => {
                (BLOCK / 2, 0, variants!("fp8_grouped", [128, 4, 7], 32 [4 4 128] [3 3 128]; 64 [4 3 128] [3 3 128];))
            }
            (INT8, 0) => {
                (BLOCK / 2, 0, variants!("int8", [192, 4, 7], 32 [4 4 128] [3 3 128]; 64 [4 3 128] [3 3 128];))
            }
            (INT8, _) => {
                (BLOCK / 2, 0, variants!("int8_grouped", [128, 4, 7], 32 [4 4 128] [3 3 128]; 64 [4 3 128] [3 3 128];))
            }
            (INT4 | INT4_ZEROS, 64) => {
                (BLOCK, 16, variants!("int4", [128, 3, 8], 32 [3 3 256] [2 3 128]; 64 [3 3 128] [2 3 128];))
            }
            (INT4 | INT4_ZEROS, 32) => {
                (BLOCK, 32, variants!("int4_fine", [128, 3, 8], 32 [3 3 256] [2 3 128]; 64 [3 3 128] [2 3 128];))
            }
            (NVFP4, _) => (BLOCK, 16, variants!("nvfp4", [192, 3, 8], 32 [3 3 256] [2 3 128]; 64 [3 3 128] [2 3 128];)),
            _ => return None,
        };
        Some(Rings { columns, scales, variants, experts, many })
    }

    /// Shared memory of the variant's entry on a device.
    fn bytes(&self, variant: &Variant, device: &DeviceInfo) -> u32 {
        let entry = &variant.entries[usize::from(!device.has_wgmma())];
        entry.codes * TILE * (CODE_BYTES + self.scales) + entry.tokens * variant.rows * entry.columns * 2
    }

    /// The entry of `moe_quant_gemm` on a device, for `some` choices of an expert or for few, and its shared memory.
    pub(crate) fn of_experts(&self, some: bool, device: &DeviceInfo) -> (&'static str, u32) {
        let [wgmma, plain, few] = self.experts;
        match (device.has_wgmma(), some) {
            (true, false) => (few, self.bytes(&self.variants[0], device)),
            (true, true) => (wgmma, self.bytes(&self.variants[1], device)),
            (false, _) => (plain, self.bytes(&self.variants[1], device)),
        }
    }

    /// The entry of `moe_quant_gemm` for parts of `most` choices, the weight's rows in a tile, and its shared memory.
    pub(crate) fn of_many(&self, most: u32) -> (&'static str, u32, u32) {
        let (symbol, [rows, codes, tokens]) = self.many;
        (symbol, rows, codes * rows * (CODE_BYTES + self.scales) + tokens * most * DEPTH * 2)
    }
}

kernel_args! {
    /// Arguments of `quant_gemm`.
    pub struct QuantGemm {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[n, k]`, the codes.
        pub w: Ptr<Packed>,
        /// `[n, Format::scales(k)]`, or null where the format has none beside the codes.
        pub scales: Ptr<f32>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// As `y`, or null.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, with `SWIGLU` `[rows, n/2]`, or null; written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
        /// [`QuantGemm::partials`] sums or null, written: what [`SkinnyJoin`] adds.
        pub partial: Ptr<f32>,
        /// Token rows.
        pub rows: u32,
        /// Rows of the weight.
        pub n: u32,
        /// Columns of the weight.
        pub k: u32,
        /// [`Format::kind`] of the weight.
        pub format: u32,
        /// [`Format::group`] of the weight.
        pub group: u32,
        /// [`Format::row_bytes`] of the weight.
        pub row_bytes: u32,
        /// [`Format::code_bytes`] of the weight.
        pub code_bytes: u32,
        /// `PLAIN`, `RELU2` or `SWIGLU`.
        pub activation: u32,
    }
}

impl QuantGemm {
    /// The product of `skinny_gemm` with a weight of these codes and scales in `format`.
    pub const fn of(around: SkinnyGemm, (w, scales): (Ptr<Packed>, Ptr<f32>), format: Format) -> QuantGemm {
        let SkinnyGemm { x, bias, residual, y, y_f32, partial, rows, n, k, activation, .. } = around;
        let (row_bytes, code_bytes) = (format.row_bytes(k as u64) as u32, format.code_bytes(k as u64) as u32);
        let (format, group) = (format.kind(), format.group());
        QuantGemm {
            x,
            w,
            scales,
            bias,
            residual,
            y,
            y_f32,
            partial,
            rows,
            n,
            k,
            format,
            group,
            row_bytes,
            code_bytes,
            activation,
        }
    }

    /// Whether the kernel multiplies with weights of that format.
    pub const fn takes(format: Format) -> bool {
        Rings::of(format.kind(), format.group()).is_some()
    }

    /// All that is not about the weight.
    pub fn around(&self) -> SkinnyGemm {
        let QuantGemm { x, bias, residual, y, y_f32, partial, rows, n, k, activation, .. } = *self;
        let plain = SkinnyGemm::new(x, Ptr::NULL, [rows, n, k]);
        SkinnyGemm { bias, residual, y, y_f32, partial, activation, height: WARPS, ..plain }
    }

    /// Tiles of the weight.
    pub const fn tiles(&self) -> u32 {
        self.width().div_ceil(if self.activation == SWIGLU { TILE / 2 } else { TILE })
    }

    /// Columns of the output.
    pub(crate) const fn width(&self) -> u32 {
        if self.activation == SWIGLU { self.n / 2 } else { self.n }
    }

    /// Columns that one block has at least: a stage of codes.
    fn unit(&self) -> u32 {
        Rings::of(self.format, self.group).map_or(BLOCK, |rings| rings.columns)
    }

    /// Blocks that share the columns of a tile; it does not depend on `rows` or on the device.
    pub fn splits(&self) -> u32 {
        let units = self.k.div_ceil(self.unit());
        let most = units.div_ceil(2).min(MOST_SPLITS);
        shares::of_codes([self.tiles(), units], FILL, [most, MORE / self.unit()])
    }

    /// The columns that the blocks number `split` multiply: whole stages of codes.
    pub fn columns(&self, split: u32) -> Range<u32> {
        let (units, splits) = (self.k.div_ceil(self.unit()), self.splits());
        let end = units * (split + 1) / splits * self.unit();
        units * split / splits * self.unit()..if end < self.k { end } else { self.k }
    }

    /// The product's launches, as [`SkinnyGemm::launches`].
    pub fn launches(self, partial: Ptr<f32>) -> (QuantGemm, Option<SkinnyJoin>) {
        let QuantGemm { bias, residual, y, y_f32, rows, n, activation, .. } = self;
        let splits = self.splits();
        if splits == 1 || partial.is_null() {
            return (self, None);
        }
        let (no_bias, no_act, no_f32) = (Ptr::NULL, Ptr::NULL, Ptr::NULL);
        let sums = QuantGemm { bias: no_bias, residual: no_act, y: no_act, y_f32: no_f32, partial, ..self };
        let outbox = Outbox::NONE;
        (sums, Some(SkinnyJoin { partial, bias, residual, y, y_f32, outbox, rows, n, splits, activation }))
    }

    /// Whether the blocks that share the columns of a tile are a cluster on a device.
    fn is_clustered(&self, device: &DeviceInfo) -> bool {
        self.partial.is_null() && shares::are_clusters(device, [self.tiles(), self.splits()], RESIDENT)
    }

    /// As [`SkinnyGemm::with_join`].
    pub fn with_join(&self, join: &SkinnyJoin, device: &DeviceInfo) -> Option<QuantGemm> {
        let SkinnyJoin { bias, residual, y, y_f32, .. } = *join;
        let joined = QuantGemm { bias, residual, y, y_f32, partial: Ptr::NULL, ..*self };
        let adds = join.adds(self.partial, [self.rows, self.n, self.splits(), self.activation]);
        (adds && joined.is_clustered(device)).then_some(joined)
    }

    /// Elements of `partial`.
    pub fn partials(&self) -> usize {
        let [sixteens, eights] = sums(self.n, self.rows);
        (self.splits() * sixteens * eights) as usize * SUMS
    }

    /// As [`SkinnyGemm::partial_index`].
    pub fn partial_index(&self, split: u32, row: u32, token: u32) -> usize {
        partial_index(sums(self.n, self.rows), [self.n, self.activation], [split, row, token])
    }
}

impl Kernel for QuantGemm {
    const NAME: &'static str = "quant_gemm";

    fn check(&self) -> Result<(), &'static str> {
        self.around().check()?;
        let (format, k) = (Format::of(self.format, self.group), u64::from(self.k));
        let beside = format.map(|format| format.scales(k));
        let bytes = format.map(|format| [format.row_bytes(k), format.code_bytes(k)]);
        require! {
            Rings::of(self.format, self.group).is_some() => "a packed format with groups of a power of two, 64 at least",
            beside.is_none_or(|scales| (scales == 0) == self.scales.is_null()) => "scales where the format has them",
            bytes.is_none_or(|bytes| bytes == [self.row_bytes, self.code_bytes].map(u64::from)) => "the bytes of the format's rows",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let Some(rings) = Rings::of(self.format, self.group) else { return Launch::linear(Self::NAME, 0, 0) };
        let variant = &rings.variants[usize::from(self.rows > rings.variants[0].rows)];
        let entry = &variant.entries[usize::from(!device.has_wgmma())];
        let shared_bytes = rings.bytes(variant, device);
        // All blocks have as many tiles, or one less.
        let turns = self.tiles().div_ceil(RESIDENT * device.multiprocessors);
        let splits = if self.partial.is_null() { 1 } else { self.splits() };
        let grid = [self.tiles().div_ceil(turns), splits, 1];
        let apart = Launch { grid, shared_bytes, overlaps: true, ..Launch::linear(entry.symbol, 1, THREADS) };
        if self.is_clustered(device) {
            in_clusters(apart, variant.clustered, [self.tiles(), self.splits()])
        } else {
            apart
        }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, n, k) = (u64::from(self.rows), u64::from(self.n), u64::from(self.k));
        let weight = Format::of(self.format, self.group).map_or(0, |format| format.bytes(n, k));
        let width = u64::from(self.width());
        let out = match (self.y.is_null(), self.partial.is_null()) {
            (false, _) => 2 * rows * width,
            (_, true) => 4 * rows * n,
            // Sums of splits are no work of the product's: they stay in the L2 cache, or a cluster has none.
            _ => 0,
        };
        let bias = if self.bias.is_null() { 0 } else { 2 * n };
        let residual = if self.residual.is_null() { 0 } else { out };
        weight + bias + rows * k * 2 + out + residual
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        self.around().flops(shape)
    }
}
