//! `keep_logits`: rows of logits, before penalties and biases change them.
//!
//! # Formula
//! `kept[l] = logits[l]` for the rows with `asked[l] ≥ CHOSEN`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major |
//! | `asked` | `[rows]` | i32 | as of [`top_logprobs`](crate::top_logprobs), which reads what is kept |
//! | `kept` | `[rows, vocab]` | f32 | written where rows are asked for |
//!
//! # Launch
//! A thread owns 8 elements of a row, `threads` apart.
//!
//! # Requires
//! `logits` and `kept` do not overlap.
//!
//! # Moves
//! `rows · (8 · vocab + 4)` bytes, if all are asked for.
//!
//! # Numerics
//! Copies: exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Threads of a block.
const THREADS: u32 = 256;
/// Elements of a thread.
const OWN: u32 = 8;

kernel_args! {
    /// Arguments of `keep_logits`.
    pub struct KeepLogits {
        /// `[rows, vocab]`.
        pub logits: Ptr<f32>,
        /// `[rows]`: whether a row is asked for.
        pub asked: Ptr<i32>,
        /// `[rows, vocab]`, written where rows are asked for.
        pub kept: Ptr<f32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
    }
}

impl Kernel for KeepLogits {
    const NAME: &'static str = "keep_logits";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.rows > 0 && self.vocab > 0 => "at least one row and one token", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let grid = [self.vocab.div_ceil(THREADS * OWN), self.rows, 1];
        Launch { grid, overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.vocab) * 8 + 4)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{KeepLogits, OWN, THREADS};
    use crate::sampling::CHOSEN;
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{global, grid, kernel, thread};

    kernel! {
        /// A range of a row per block.
        pub fn keep_logits(args: KeepLogits) {
            grid::wait_for_dependencies();
            let row = thread::block_idx_y();
            let asked: i32 = global::load(args.asked.addr + u64::from(4 * row));
            // Whole blocks take this branch together.
            if asked < CHOSEN {
                return;
            }
            let first = thread::block_idx_x() * THREADS * OWN + thread::thread_idx_x();
            let at = |k: u32| 4 * (u64::from(row) * u64::from(args.vocab) + u64::from(first + k * THREADS));
            // All loads are on their way before the first store.
            let loaded: [u32; OWN as usize] = array(
                #[inline(always)]
                |k| if first + k as u32 * THREADS < args.vocab { global::load(args.logits.addr + at(k as u32)) } else { 0 },
            );
            unroll::<{ OWN as usize }>(
                #[inline(always)]
                |k| {
                    if first + k as u32 * THREADS < args.vocab {
                        global::store(args.kept.addr + at(k as u32), loaded[k]);
                    }
                },
            );
        }
    }
}
