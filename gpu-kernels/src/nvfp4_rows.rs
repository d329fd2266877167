//! `nvfp4_rows`: codes and scales of NVFP4, as a file has them, become the rows that products read (docs/formats.md).
//!
//! # Formula
//! In row `t` of `y`, the block of columns `256 · b ..` begins at byte `144 · b`: 16 bytes of scales, `scales[t, 16 · b + i]`, then words
//! of eight columns, `w(codes[t, 128 · b + 4 · i ..])`, where `w` puts the bits of eight codes of e2m1 in the order of docs/formats.md.
//! Behind the last column scales and codes are zero.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `codes` | `[rows, k / 2]` | two e2m1, the earlier column lower | row-major |
//! | `scales` | `[rows, k / 16]` | e4m3 | row-major |
//! | `y` | `[rows, 16·⌈k/256⌉ + 16·⌈k/32⌉]` | `Nvfp4` | written; does not overlap the others |
//!
//! # Launch
//! A thread owns 16 columns, and where a row ends behind them, what fills its last block.
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
    use crate::Format;
    use crate::format::{CHUNK, NVFP4_GROUP};
    use cuda_std::codes::e2m1_word;
    use cuda_std::{global, kernel, thread};

    /// Bytes of the codes of a group.
    const CODES: u32 = NVFP4_GROUP / 2;
    /// Bytes of a block: its scales and its codes.
    const BLOCK_BYTES: u32 = GROUPS * (1 + CODES);

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
                let start = u64::from(row) * Format::Nvfp4.row_bytes(u64::from(args.k));
                let block = args.y.addr + start + u64::from(group / GROUPS * BLOCK_BYTES);
                let within = group % GROUPS;
                global::store(block + u64::from(within), scale);
                if group < args.k.div_ceil(CHUNK) * (CHUNK / NVFP4_GROUP) {
                    let words = [e2m1_word(codes[0]), e2m1_word(codes[1])];
                    global::store(block + u64::from(GROUPS + within * CODES), words);
                }
            }
        }
    }
}
