//! `top_logprobs`: what the log-probabilities of a token and of the most likely ones are made of.
//!
//! # Formula
//! For a row `l` with `a = asked[l] ≥ CHOSEN`, `x = logits[l]`, and the token `t = a`, or `sampled[slots[l]]` where
//! `a = CHOSEN`, with `M = max x`:
//! * `results[slots[l], 0] = Σ_i exp(x_i − M)`;
//! * `results[slots[l], 1] = x_t`;
//! * `results[slots[l], 2 .. 22]`: the ids of the 20 greatest of `x`, the greatest first, of equals the lowest id first;
//! * `results[slots[l], 22 .. 42]`: their logits; where the vocabulary is smaller, id −1 and −∞.
//!
//! So `ln p_i = x_i − M − ln Σ`. Of a row that is not asked for nothing is written.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major |
//! | `asked` | `[rows]` | i32 | `NOT_ASKED`, `CHOSEN` (`sampling.rs`) or a token |
//! | `slots` | `[rows]` | i32 | sequence slot of each row |
//! | `sampled` | `[*]` | i32 | the chosen token of each slot |
//! | `results` | `[*, 42]` | i32 | the named slots are written: ids, and bits of f32 |
//! | `found` | `[rows, blocks, 42]` | i32 | scratch: the 20 best of each block with their logits, then the blocks' sums |
//! | `counters` | `[rows]` | i32 | 0 before and after |
//!
//! # Launch
//! A block has 4096 tokens of a row, 16 in registers of each thread, so how a row is cut depends on the vocabulary alone. Each
//! warp finds the 20 best of what its lanes hold, one after the other; a warp finds those of all warps in the same way, and the
//! last block to arrive those of all blocks. A block sums against its own greatest logit, and the last one joins the sums.
//!
//! # Requires
//! `vocab` at most 2¹⁹. Logits are numbers: of a row in which `argmax` finds a fault the results mean nothing. Two rows that are
//! asked for have different slots.
//!
//! # Moves
//! `rows · (vocab · 4 + 184)` bytes, if all are asked for.
//!
//! # Numerics
//! Ids and logits: exact. The sum in f32, always in the same order: each difference, exponential (4 ulp) and product, and the
//! 38 sums that a term goes through. c = 1, d = 0, where E counts a term `e = exp(x − M)` as `e · (M − x + 56)`. The reference
//! sums in f64.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Most likely tokens that are found of a row.
pub const BEST: u32 = 20;
/// Words of a slot's results, and of what a block finds.
pub const WORDS: u32 = 2 + 2 * BEST;
/// Tokens of a row that a block has.
const TOKENS: u32 = 1 << 12;
/// Threads of a block.
const THREADS: u32 = 256;

/// Blocks that share a row.
pub const fn blocks(vocab: u32) -> u32 {
    vocab.div_ceil(TOKENS)
}

kernel_args! {
    /// Arguments of `top_logprobs`.
    pub struct TopLogprobs {
        /// `[rows, vocab]`.
        pub logits: Ptr<f32>,
        /// `[rows]`: whether a row is asked for, and with which token.
        pub asked: Ptr<i32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[*]`: the chosen tokens by slot.
        pub sampled: Ptr<i32>,
        /// `[*, 42]`, written at the named slots.
        pub results: Ptr<i32>,
        /// `[rows, blocks, 42]`, scratch.
        pub found: Ptr<i32>,
        /// `[rows]`: 0 between launches.
        pub counters: Ptr<i32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
    }
}

impl Kernel for TopLogprobs {
    const NAME: &'static str = "top_logprobs";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.vocab > 0 => "at least one row and one token",
            self.vocab <= 1 << 19 => "at most 2¹⁹ tokens, of whose blocks one block holds the best",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { grid: [blocks(self.vocab), self.rows, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.vocab) * 4 + 184)
    }
}

#[cfg(target_arch = "nvptx64")]
mod select;

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::select::{Best, Own, best_of_block, own, sum_of_block};
    use super::{BEST, THREADS, TOKENS, TopLogprobs, WORDS};
    use crate::sampling::CHOSEN;
    use cuda_std::unroll::unroll;
    use cuda_std::{global, grid, kernel, math, thread, warp};

    kernel! {
        /// A range of a row per block.
        pub fn top_logprobs(args: TopLogprobs) {
            grid::wait_for_dependencies();
            let (row, block, blocks) = (thread::block_idx_y(), thread::block_idx_x(), thread::grid_dim_x());
            let asked: i32 = global::load(args.asked.addr + u64::from(4 * row));
            // All blocks of the row take this branch together.
            if asked < CHOSEN {
                return;
            }
            let logits = args.logits.addr + 4 * u64::from(row) * u64::from(args.vocab);
            let found = args.found.addr + u64::from(row) * u64::from(4 * blocks * WORDS);
            let sums = found + u64::from(8 * blocks * BEST);

            let start = block * TOKENS;
            let tokens = own(|k| {
                let index = start + k * THREADS + thread::thread_idx_x();
                if index < args.vocab { Best { value: global::load(logits + u64::from(4 * index)), index } } else { Best::NONE }
            });
            let greatest = best_of_block(&tokens, |rank, best| {
                global::store(found + u64::from(8 * (block * BEST + rank)), [best.value.to_bits(), best.index]);
            });
            let sum = sum_of_block(sum_of_thread(&tokens, greatest));
            if thread::thread_idx_x() == 0 {
                global::store(sums + u64::from(4 * block), sum);
            }
            if !grid::arrives_last(args.counters.addr + u64::from(4 * row), blocks) {
                return;
            }

            let slot: u32 = global::load(args.slots.addr + u64::from(4 * row));
            let result = args.results.addr + u64::from(slot) * u64::from(4 * WORDS);
            let best = |index: u32| {
                let [value, index] = global::load(found + u64::from(8 * index));
                Best { value: f32::from_bits(value), index }
            };
            // What comes twice is found once: nothing is behind itself.
            let last = blocks * BEST - 1;
            let candidates = own(|k| best(last.min(k * THREADS + thread::thread_idx_x())));
            let greatest = best_of_block(&candidates, |rank, best| {
                global::store(result + u64::from(4 * (2 + rank)), best.index);
                global::store(result + u64::from(4 * (2 + BEST + rank)), best.value);
            });
            if thread::warp_id() > 0 {
                return;
            }
            let (mut part, mut other) = (0.0, thread::lane_id());
            while other < blocks {
                part += global::load::<f32>(sums + u64::from(4 * other)) * weight(best(other * BEST).value, greatest);
                other += thread::WARP_SIZE;
            }
            let sum = warp::sum_f32(part);
            if thread::lane_id() == 0 {
                let chosen = args.sampled.addr + 4 * u64::from(slot);
                let token = if asked == CHOSEN { global::load(chosen) } else { asked as u32 };
                let logit: f32 = global::load(logits + 4 * u64::from(token));
                global::store(result, sum);
                global::store(result + 4, logit);
            }
        }
    }

    #[inline(always)]
    fn sum_of_thread(tokens: &Own, greatest: f32) -> f32 {
        let mut sum = 0.0;
        unroll::<{ (TOKENS / THREADS) as usize }>(|k| sum += weight(tokens[k].value, greatest));
        sum
    }

    /// e to the difference from the greatest; nothing where that is −∞.
    #[inline(always)]
    fn weight(value: f32, greatest: f32) -> f32 {
        if value == f32::NEG_INFINITY { 0.0 } else { math::exp(value - greatest) }
    }
}
