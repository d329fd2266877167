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
//! | `w` | `[n, k]` | packed | rows as docs/formats.md has them |
//! | `scales` | `[n, Format::scales(k)]`, or null where that is 0 | f32 | row-major |
//! | `bias` | `[n]` or null | weight | |
//! | `residual` | as `y`, or null | act | row-major; may be `y` |
//! | `y` | `[rows, n]`, with `swiglu` `[rows, n/2]`, or null | act | row-major, written |
//! | `y_f32` | `[rows, n]` or null | f32 | row-major, written |
//!
//! # Launch
//! As `gemv`'s: tiles of 16 rows of the weight to a block, whose 8 warps share the columns, 256 at a time, or 128
//! (`_narrow` of 8 bits). Codes and the scales among them pass through rings in shared memory, 3 steps deep, for 4 bits 5
//! (`_narrow` 3); the first ones are on their way before the kernel in front has ended. A lane widens eight columns of two
//! rows in registers, by arithmetic on their bits. `_norm` takes one token row, which every block normalises for itself.
//!
//! # Requires
//! 1 to 8 rows, with a norm 1 row of at most 8 192; `k` divisible by 8; `n` even with `swiglu`; a packed format, whose scales
//! beside the codes are for whole rows, or for groups of a power of two of columns, 32 at least; no code or scale is NaN;
//! `x`, `w`, `norm_weight` and `norm_bias` 16-byte aligned; exactly one of `y` and `y_f32`, activation and `residual` with
//! `y`, one of them at most; `y` overlaps nothing that is read but `residual`.
//!
//! # Moves
//! The bytes of codes and scales, `rows·(k·act + n·out)`, and `2·n` where there is a bias. `ptxas` for sm_90: 256 threads of at
//! most 128 registers, no spills; 96 KB of shared memory for 8 bits, 92 KB for 4, and 8 KB of sums: two blocks to a
//! multiprocessor, as long as a normalised row has at most 4 480 columns.
//!
//! # Numerics
//! A code widens to bf16 exactly, an e2m1 with its e4m3 scale too, and a u4 less its zero point. The tensor core sums
//! products in f32, 16 at once; scales of groups multiply the f32 sums of the columns that share them, of a row those of a
//! warp; the warps' sums are added in their order. No order depends on `rows`. The bias is added to the f32 sum. c = 16, d = 4: what a
//! norm or an activation takes or gives is rounded, and may be the neighbour of what it is to be; without them d counts for
//! nothing.
use crate::format::{FP8, Format, INT4, INT4_ZEROS, INT8, NVFP4};
use crate::gemv::{BLOCKS, PLAIN, SWIGLU, SYSTEM_BYTES, TILE, WARPS};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, GEMV_MAX_ROWS, Gemv, Kernel, Launch, Packed, Ptr, StepShape, Weight, rms_norm};

#[cfg(target_arch = "nvptx64")]
pub(crate) mod entry;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod forms;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod ring;

/// Longest row that a product normalises on its way.
pub const MAX_NORMED: usize = 8_192;

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
        /// `[n, k]`, the codes.
        pub w: Ptr<Packed>,
        /// `[n, Format::scales(k)]`, or null where the format has none beside the codes.
        pub scales: Ptr<f32>,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// As `y`, or null.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, with [`SWIGLU`] `[rows, n/2]`, or null; written.
        pub y: Ptr<Act>,
        /// `[rows, n]` or null, written without rounding.
        pub y_f32: Ptr<f32>,
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
        /// [`PLAIN`], `RELU2` or [`SWIGLU`].
        pub activation: u32,
        /// Of the norm.
        pub eps: f32,
        /// Of `rms_norm`: [`rms_norm::ONCE`] or [`rms_norm::TWICE`].
        pub roundings: u32,
    }
}

impl QuantGemv {
    /// `x · wᵀ` of `[rows, n, k]` alone: the caller says where it goes, and what stands in front of it and behind.
    pub const fn new(
        x: Ptr<Act>,
        (w, scales): (Ptr<Packed>, Ptr<f32>),
        format: Format,
        [rows, n, k]: [u32; 3],
    ) -> QuantGemv {
        QuantGemv {
            x,
            norm_weight: Ptr::NULL,
            norm_bias: Ptr::NULL,
            w,
            scales,
            bias: Ptr::NULL,
            residual: Ptr::NULL,
            y: Ptr::NULL,
            y_f32: Ptr::NULL,
            rows,
            n,
            k,
            format: format.kind(),
            group: format.group(),
            activation: PLAIN,
            eps: 0.0,
            roundings: rms_norm::TWICE,
        }
    }

    /// Whether the kernel multiplies with weights of that format.
    pub const fn takes(format: Format) -> bool {
        Rings::of(format.kind(), format.group(), true).is_some()
    }

    /// All that is not about the weight.
    pub const fn around(&self) -> Gemv {
        Gemv {
            x: self.x,
            norm_weight: self.norm_weight,
            norm_bias: self.norm_bias,
            w: Ptr::NULL,
            bias: self.bias,
            residual: self.residual,
            y: self.y,
            y_f32: self.y_f32,
            rows: self.rows,
            n: self.n,
            k: self.k,
            activation: self.activation,
            eps: self.eps,
            roundings: self.roundings,
        }
    }
}

