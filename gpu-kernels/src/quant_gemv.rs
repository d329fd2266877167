//! `quant_gemv`: the product of `gemv` with a weight of 8- or 4-bit codes, for one to eight token rows; bound by the bytes of
//! the codes.
//!
//! # Formula
//! As `gemv`'s, where `w[n, k]` is what docs/formats.md makes of the codes and scales of `format`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x` | `[rows, k]` | act | row-major |
//! | `norm_weight` | `[k]` or null | weight | |
//! | `norm_bias` | `[k]` or null | weight | |
//! | `gate` | `[k]` or null | act | as `gemv`'s |
//! | `w` | `[n, k]` | packed | rows as docs/formats.md has them |
//! | `scales` | `[n, Format::scales(k)]`, or null where that is 0 | f32 | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as `y`, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//! | `outbox` | or none | | as `gemv`'s |
//!
//! # Launch
//! As `gemv`'s: tiles of 16 rows of the weight to a block, whose 8 warps share the columns: 128 at a time of 8 bits, 256 of
//! 4. Codes and the scales behind them pass through rings in shared memory, three steps deep. The first two are on their way
//! before the kernel in front has ended; with one token row the second one is asked for behind that, since the row comes
//! behind all that was asked for before it, and the steps of all tiles of a block are dealt out to its warps in turn. A lane
//! widens eight columns of two rows in registers, by arithmetic on their bits. One token row of at most 16 384 columns is
//! copied to shared memory first (`_row`), in the order in which codes are widened; `_rms_norm`, `_layer_norm_1p` and
//! `_gated_norm` take one, which every block normalises for itself.
//!
//! # Requires
//! 1 to 8 rows, with a norm 1 row of at most 8 192; `k` divisible by 8; `n` even with `swiglu`; a packed format, whose scales
//! beside the codes are for whole rows, or for groups of a power of two of columns, 32 at least; no code or scale is NaN;
//! `x`, `w`, `norm_weight`, `norm_bias` and `gate` 16-byte aligned; one of `y`, `y_f32` and `outbox`, the rest as `gemv`'s; `y`
//! overlaps nothing that is read but `residual`.
//!
//! # Moves
//! The bytes of codes and scales, `rows·(k·act + n·out)`, and `2·n` where there is a bias. `ptxas` for sm_90: 256 threads of at
//! most 128 registers; 48 KB of shared memory for 8 bits, 54 KB for 4 (60 KB in groups of 32), 8 KB of sums, and one token row:
//! two blocks to a multiprocessor. A warp's step of NVFP4 takes about 330 instructions for 2304 bytes, 192 of them
//! to widen. docs/performance.md says what bounds it.
//!
//! # Numerics
//! A code widens to bf16 exactly, an e2m1 with its e4m3 scale too, and a u4 less its zero point. The tensor core sums
//! products in f32, 16 at once; scales of groups multiply the f32 sums of the columns that share them, of a row those of a
//! warp, which are two where no group has a scale; the warps' sums are added in their order. No order depends on `rows`.
//! The bias is added to the f32 sum. c = 16, d = 4: what a norm or an activation takes or gives is rounded, and may be the
//! neighbour of what it is to be; without them d counts for nothing.
use crate::all_reduce::meeting::Outbox;
use crate::format::{FP8, Format, INT4, INT4_ZEROS, INT8, NVFP4};
use crate::gemv::{SYSTEM_BYTES, TILE, WARPS};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, GEMV_MAX_ROWS, Gemv, Kernel, Launch, Packed, Ptr, StepShape, Weight};

#[cfg(target_arch = "nvptx64")]
pub(crate) mod bits4;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod bits8;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod forms;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod ring;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod tokens;

/// 16-byte pieces of a row's codes in a step of a warp.
pub(crate) const PIECES: u32 = 8;
/// Steps of a warp that its ring holds.
pub(crate) const SLOTS: u32 = 3;
/// Most blocks to a multiprocessor. With three, a thread has 80 registers instead of 128, and the next product finds room for
/// none of its blocks before those of this one end.
pub(crate) const BLOCKS: u32 = 2;

