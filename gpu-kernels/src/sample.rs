//! `sample`: the next token by chance, after temperature, top-k, top-p and min-p.
//!
//! # Formula
//! For a row `l` with parameters (`sampling.rs`) whose `1 / temperature` is not 0, and `m = logits[l, sampled[slots[l]]]`,
//! the best logit, which `argmax` has found:
//! * distance: `q_i = min(trunc((m − logits[l, i]) · (1 / temperature) · 2¹⁹), 2²⁴ − 1)`;
//! * weight: `w_i = trunc(2⁴⁰ · exp(−q_i · 2⁻¹⁹))`: what is below 2⁻⁴⁰ of the best is never chosen;
//! * top-k keeps `q_i ≤ a`, the smallest `a` that at least `k` tokens are within;
//! * top-p keeps `q_i ≤ b`, the smallest `b ≤ a` with `Σ_{q ≤ b} w ≥ max(1, ⌊p · Σ_{q ≤ a} w⌋)`;
//! * min-p keeps `q_i ≤ c`, which the host computes: `exp(−c · 2⁻¹⁹) ≥ min-p`.
//!
//! Equals stay or go together. Of the tokens that all three keep, with `W = Σ w`, the choice is the first in the order of
//! ids with `Σ_{j ≤ i} w_j > ⌊R · W / 2⁶⁴⌋`, where `R` is the second and first word of Philox4x32-10 (Salmon and others,
//! 2011) with the seed as key and (position of the token, stream, 0, 0) as counter, the second word high.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major |
//! | `sampling` | `[rows, 16]` | i32 | parameters, see `sampling.rs` |
//! | `slots` | `[rows]` | i32 | sequence slot of each row |
//! | `index` | `[rows]` | i32 | token row of each row |
//! | `positions` | `[*]` | i32 | of the token rows; the chosen token's is one more |
//! | `sampled` | `[*]` | i32 | in: the greedy choice; out: the choice, at the slots of rows that sample |
//! | `limits` | `[rows, 4]` | i32 | what `sample_limit` found for rows with top-k or top-p, first word |
//! | `sums` | `[min(rows, 64), 32, 2]` | i32 | written: each block's sum of weights, low word first |
//! | `counters` | `[64]` | i32 | 0 before and after |
//!
//! # Launch
//! Several blocks own a row (`team.rs`), a range of it each, and sum its weights. The last block to arrive finds the range in
//! which the choice lies, and in that by sums over a 32nd each, and a 32nd of that.
//!
//! # Requires
//! Logits are numbers; `sampled` names a best one. Two rows that sample have different slots.
//!
//! # Moves
//! `rows · (vocab · 4 + 80)` bytes.
//!
//! # Numerics
//! Distances round to f32 after each operation; `exp` is a polynomial in f32 without fused operations, within 2⁻²¹;
//! everything behind it is integers, so neither the order of the sums nor the device changes the choice. Exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape, team};

