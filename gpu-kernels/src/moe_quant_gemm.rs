//! `moe_quant_gemm`: the product of `moe_gemm` with experts of 8- or 4-bit codes, which are widened in registers.
//!
//! # Formula
//! As `moe_gemm`'s, where `w[e, n, k]` is what docs/formats.md makes of the codes and scales of `format`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]`, or `[rows · top_k, k]` | act | row-major |
//! | `w` | `[experts, n, k]` | packed | rows as docs/formats.md has them |
//! | `scales` | `[experts, n, Format::scales(k)]`, or null where that is 0 | f32 | row-major |
//! | `order` | `[rows · top_k]` | i32 | choices by expert: `moe_sort` |
//! | `tiles` | `[max_tiles, 4]` | i32 | expert, first place in `order`, places: `moe_sort` |
//! | `y` | `[rows · top_k, n]` | act | row-major, written |
//!
//! # Launch
//! A block multiplies 128 rows of an expert's weight with 64 choices of a tile at a time, as `quant_gemm` does with token
//! rows: by the same rings, with the same lanes. It takes the choices of the tile one part after the other, so that codes
//! come out of the L2 cache but for the first, and then every so many of the rows of all tiles. Two blocks stay on each
//! multiprocessor, or one where registers allow no more. An entry for each format of `quant_gemm`: `_wgmma` on compute
//! capability 9.0, others elsewhere.
//!
//! There, where experts have fewer than 17 choices on average, 32 are multiplied at a time, by the entries `_few`. Where
//! experts have at least 64 choices on average, codes are widened once for 128 of them, by the entries `_wide`: one block
//! stays on each multiprocessor, of three warpgroups for 192 rows of the weight, or of two for 128 where sums of groups stand
//! beside sums of all. A part has products of 64, 96 or 128 columns, as many as its choices need. A step is 64 columns of the
//! weight; while its products are under way the next step's codes become operands, behind the barrier that says that those
//! have landed. So a stage of tokens is free two steps later, one of codes as soon as they are widened. The last warpgroup
//! asks for codes, the others for tokens. A warp has 210 instructions for a step of FP8, of which 80 widen 16 rows of 64
//! codes; `_wgmma` has 540 for two of them and 64 choices. `ptxas` for sm_90a spills nothing and gives a thread at most 168
//! registers, or 255 with two warpgroups; shared memory is 176 to 209 KB.
//!
//! # Requires
//! At least 1 choice, and less than 2³¹ times 128 rows of all tiles; `k` divisible by 8, `n` by 16; a format that `quant_gemm` takes;
//! fewer than 2³² rows of all experts; no code or scale is NaN; `x` and `w` 16-byte aligned; `y` overlaps nothing that is read.
//!
//! # Moves
//! The bytes of codes and scales of each expert that is met, and `rows · top_k · (k · act + n · act)`; which are met is counted as
//! for `moe_gemv`.
//!
//! # Numerics
//! As `quant_gemm`'s, in the same order whatever else is in the tile and however many choices there are: c = 16, d = 4.
use crate::format::Format;
use crate::kernel::{kernel_args, require};
use crate::moe_gemv::met;
use crate::moe_sort::max_tiles;
use crate::quant_gemm::{RESIDENT, Rings};
use crate::skinny_gemm::TILE;
use crate::{Act, DeviceInfo, Kernel, Launch, MoeGemm, Packed, Ptr, StepShape};

#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod parts;
#[cfg(target_arch = "nvptx64")]
mod ring;
#[cfg(target_arch = "nvptx64")]
mod wide;

/// Choices that are multiplied together, where experts have many.
const MOST_WIDE: u32 = 128;
/// Choices of an expert, on average, that are many.
const MANY: u32 = 64;
/// Choices of an expert, on average, of which 32 at a time are too few.
const SOME: u32 = 17;

kernel_args! {
    /// Arguments of `moe_quant_gemm`.
    pub struct MoeQuantGemm {
        /// `[rows, k]`, or with `row_per_choice` `[rows · top_k, k]`.
        pub x: Ptr<Act>,
        /// `[experts, n, k]`, the codes.
        pub w: Ptr<Packed>,
        /// `[experts, n, Format::scales(k)]`, or null where the format has none beside the codes.
        pub scales: Ptr<f32>,
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
        /// Rows of an expert's weight.
        pub n: u32,
        /// Columns of an expert's weight.
        pub k: u32,
        /// [`Format::kind`] of the weight.
        pub format: u32,
        /// [`Format::group`] of the weight.
        pub group: u32,
        /// [`Format::row_bytes`] of the weight.
        pub row_bytes: u32,
        /// [`Format::code_bytes`] of the weight.
        pub code_bytes: u32,
        /// `PLAIN` or `RELU2`.
        pub activation: u32,
        /// Whether `x` has a row for each choice instead of each token: 0 or 1.
        pub row_per_choice: u32,
    }
}