/// Longest row that a product normalises on its way.
pub const MAX_NORMED: usize = 8_192;

/// Longest row that a block copies to shared memory as it is.
const MAX_STAGED: u32 = 16_384;

/// What a block has beside its rings and the normalised row: two tiles' sums, a norm's sums, the system's share.
const FIXED_BYTES: u32 = 2 * WARPS * TILE * GEMV_MAX_ROWS * 4 + 128 + SYSTEM_BYTES;

kernel_args! {
    /// Arguments of `quant_gemv`.
    pub struct QuantGemv {
        /// `[rows, k]`.
        pub x: Ptr<Act>,
        /// `[k]` or null.
        pub norm_weight: Ptr<Weight>,
        /// `[k]` or null.
        pub norm_bias: Ptr<Weight>,
        /// `[k]` or null.
        pub gate: Ptr<Act>,
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
        /// Where the results are sent without rounding, or [`Outbox::NONE`].
        pub outbox: Outbox,
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
        /// `PLAIN`, `RELU2` or `SWIGLU`.
        pub activation: u32,
        /// Of the norm.
        pub eps: f32,
        /// Of `rms_norm`: `rms_norm::ONCE` or `rms_norm::TWICE`.
        pub roundings: u32,
        /// Of `gated_norm`: groups of the row.
        pub norm_groups: u32,
        /// As in `gemv`: 0 or 1.
        pub holds_next: u32,
        /// As in `gemv`: 0 or 1.
        pub x_settled: u32,
    }
}

impl QuantGemv {
    /// `x · wᵀ` of `[rows, n, k]` alone: the caller says where it goes, and what stands in front of it and behind.
    pub const fn new(x: Ptr<Act>, codes: (Ptr<Packed>, Ptr<f32>), format: Format, shape: [u32; 3]) -> QuantGemv {
        QuantGemv::of(Gemv::new(x, Ptr::NULL, shape), codes, format)
    }

    /// The product of `gemv` with a weight of these codes and scales in `format`.
    pub const fn of(around: Gemv, (w, scales): (Ptr<Packed>, Ptr<f32>), format: Format) -> QuantGemv {
        let Gemv {
            x,
            norm_weight,
            norm_bias,
            gate,
            bias,
            residual,
            y,
            y_f32,
            outbox,
            rows,
            n,
            k,
            activation,
            eps,
            roundings,
            norm_groups,
            holds_next,
            x_settled,
            ..
        } = around;
        let (format, group) = (format.kind(), format.group());
        QuantGemv {
            x,
            norm_weight,
            norm_bias,
            gate,
            w,
            scales,
            bias,
            residual,
            y,
            y_f32,
            outbox,
            rows,
            n,
            k,
            format,
            group,
            activation,
            eps,
            roundings,
            norm_groups,
            holds_next,
            x_settled,
        }
    }

    /// As of [`Gemv::sending`].
    pub fn sending(self, part: (Ptr<f32>, [u32; 2]), outbox: Outbox) -> Option<QuantGemv> {
        let Gemv { y_f32, outbox, holds_next, .. } = self.around().sending(part, outbox)?;
        Some(QuantGemv { y_f32, outbox, holds_next, ..self })
    }

    /// Whether the kernel multiplies with weights of that format.
    pub const fn takes(format: Format) -> bool {
        Rings::of(format.kind(), format.group()).is_some()
    }

    /// All that is not about the weight.
    pub const fn around(&self) -> Gemv {
        Gemv {
            x: self.x,
            norm_weight: self.norm_weight,
            norm_bias: self.norm_bias,
            gate: self.gate,
            w: Ptr::NULL,
            bias: self.bias,
            residual: self.residual,
            y: self.y,
            y_f32: self.y_f32,
            outbox: self.outbox,
            rows: self.rows,
            n: self.n,
            k: self.k,
            activation: self.activation,
            eps: self.eps,
            roundings: self.roundings,
            norm_groups: self.norm_groups,
            made: 0,
            holds_next: self.holds_next,
            x_settled: self.x_settled,
        }
    }
}

