//! `widen`: rows of a weight in any packed format become activations: a panel for a GEMM, or tokens' rows of an embedding.
//!
//! # Formula
//! `y[t, j] = r(w[i, j])`, where `w[i, j]` is the weight's number (docs/formats.md), and i is t, or with `ids` the token
//! `id(t)`, as `embed` has it. `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `codes` | `[n, row bytes]` | packed | rows of the format |
//! | `scales` | `[n, scales of a row]` or null | f32 | row-major; null where the format has none |
//! | `ids` | `[rows]` or null | i32 | token id, or `-1 - slot` |
//! | `sampled` | `[slots]` or null | i32 | last sampled token of each sequence slot; with `ids` |
//! | `y` | `[rows, k]` | act | row-major, written |
//!
//! # Launch
//! A thread owns 8 neighbours.
//!
//! # Requires
//! A known format and a group of it; `k` divisible by 8, fewer than 2³² groups of 8; all of the weight's rows that are named;
//! `codes` and `y` 16-byte aligned. No code or scale is NaN.
//!
//! # Moves
//! `rows · (row bytes + 4 · scales + k · act)` bytes, and `4 · rows` with `ids`.
//!
//! # Numerics
//! A code's value is exact in f32; of its scales the first product is exact in NVFP4, each other is rounded once. Then one
//! rounding at the store. c = 2, d = 0.
use crate::format::{self, Format};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Packed, Ptr, StepShape};

const THREADS: u32 = 256;
/// Elements of a thread.
const GROUP: u32 = 8;

kernel_args! {
    /// Arguments of `widen`.
    pub struct Widen {
        /// `[n, row bytes]`.
        pub codes: Ptr<Packed>,
        /// `[n, scales of a row]` or null.
        pub scales: Ptr<f32>,
        /// `[rows]`: token id, or `-1 - slot`; or null.
        pub ids: Ptr<i32>,
        /// `[slots]`: last sampled token of each sequence slot; or null.
        pub sampled: Ptr<i32>,
        /// `[rows, k]`, written.
        pub y: Ptr<Act>,
        /// Rows that are written.
        pub rows: u32,
        /// Columns.
        pub k: u32,
        /// [`Format::kind`].
        pub kind: u32,
        /// [`Format::group`].
        pub group: u32,
        /// Bytes of a row of codes: [`Format::row_bytes`].
        pub row_bytes: u32,
        /// Scales of a row beside the codes: [`Format::scales`].
        pub row_scales: u32,
    }
}

impl Widen {
    /// Rows `0..rows` of a weight of `k` columns in `format`.
    pub const fn new(codes: Ptr<Packed>, scales: Ptr<f32>, y: Ptr<Act>, [rows, k]: [u32; 2], format: Format) -> Widen {
        Widen {
            codes,
            scales,
            ids: Ptr::NULL,
            sampled: Ptr::NULL,
            y,
            rows,
            k,
            kind: format.kind(),
            group: format.group(),
            row_bytes: format.row_bytes(k as u64) as u32,
            row_scales: format.scales(k as u64) as u32,
        }
    }

    /// The format; none where the arguments name none.
    pub const fn format(&self) -> Option<Format> {
        Format::of(self.kind, self.group)
    }

    /// Whether the format is known, and has groups of that size.
    const fn knows_group(&self) -> bool {
        match self.kind {
            format::F32 => self.group == 0,
            format::FP8 | format::INT8 => self.group.is_multiple_of(32),
            format::INT4 | format::INT4_ZEROS => matches!(self.group, 32 | 64),
            format::NVFP4 => self.group == format::NVFP4_GROUP,
            _ => false,
        }
    }

    /// Whether the sizes of rows are those of the format.
    const fn knows_rows(&self) -> bool {
        match self.format() {
            Some(format) => {
                self.row_bytes as u64 == format.row_bytes(self.k as u64)
                    && self.row_scales as u64 == format.scales(self.k as u64)
            }
            None => false,
        }
    }
}