kernel_args! {
    /// Arguments of `sample`.
    pub struct Sample {
        /// `[rows, vocab]`.
        pub logits: Ptr<f32>,
        /// `[rows, 16]`: parameters.
        pub sampling: Ptr<i32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[rows]`: token row.
        pub index: Ptr<i32>,
        /// `[*]`, by token row.
        pub positions: Ptr<i32>,
        /// `[*]`, in and out.
        pub sampled: Ptr<i32>,
        /// `[rows, 4]`: the limit of rows with top-k or top-p in front.
        pub limits: Ptr<i32>,
        /// `[min(rows, 64), 32, 2]`: written.
        pub sums: Ptr<i32>,
        /// `[64]`: 0 between launches.
        pub counters: Ptr<i32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
    }
}

impl Kernel for Sample {
    const NAME: &'static str = "sample";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.vocab > 0 => "at least one row and one token",
            self.vocab <= 1 << 23 => "at most 2²³ tokens, whose weights have a sum of 64 bits",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let blocks = team::blocks(self.rows, self.vocab);
        let threads = (self.vocab / blocks / 4).next_power_of_two().clamp(32, 1024);
        Launch { grid: [blocks, self.rows, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, threads) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.vocab) * 4 + 80)
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) mod walk;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod weigh;

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Sample;
    use super::walk::{first_above, leave_sums, sum_of_block};
    use super::weigh::{Logits, Range, multiply_high, of_lane, of_last_lane, random, sum_up_to_lane};
    use crate::sample_limit::LIMIT_WORDS;
    use crate::{sampling, team};
    use cuda_std::{global, grid, kernel, thread, warp};

    kernel! {
        /// One row per team.
        pub fn sample(args: Sample) {
            grid::wait_for_dependencies();
            let (row, blocks) = (thread::block_idx_y(), thread::grid_dim_x());
            let parameters = args.sampling.addr + u64::from(4 * row * sampling::WORDS);
            let word = |index: u32| global::load::<u32>(parameters + u64::from(4 * index));
            let inverse_temperature = f32::from_bits(word(sampling::INVERSE_TEMPERATURE));
            // The parameters are the row's, so all its blocks take each branch together.
            if inverse_temperature == 0.0 {
                return;
            }
            let mut limit = word(sampling::MIN_P_DISTANCE);
            if word(sampling::TOP_K) | word(sampling::TOP_P) != 0 {
                limit = limit.min(global::load(args.limits.addr + u64::from(4 * row * LIMIT_WORDS)));
            }
            let slot: u32 = global::load(args.slots.addr + u64::from(4 * row));
            let target = args.sampled.addr + 4 * u64::from(slot);
            let logits =
                Logits::new(args.logits.addr, u64::from(row), args.vocab, global::load(target), inverse_temperature);
            let weight = |index: u32| logits.weight(index, limit);
            let index: u32 = global::load(args.index.addr + u64::from(4 * row));
            let position: u32 = global::load(args.positions.addr + 4 * u64::from(index));
            let seed = [word(sampling::SEED), word(sampling::SEED_HIGH)];
            let random = random(seed, position + 1, word(sampling::STREAM));

            let whole = Range { start: 0, end: args.vocab };
            let mut range = whole.part(thread::block_idx_x(), blocks);
            leave_sums(range, weight);
            let own = sum_of_block();
            let mut share = multiply_high(random, own);
            if blocks > 1 {
                let sums = args.sums.addr + u64::from(8 * row * team::TEAM_BLOCKS);
                if thread::thread_idx_x() == 0 {
                    global::store(sums + u64::from(8 * thread::block_idx_x()), own);
                }
                if !grid::arrives_last(args.counters.addr + u64::from(4 * row), blocks) {
                    return;
                }
                let (block, rest) = block_of(sums, blocks, random);
                (range, share) = (whole.part(block, blocks), rest);
                leave_sums(range, weight);
            }
            first_above(range, share, weight, |index, _| global::store(target, index));
        }
    }

    /// The block in whose range the sum over all passes the share `random · 2⁻⁶⁴` of the whole, and what of the share is left
    /// there; in every lane.
    ///
    /// # Safety
    /// Whole warps call it together; the sums of `blocks` blocks, 2 to 32, are at `sums`.
    #[inline(always)]
    unsafe fn block_of(sums: u64, blocks: u32, random: u64) -> (u32, u64) {
        let lane = thread::lane_id();
        // SAFETY: the caller's promise; the sum up to the last lane is above the share, so a lane is found.
        unsafe {
            let own = if lane < blocks { global::load(sums + u64::from(8 * lane)) } else { 0 };
            let end = sum_up_to_lane(own);
            let share = multiply_high(random, of_last_lane(end));
            let block = warp::ballot(end > share).trailing_zeros();
            (block, share - of_lane(end - own, block))
        }
    }
}
