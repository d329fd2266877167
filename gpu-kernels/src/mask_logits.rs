//! `mask_logits`: tokens that may not come next have no chance.
//!
//! # Formula
//! `logits[l, id] = −∞` where `index[l] ≥ 0` and bit `id % 32` of `masks[index[l] + id / 32]` is 0; others are kept.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major, changed |
//! | `index` | `[rows]` | i32 | the first word of the row's mask; −1 where any token may come |
//! | `masks` | `[*]` | i32 | 32 tokens a word, the lowest bit first; `⌈vocab / 32⌉` words each |
//!
//! # Launch
//! A thread owns 8 elements of a row, `threads` apart; the lanes of a warp read the same word.
//!
//! # Requires
//! A mask that is named lies within `masks`.
//!
//! # Moves
//! `rows · (4 · vocab + vocab / 8 + 4)` bytes, if all rows have a mask that forbids nearly everything: nothing is read of the
//! logits.
//!
//! # Numerics
//! Exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Threads of a block.
const THREADS: u32 = 256;
/// Elements of a thread.
const OWN: u32 = 8;
/// Tokens of a word.
pub const WORD_TOKENS: u32 = 32;

kernel_args! {
    /// Arguments of `mask_logits`.
    pub struct MaskLogits {
        /// `[rows, vocab]`, changed.
        pub logits: Ptr<f32>,
        /// `[rows]`: where a row's mask begins, −1 for none.
        pub index: Ptr<i32>,
        /// `[*]`: bits of the tokens that may come.
        pub masks: Ptr<i32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
    }
}

impl Kernel for MaskLogits {
    const NAME: &'static str = "mask_logits";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.rows > 0 && self.vocab > 0 => "at least one row and one token", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let grid = [self.vocab.div_ceil(THREADS * OWN), self.rows, 1];
        Launch { grid, overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let vocab = u64::from(self.vocab);
        u64::from(self.rows) * (4 * vocab + vocab.div_ceil(8) + 4)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{MaskLogits, OWN, THREADS, WORD_TOKENS};
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{global, grid, kernel, thread};

    kernel! {
        /// A range of a row per block.
        pub fn mask_logits(args: MaskLogits) {
            grid::wait_for_dependencies();
            let row = thread::block_idx_y();
            let index: i32 = global::load(args.index.addr + u64::from(4 * row));
            // Whole blocks take this branch together.
            if index < 0 {
                return;
            }
            let first = thread::block_idx_x() * THREADS * OWN + thread::thread_idx_x();
            let mask = args.masks.addr + 4 * u64::from(index as u32);
            let id = |k: usize| first + k as u32 * THREADS;
            // All loads are on their way before the first store.
            let words: [u32; OWN as usize] = array(
                #[inline(always)]
                |k| if id(k) < args.vocab { global::load(mask + 4 * u64::from(id(k) / WORD_TOKENS)) } else { u32::MAX },
            );
            let row = args.logits.addr + 4 * u64::from(row) * u64::from(args.vocab);
            unroll::<{ OWN as usize }>(
                #[inline(always)]
                |k| {
                    if (words[k] >> (id(k) % WORD_TOKENS)) & 1 == 0 {
                        global::store(row + 4 * u64::from(id(k)), f32::NEG_INFINITY);
                    }
                },
            );
        }
    }
}
