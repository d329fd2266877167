//! `Format`: how the elements of a weight stand in a device's memory; docs/formats.md has the same in words.
use crate::Element;

/// Columns of a block of 4-bit codes: what shares 16 or 32 bytes of scales.
pub const BLOCK: u32 = 256;

/// Columns of 4-bit codes in the 16 bytes that a thread copies at a time.
pub const CHUNK: u32 = 32;

/// Columns that share an e4m3 scale in NVFP4.
pub const NVFP4_GROUP: u32 = 16;

/// Bytes that rows of 8-bit codes are padded to, and that a thread copies at a time.
const ALIGNMENT: u32 = 16;

/// Bytes that rows of 4-bit codes are padded to: what the L2 cache hands out at a time.
const SECTOR: u32 = 32;

/// [`Format::kind`] of `Format::F32`.
pub const F32: u32 = 1;
/// [`Format::kind`] of `Format::Fp8`.
pub const FP8: u32 = 2;
/// [`Format::kind`] of `Format::Int8`.
pub const INT8: u32 = 3;
/// [`Format::kind`] of `Format::Int4` without zero points.
pub const INT4: u32 = 4;
/// [`Format::kind`] of `Format::Int4` with zero points.
pub const INT4_ZEROS: u32 = 5;
/// [`Format::kind`] of `Format::Nvfp4`.
pub const NVFP4: u32 = 6;

/// How the elements of a weight `[n, k]` stand in a device's memory, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// 16-bit brain floats.
    Bf16,
    /// 32-bit floats.
    F32,
    /// 32-bit signed integers: the order of a weight's columns.
    I32,
    /// Floats of 4 exponent and 3 mantissa bits (e4m3fn), and f32 scales.
    Fp8 {
        /// Columns of a row that share a scale, a multiple of 32; 0 for all.
        group: u32,
    },
    /// 8-bit signed integers, and f32 scales.
    Int8 {
        /// As of `Fp8`.
        group: u32,
    },
    /// 4-bit unsigned integers less a zero point, and f32 scales behind them.
    Int4 {
        /// Columns of a row that share a scale: 32 or 64.
        group: u32,
        /// Whether each group has a zero point, in the four lowest bits of its scale; else it is 8.
        zeros: bool,
    },
    /// Floats of 2 exponent bits and 1 mantissa bit (e2m1), e4m3 scales of 16 behind them, and an f32 scale of each row.
    Nvfp4,
}

/// Bytes of the 4-bit codes of a row of `columns` columns. Behind them stand its scales.
pub const fn nibble_bytes(columns: u32) -> u32 {
    columns.div_ceil(CHUNK) * ALIGNMENT
}

/// Bytes from one row of `columns` columns to the next: of its codes, and if a block has `block_scales` bytes of scales, of those too,
/// and what fills up a sector.
pub const fn row_bytes(columns: u32, code_bytes: u32, block_scales: u32) -> u32 {
    match block_scales {
        0 => code_bytes,
        _ => (code_bytes + columns.div_ceil(BLOCK) * block_scales).next_multiple_of(SECTOR),
    }
}

impl Format {
    /// The format's number in a kernel's arguments; 0 for what no kernel widens.
    pub const fn kind(self) -> u32 {
        match self {
            Format::Bf16 | Format::I32 => 0,
            Format::F32 => F32,
            Format::Fp8 { .. } => FP8,
            Format::Int8 { .. } => INT8,
            Format::Int4 { zeros: false, .. } => INT4,
            Format::Int4 { zeros: true, .. } => INT4_ZEROS,
            Format::Nvfp4 => NVFP4,
        }
    }

    /// The columns that share a scale, as a kernel's arguments have it; 0 for all of a row, or where there are no scales.
    pub const fn group(self) -> u32 {
        match self {
            Format::Bf16 | Format::F32 | Format::I32 => 0,
            Format::Fp8 { group } | Format::Int8 { group } | Format::Int4 { group, .. } => group,
            Format::Nvfp4 => NVFP4_GROUP,
        }
    }

    /// The format of that number and group; none for 0 and what is not known.
    pub const fn of(kind: u32, group: u32) -> Option<Format> {
        match kind {
            F32 => Some(Format::F32),
            FP8 => Some(Format::Fp8 { group }),
            INT8 => Some(Format::Int8 { group }),
            INT4 => Some(Format::Int4 { group, zeros: false }),
            INT4_ZEROS => Some(Format::Int4 { group, zeros: true }),
            NVFP4 => Some(Format::Nvfp4),
            _ => None,
        }
    }

    /// Bytes from one row of `columns` columns, fewer than 2³², to the next.
    pub const fn row_bytes(self, columns: u64) -> u64 {
        match self {
            Format::Bf16 => 2 * columns,
            Format::F32 | Format::I32 => 4 * columns,
            Format::Fp8 { .. } | Format::Int8 { .. } => columns.next_multiple_of(ALIGNMENT as u64),
            Format::Int4 { .. } | Format::Nvfp4 => {
                let columns = columns as u32;
                row_bytes(columns, nibble_bytes(columns), self.block_scales()) as u64
            }
        }
    }

    /// Bytes of the codes of a row of `columns` columns, up to what stands behind them in the row.
    pub const fn code_bytes(self, columns: u64) -> u64 {
        match self {
            Format::Int4 { .. } | Format::Nvfp4 => nibble_bytes(columns as u32) as u64,
            _ => self.row_bytes(columns),
        }
    }

    /// Bytes of scales behind the codes for each block of 256 columns; 0 but for 4-bit codes.
    pub const fn block_scales(self) -> u32 {
        match self {
            Format::Int4 { group, .. } => BLOCK / group * 4,
            Format::Nvfp4 => BLOCK / NVFP4_GROUP,
            _ => 0,
        }
    }

    /// The f32 scales of a row of `columns` columns that stand beside the codes, `[n, scales]` in a buffer of their own.
    pub const fn scales(self, columns: u64) -> u64 {
        match self {
            Format::Fp8 { group } | Format::Int8 { group } if group > 0 => columns.div_ceil(group as u64),
            Format::Fp8 { .. } | Format::Int8 { .. } | Format::Nvfp4 => 1,
            _ => 0,
        }
    }

    /// Bytes of `rows` rows with all of their scales.
    pub const fn bytes(self, rows: u64, columns: u64) -> u64 {
        rows * (self.row_bytes(columns) + 4 * self.scales(columns))
    }

    /// What a buffer of this format holds.
    pub const fn element(self) -> Element {
        match self {
            Format::Bf16 => Element::Weight,
            Format::F32 => Element::F32,
            Format::I32 => Element::I32,
            _ => Element::Packed,
        }
    }

    /// What a user calls it, whatever its groups are.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Bf16 => "BF16",
            Format::F32 => "F32",
            Format::I32 => "I32",
            Format::Fp8 { .. } => "FP8",
            Format::Int8 { .. } => "INT8",
            Format::Int4 { .. } => "INT4",
            Format::Nvfp4 => "NVFP4",
        }
    }

    /// Whether the elements are codes that a kernel widens.
    pub const fn is_packed(self) -> bool {
        !matches!(self, Format::Bf16 | Format::F32 | Format::I32)
    }
}