/// The rings of a format.
pub(crate) struct Rings {
    /// The entries of several rows, of one row, and of one behind each norm in the order of `gemv`'s.
    symbols: [&'static str; 5],
    /// Those of `moe_quant_gemv`, of several rows and of one.
    pub(crate) expert_symbols: [&'static str; 2],
    /// Bytes of all rings of a block.
    pub(crate) bytes: u32,
    /// Columns of a step of all warps.
    pub(crate) columns: u32,
}

/// The entries of a format.
macro_rules! symbols {
    ($format:literal) => {
        (
            [
                concat!("quant_gemv_", $format),
                concat!("quant_gemv_", $format, "_row"),
                concat!("quant_gemv_", $format, "_rms_norm"),
                concat!("quant_gemv_", $format, "_layer_norm_1p"),
                concat!("quant_gemv_", $format, "_gated_norm"),
            ],
            [concat!("moe_quant_gemv_", $format), concat!("moe_quant_gemv_", $format, "_row")],
        )
    };
}

impl Rings {
    /// Of a format's number and group; none for formats that are not streamed.
    pub(crate) const fn of(kind: u32, group: u32) -> Option<Rings> {
        let ((symbols, expert_symbols), scales) = match (kind, group) {
            (FP8 | INT8, 1..) if group < 32 || !group.is_power_of_two() => return None,
            (FP8, _) => (symbols!("fp8"), 0),
            (INT8, _) => (symbols!("int8"), 0),
            (INT4 | INT4_ZEROS, 64) => (symbols!("int4"), 16),
            (INT4 | INT4_ZEROS, 32) => (symbols!("int4_32"), 32),
            (NVFP4, _) => (symbols!("nvfp4"), 16),
            _ => return None,
        };
        let columns = WARPS * PIECES * if matches!(kind, FP8 | INT8) { 16 } else { 32 };
        Some(Rings { symbols, expert_symbols, bytes: WARPS * SLOTS * TILE * (PIECES * 16 + scales), columns })
    }
}

impl Kernel for QuantGemv {
    const NAME: &'static str = "quant_gemv";

    fn check(&self) -> Result<(), &'static str> {
        self.around().check()?;
        let beside = Format::of(self.format, self.group).map(|format| format.scales(u64::from(self.k)));
        require! {
            self.rows <= GEMV_MAX_ROWS => "1 to 8 rows",
            self.norm_weight.is_null() || self.k as usize <= MAX_NORMED => "one row of at most 8192 behind a norm",
            Rings::of(self.format, self.group).is_some() => "a packed format with groups of a power of two",
            beside.is_none_or(|scales| (scales == 0) == self.scales.is_null()) => "scales where the format has them",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let Some(rings) = Rings::of(self.format, self.group) else { return Launch::linear(Self::NAME, 0, 0) };
        let staged = 2 * self.k.next_multiple_of(rings.columns);
        let has_room = rings.bytes + staged + FIXED_BYTES <= device.shared_bytes_per_block + SYSTEM_BYTES;
        let (symbol, staged) = match self.around().norm() {
            Some(norm) => (rings.symbols[2 + norm], staged),
            None if self.rows == 1 && self.k <= MAX_STAGED && has_room => (rings.symbols[1], staged),
            None => (rings.symbols[0], 0),
        };
        let shared_bytes = rings.bytes + staged;
        let in_all = device.shared_bytes_per_block + SYSTEM_BYTES;
        let resident = (in_all / (shared_bytes + FIXED_BYTES)).clamp(1, BLOCKS);
        let blocks = (device.multiprocessors * resident).clamp(1, self.around().tiles());
        Launch { shared_bytes, overlaps: true, ..Launch::linear(symbol, blocks, WARPS * 32) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (n, k) = (u64::from(self.n), u64::from(self.k));
        let weight = Format::of(self.format, self.group).map_or(0, |format| format.bytes(n, k));
        weight + self.around().bytes_moved(shape) - 2 * n * k
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        self.around().flops(shape)
    }
}