impl MoeQuantGemm {
    /// The product of `moe_gemm` with a weight of these codes and scales in `format`.
    pub const fn new(around: MoeGemm, (w, scales): (Ptr<Packed>, Ptr<f32>), format: Format) -> MoeQuantGemm {
        let MoeGemm { x, order, tiles, y, rows, top_k, experts, n, k, activation, row_per_choice, .. } = around;
        let (row_bytes, code_bytes) = (format.row_bytes(k as u64) as u32, format.code_bytes(k as u64) as u32);
        let (format, group) = (format.kind(), format.group());
        MoeQuantGemm {
            x,
            w,
            scales,
            order,
            tiles,
            y,
            rows,
            top_k,
            experts,
            n,
            k,
            format,
            group,
            row_bytes,
            code_bytes,
            activation,
            row_per_choice,
        }
    }

    /// All that is not about the weight.
    pub const fn around(&self) -> MoeGemm {
        let MoeQuantGemm { x, order, tiles, y, rows, top_k, experts, n, k, activation, row_per_choice, .. } = *self;
        let (w, first, held) = (Ptr::NULL, 0, experts);
        MoeGemm { x, w, order, tiles, y, rows, top_k, experts, first, held, n, k, activation, row_per_choice }
    }

    /// At least how many times `rows` rows all tiles have.
    fn most_items(&self, rows: u32) -> u64 {
        u64::from(max_tiles(self.rows * self.top_k, self.experts)) * u64::from(self.n.div_ceil(rows))
    }

    /// Whether experts have so many choices or more, on average.
    const fn have(&self, choices: u32) -> bool {
        self.rows as u64 * self.top_k as u64 >= choices as u64 * self.experts as u64
    }
}

impl Kernel for MoeQuantGemm {
    const NAME: &'static str = "moe_quant_gemm";

    fn check(&self) -> Result<(), &'static str> {
        self.around().check()?;
        let (format, k) = (Format::of(self.format, self.group), u64::from(self.k));
        let beside = format.map(|format| format.scales(k));
        let bytes = format.map(|format| [format.row_bytes(k), format.code_bytes(k)]);
        require! {
            self.most_items(TILE) < 1 << 31 => "less than 2^31 times 128 rows of all tiles",
            u64::from(self.n) * u64::from(self.experts) < 1 << 32 => "fewer than 2^32 rows of all experts",
            Rings::of(self.format, self.group).is_some() => "a packed format with groups of a power of two, 64 at least",
            beside.is_none_or(|scales| (scales == 0) == self.scales.is_null()) => "scales where the format has them",
            bytes.is_none_or(|bytes| bytes == [self.row_bytes, self.code_bytes].map(u64::from)) => "the bytes of the format's rows",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let Some(rings) = Rings::of(self.format, self.group) else { return Launch::linear(Self::NAME, 0, 0) };
        let (symbol, shared_bytes, [rows, resident]) = if device.has_wgmma() && self.have(MANY) {
            let (symbol, rows, bytes) = rings.of_many(MOST_WIDE);
            (symbol, bytes, [rows, 1])
        } else {
            let (symbol, bytes) = rings.of_experts(self.have(SOME), device);
            (symbol, bytes, [TILE, RESIDENT])
        };
        let blocks = u64::from(resident * device.multiprocessors).min(self.most_items(rows)) as u32;
        Launch { shared_bytes, overlaps: true, ..Launch::linear(symbol, blocks, rows * 2) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (n, k, choices) = (u64::from(self.n), u64::from(self.k), u64::from(self.rows) * u64::from(self.top_k));
        let expert = Format::of(self.format, self.group).map_or(0, |format| format.bytes(n, k));
        let weights = met(shape, self.rows, self.top_k, self.experts) * expert as f64;
        weights as u64 + choices * 2 * (n + k)
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        self.around().flops(shape)
    }
}
