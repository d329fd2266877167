//! `nvfp4_rows`: codes and scales of NVFP4, as a file has them, become the rows that products read (docs/formats.md).
//!
//! # Formula
//! Row `t` of `y` begins with `16·⌈k/32⌉` bytes of codes: words of eight columns, `w(codes[t, 4 · i ..])`, where `w` puts the bits of eight
//! codes of e2m1 in the order of docs/formats.md. Behind those stand `16·⌈k/256⌉` bytes of scales, `scales[t, i]`. Behind the last column
//! codes and scales are zero, and so is what fills the row up.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `codes` | `[rows, k / 2]` | two e2m1, the earlier column lower | row-major |
//! | `scales` | `[rows, k / 16]` | e4m3 | row-major |
//! | `y` | `[rows, Format::row_bytes(k)]` | `Nvfp4` | written; does not overlap the others |
//!
//! # Launch
//! A thread owns 16 columns; those of a row go on to where its scales end, and the last one fills the row up.
//!
//! # Requires
//! At least 1 row; `k` divisible by 16; fewer than 2³² threads; `codes` 8-byte aligned, `y` 16-byte aligned.
//!
//! # Moves
//! `rows · (k / 2 + k / 16)` bytes, and those of `y`.
//!
//! # Numerics
//! Bits. Exact.
use crate::format::{BLOCK, NVFP4_GROUP};
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Format, Kernel, Launch, Packed, Ptr, StepShape};

const THREADS: u32 = 256;
/// Groups of a block of columns.
const GROUPS: u32 = BLOCK / NVFP4_GROUP;

kernel_args! {
    /// Arguments of `nvfp4_rows`.
    pub struct Nvfp4Rows {
        /// `[rows, k / 2]`.
        pub codes: Ptr<Packed>,
        /// `[rows, k / 16]`.
        pub scales: Ptr<Packed>,
        /// Rows of `Format::Nvfp4`, written.
        pub y: Ptr<Packed>,
        /// Rows.
        pub rows: u32,
        /// Columns.
        pub k: u32,
    }
}

impl Nvfp4Rows {
    /// Groups of a row, those of its last block that hold no column included.
    const fn groups(&self) -> u32 {
        self.k.div_ceil(BLOCK) * GROUPS
    }
}

impl Kernel for Nvfp4Rows {
    const NAME: &'static str = "nvfp4_rows";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 => "at least one row",
            self.k > 0 && self.k.is_multiple_of(NVFP4_GROUP) => "k divisible by 16",
            u64::from(self.rows) * u64::from(self.groups()) < 1 << 32 => "fewer than 2^32 groups of 16 columns",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, (self.rows * self.groups()).div_ceil(THREADS), THREADS)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let k = u64::from(self.k);
        u64::from(self.rows) * (k / 2 + k / u64::from(NVFP4_GROUP) + Format::Nvfp4.row_bytes(k))
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{GROUPS, Nvfp4Rows};
    use crate::format::{NVFP4_GROUP, nibble_bytes, row_bytes};
    use cuda_std::codes::e2m1_word;
    use cuda_std::{global, kernel, thread};

    /// Bytes of the codes of a group.
    const CODES: u32 = NVFP4_GROUP / 2;

    kernel! {
        /// 16 columns per thread: a scale and two words.
        pub fn nvfp4_rows(args: Nvfp4Rows) {
            let index = thread::global_index();
            let Some(groups) = core::num::NonZero::new(args.groups()) else { return };
            if index < args.rows * groups.get() {
                let (row, group) = (index / groups, index % groups);
                let stored = args.k / NVFP4_GROUP;
                let (scale, codes): (u8, [u32; 2]) = if group < stored {
                    let at = u64::from(row) * u64::from(stored) + u64::from(group);
                    (global::load(args.scales.addr + at), global::load(args.codes.addr + u64::from(CODES) * at))
                } else {
                    (0, [0; 2])
                };
                let code_bytes = nibble_bytes(args.k);
                let row_bytes = row_bytes(args.k, code_bytes, GROUPS);
                let row = args.y.addr + u64::from(row) * u64::from(row_bytes);
                global::store(row + u64::from(code_bytes + group), scale);
                if group * CODES < code_bytes {
                    let words = [e2m1_word(codes[0]), e2m1_word(codes[1])];
                    global::store(row + u64::from(group * CODES), words);
                }
                let scaled = code_bytes + groups.get();
                if group + 1 == groups.get() && scaled < row_bytes {
                    // Both are multiples of 16, and less than 32 apart.
                    global::store(row + u64::from(scaled), [0u32; 4]);
                }
            }
        }
    }
}