impl Kernel for Widen {
    const NAME: &'static str = "widen";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 => "at least one row",
            self.k > 0 && self.k.is_multiple_of(GROUP) => "k divisible by 8",
            u64::from(self.rows) * u64::from(self.k / GROUP) < 1 << 32 => "fewer than 2^35 elements",
            self.knows_group() => "a known format and a group of it",
            self.knows_rows() => "rows of the format",
            (self.row_scales == 0) == self.scales.is_null() => "scales where the format has them",
            self.ids.is_null() == self.sampled.is_null() => "ids with sampled tokens",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let groups = self.rows * (self.k / GROUP);
        Launch { overlaps: true, ..Launch::linear(Self::NAME, groups.div_ceil(THREADS), THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let id = if self.ids.is_null() { 0 } else { 4 };
        let row = u64::from(self.row_bytes) + 4 * u64::from(self.row_scales) + 2 * u64::from(self.k) + id;
        u64::from(self.rows) * row
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{GROUP, Widen};
    use crate::format::{self, BLOCK};
    use crate::row;
    use cuda_std::{bf16, codes, global, grid, kernel, thread};

    /// 2¹²⁰: an e4m3 code's bits, shifted to where f32 has them, are its value less this factor.
    const E4M3_SCALE: f32 = f32::from_bits((127 + 120) << 23);
    /// 2¹²⁶: the same of e2m1.
    const E2M1_SCALE: f32 = f32::from_bits((127 + 126) << 23);

    kernel! {
        /// Eight neighbours per thread.
        pub fn widen(args: Widen) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let group = thread::global_index();
            let Some(groups) = core::num::NonZero::new(args.k / GROUP) else { return };
            if group < args.rows * groups.get() {
                let (row, column) = (group / groups, group % groups * GROUP);
                let source = if args.ids.addr == 0 { row } else { token(&args, row) };
                let codes = args.codes.addr + u64::from(source) * u64::from(args.row_bytes);
                let values = match args.kind {
                    format::F32 => plain(codes, column),
                    format::FP8 | format::INT8 => bytes(&args, codes, source, column),
                    _ => nibbles(&args, codes, source, column),
                };
                global::store(row::at(args.y.addr, group), bf16::pack_8(values));
            }
        }
    }

    /// The token of a row.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn token(args: &Widen, row: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe {
            let named: i32 = global::load(args.ids.addr + 4 * u64::from(row));
            if named >= 0 {
                return named.cast_unsigned();
            }
            global::load(args.sampled.addr + 4 * u64::from((-1 - named).cast_unsigned()))
        }
    }

    /// # Safety
    /// The row has the columns.
    #[inline(always)]
    unsafe fn plain(row: u64, column: u32) -> [f32; 8] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d]: [f32; 4] = global::load(row + 4 * u64::from(column));
            let [e, f, g, h]: [f32; 4] = global::load(row + 4 * u64::from(column) + 16);
            [a, b, c, d, e, f, g, h]
        }
    }

    /// Codes of 8 bits.
    ///
    /// # Safety
    /// The row has the columns, and its scales.
    #[inline(always)]
    unsafe fn bytes(args: &Widen, row: u64, number: u32, column: u32) -> [f32; 8] {
        let within = if args.group == 0 { 0 } else { column / args.group };
        let scale = args.scales.addr + 4 * (u64::from(number) * u64::from(args.row_scales) + u64::from(within));
        // SAFETY: the caller's promise.
        let ([low, high], scale): ([u32; 2], f32) =
            unsafe { (global::load(row + u64::from(column)), global::load(scale)) };
        let code = |index: usize| (if index < 4 { low } else { high } >> (8 * (index % 4))) & 0xff;
        let floats = args.kind == format::FP8;
        core::array::from_fn(
            #[inline(always)]
            |index| {
                let code = code(index);
                let value = if floats { e4m3(code) } else { code as u8 as i8 as f32 };
                value * scale
            },
        )
    }

    /// Codes of 4 bits, and behind all of a row's the scales.
    ///
    /// # Safety
    /// The row has the columns, and its scale.
    #[inline(always)]
    unsafe fn nibbles(args: &Widen, row: u64, number: u32, column: u32) -> [f32; 8] {
        let floats = args.kind == format::NVFP4;
        let group = args.group.max(1);
        let scale_bytes = if floats { BLOCK / group } else { BLOCK / group * 4 };
        let (block, within) = (column / BLOCK, column % BLOCK);
        let entries = row + u64::from(format::nibble_bytes(args.k) + block * scale_bytes);
        // SAFETY: the caller's promise; 8 columns are 4 bytes of a chunk.
        let word: u32 = unsafe { global::load(row + u64::from(column / 2)) };
        if floats {
            // SAFETY: as above. Two scales are loaded, of which the columns have one.
            let (pair, scale): (u16, f32) = unsafe {
                let scale = args.scales.addr + 4 * u64::from(number);
                (global::load(entries + u64::from(within / 32 * 2)), global::load(scale))
            };
            let group_scale = e4m3(u32::from(pair) >> (within / 16 % 2 * 8) & 0xff);
            let pairs = codes::e2m1_bits(word);
            return core::array::from_fn(
                #[inline(always)]
                |index| e2m1(pairs[index / 2] >> (16 * (index % 2))) * group_scale * scale,
            );
        }
        let code = |index: usize| (word >> (4 * index)) & 15;
        // SAFETY: as above.
        let entry: u32 = unsafe { global::load(entries + u64::from(within / group * 4)) };
        let zeros = args.kind == format::INT4_ZEROS;
        let (zero, scale) = if zeros { (entry & 15, entry & !15) } else { (8, entry) };
        core::array::from_fn(
            #[inline(always)]
            |index| (code(index) as i32 - zero as i32) as f32 * f32::from_bits(scale),
        )
    }

    #[inline(always)]
    fn e4m3(code: u32) -> f32 {
        f32::from_bits((code & 0x80) << 24 | (code & 0x7f) << 20) * E4M3_SCALE
    }

    /// Of the bits in the lower half.
    #[inline(always)]
    fn e2m1(bits: u32) -> f32 {
        f32::from_bits(bits << 16) * E2M1_SCALE
    }
}