/// The rings of a launch: how many bytes of how many steps.
pub(crate) struct Rings {
    /// The entry without norm, and with one.
    symbols: [&'static str; 2],
    /// The same of `moe_quant_gemv`, which has no norm.
    pub(crate) expert_symbol: &'static str,
    /// Bytes of all rings of a block.
    pub(crate) bytes: u32,
    /// Columns of a step of all warps.
    pub(crate) columns: u32,
}

impl Rings {
    /// Of a format's number and group, for a block that may have more or less shared memory; none for other formats.
    pub(crate) const fn of(kind: u32, group: u32, wide: bool) -> Option<Rings> {
        // Bytes of codes and scales of a row in a step; steps.
        let (symbols, [codes, scales, slots]) = match (kind, group, wide) {
            (FP8 | INT8, 1.., _) if group < 32 || !group.is_power_of_two() => return None,
            (FP8, _, true) => (["quant_gemv_fp8", "quant_gemv_fp8_norm", "moe_quant_gemv_fp8"], [256, 0, 3]),
            (FP8, _, false) => {
                (["quant_gemv_fp8_narrow", "quant_gemv_fp8_norm_narrow", "moe_quant_gemv_fp8_narrow"], [128, 0, 3])
            }
            (INT8, _, true) => (["quant_gemv_int8", "quant_gemv_int8_norm", "moe_quant_gemv_int8"], [256, 0, 3]),
            (INT8, _, false) => {
                (["quant_gemv_int8_narrow", "quant_gemv_int8_norm_narrow", "moe_quant_gemv_int8_narrow"], [128, 0, 3])
            }
            (INT4 | INT4_ZEROS, 64, true) => {
                (["quant_gemv_int4", "quant_gemv_int4_norm", "moe_quant_gemv_int4"], [128, 16, 5])
            }
            (INT4 | INT4_ZEROS, 64, false) => {
                (["quant_gemv_int4_narrow", "quant_gemv_int4_norm_narrow", "moe_quant_gemv_int4_narrow"], [128, 16, 3])
            }
            (INT4 | INT4_ZEROS, 32, true) => {
                (["quant_gemv_int4_32", "quant_gemv_int4_32_norm", "moe_quant_gemv_int4_32"], [128, 32, 4])
            }
            (INT4 | INT4_ZEROS, 32, false) => (
                ["quant_gemv_int4_32_narrow", "quant_gemv_int4_32_norm_narrow", "moe_quant_gemv_int4_32_narrow"],
                [128, 32, 3],
            ),
            (NVFP4, _, true) => (["quant_gemv_nvfp4", "quant_gemv_nvfp4_norm", "moe_quant_gemv_nvfp4"], [128, 16, 5]),
            (NVFP4, _, false) => {
                (["quant_gemv_nvfp4_narrow", "quant_gemv_nvfp4_norm_narrow", "moe_quant_gemv_nvfp4_narrow"], [128, 16, 3])
            }
            _ => return None,
        };
        let columns = WARPS * codes * if scales == 0 { 1 } else { 2 };
        let [plain, normed, expert_symbol] = symbols;
        Some(Rings { symbols: [plain, normed], expert_symbol, bytes: WARPS * TILE * slots * (codes + scales), columns })
    }

    /// The wide ones where a row of `k` columns fills them and `device` has room for them beside `others` bytes.
    pub(crate) fn on(device: &DeviceInfo, (kind, group): (u32, u32), k: u32, others: u32) -> Option<Rings> {
        let fits = |rings: &Rings| device.shared_bytes_per_block >= rings.bytes + others;
        let wide = Rings::of(kind, group, true).filter(|rings| k >= rings.columns && fits(rings));
        wide.or_else(|| Rings::of(kind, group, false))
    }
}

impl Kernel for QuantGemv {
    const NAME: &'static str = "quant_gemv";

    fn check(&self) -> Result<(), &'static str> {
        let normed = !self.norm_weight.is_null();
        let beside = Format::of(self.format, self.group).map(|format| format.scales(u64::from(self.k)));
        require! {
            self.rows > 0 && self.rows <= GEMV_MAX_ROWS => "1 to 8 rows",
            self.n > 0 => "at least one row of the weight",
            self.k > 0 && self.k.is_multiple_of(8) => "k divisible by 8",
            Rings::of(self.format, self.group, true).is_some() => "a packed format with groups of a power of two",
            beside.is_none_or(|scales| (scales == 0) == self.scales.is_null()) => "scales where the format has them",
            !normed || (self.rows == 1 && self.k as usize <= MAX_NORMED) => "one row of at most 8192 behind a norm",
            normed || self.norm_bias.is_null() => "norm_bias with norm_weight alone",
            matches!(self.roundings, rms_norm::ONCE | rms_norm::TWICE) => "one rounding or two",
            self.activation <= SWIGLU => "a known activation",
            self.activation != SWIGLU || self.n.is_multiple_of(2) => "as many gates as others",
            self.y.is_null() != self.y_f32.is_null() => "exactly one of y and y_f32",
            self.activation == PLAIN || (self.y_f32.is_null() && self.residual.is_null()) => "activations with neither y_f32 nor residual",
            self.y_f32.is_null() || self.residual.is_null() => "y_f32 without residual",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        // By what the longest normalised row needs, so that a row has one order of summation with a norm and without.
        let others = MAX_NORMED as u32 * 2 + FIXED_BYTES;
        let Some(rings) = Rings::on(device, (self.format, self.group), self.k, others) else {
            return Launch::linear(Self::NAME, 0, 0);
        };
        let normed = if self.norm_weight.is_null() { 0 } else { self.k * 2 };
        let shared_bytes = rings.bytes + normed;
        let in_all = device.shared_bytes_per_block + SYSTEM_BYTES;
        let resident = (in_all / (shared_bytes + FIXED_BYTES)).clamp(1, BLOCKS);
        let blocks = (device.multiprocessors * resident).clamp(1, self.around().tiles());
        Launch { shared_bytes, overlaps: true, ..Launch::linear(rings.symbols[usize::from(normed > 0)], blocks, WARPS * 32) }
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
