//! `sample_limit`: the largest distance from the best logit that top-k or top-p keeps, twelve bits of it in each launch.
//!
//! # Formula
//! For a row with a temperature and the filter (its word of `sampling` is not 0), with the distances `q_i` and weights `w_i`
//! of [`sample`](crate::sample): `m_i = 1` for top-k and `w_i` for top-p, of the tokens with `q_i ≤ l`, where `l` is what
//! top-k found before top-p looks, else all. The target `t` is `k`, or `max(1, ⌊p · Σ m⌋)`.
//! * digit 0: `bin` is the smallest with `Σ_{q >> 12 ≤ bin} m ≥ t`, and `rest = t − Σ_{q >> 12 < bin} m`;
//! * digit 1, over the tokens with `q >> 12 = bin`: `limit = bin · 2¹² + b` for the smallest `b` with
//!   `Σ_{q mod 2¹² ≤ b} m ≥ rest`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major |
//! | `sampling` | `[rows, 16]` | i32 | parameters, see `sampling.rs` |
//! | `slots` | `[rows]` | i32 | sequence slot of each row |
//! | `sampled` | `[*]` | i32 | by slot: a best token of each row |
//! | `limits` | `[rows, 4]` | i32 | in and out: limit, bin, low and high word of rest |
//! | `bins` | `[min(rows, 64), 4096, 2]` | i32 | sums of all blocks of a row, low word first; 0 before and after |
//! | `counters` | `[64]` | i32 | 0 before and after |
//! | `filter` | scalar | u32 | the word of `sampling`: `TOP_K` or `TOP_P` |
//! | `digit` | scalar | u32 | 0 or 1: top-k's two launches, then top-p's, in order |
//!
//! # Launch
//! Several blocks own a row (`team.rs`), a range of it each. A block adds its tokens to bins in shared memory, and what is in
//! those to the row's bins in global memory; the last block to arrive walks along these. Sums are integers, so their order
//! changes nothing. A row without the filter ends at once.
//!
//! # Requires
//! Logits are numbers; `sampled` names a best one. `k` is at most the vocabulary.
//!
//! # Moves
//! `rows · vocab · 4` bytes.
//!
//! # Numerics
//! As `sample`: exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape, sampling, team};

/// Bins of a histogram: the values of twelve bits.
pub const BINS: u32 = 1 << 12;
/// Words of a row of `limits`.
pub const LIMIT_WORDS: u32 = 4;

kernel_args! {
    /// Arguments of `sample_limit`.
    pub struct SampleLimit {
        /// `[rows, vocab]`.
        pub logits: Ptr<f32>,
        /// `[rows, 16]`: parameters.
        pub sampling: Ptr<i32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[*]`: a best token by slot.
        pub sampled: Ptr<i32>,
        /// `[rows, 4]`: in and out.
        pub limits: Ptr<i32>,
        /// `[min(rows, 64), 4096, 2]`: 0 between launches.
        pub bins: Ptr<i32>,
        /// `[64]`: 0 between launches.
        pub counters: Ptr<i32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
        /// The word of `sampling` that holds the filter.
        pub filter: u32,
        /// 0 for the upper twelve bits, 1 for the lower.
        pub digit: u32,
    }
}

impl Kernel for SampleLimit {
    const NAME: &'static str = "sample_limit";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.vocab > 0 => "at least one row and one token",
            self.vocab <= 1 << 23 => "at most 2²³ tokens, whose weights have a sum of 64 bits",
            self.filter == sampling::TOP_K || self.filter == sampling::TOP_P => "a filter that has a limit of its own",
            self.digit < 2 => "two digits",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let blocks = team::blocks(self.rows, self.vocab);
        let threads = (self.vocab / blocks / 4).next_power_of_two().clamp(32, 1024);
        Launch { grid: [blocks, self.rows, 1], overlaps: true, ..Launch::linear(Self::NAME, 1, threads) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * u64::from(self.vocab) * 4
    }
}

#[cfg(target_arch = "nvptx64")]
mod histogram;

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::histogram::{add, bin, clear, join};
    use super::{BINS, LIMIT_WORDS, SampleLimit};
    use crate::sample::walk::{first_above, leave_sums, sum_of_block};
    use crate::sample::weigh::{Logits, Range, multiply_high, weight};
    use crate::sampling;
    use cuda_std::{barrier, global, grid, kernel, thread};

    kernel! {
        /// One row per team.
        pub fn sample_limit(args: SampleLimit) {
            grid::wait_for_dependencies();
            let (row, blocks) = (thread::block_idx_y(), thread::grid_dim_x());
            let parameters = args.sampling.addr + u64::from(4 * row * sampling::WORDS);
            let word = |index: u32| global::load::<u32>(parameters + u64::from(4 * index));
            let (inverse_temperature, kept) = (f32::from_bits(word(sampling::INVERSE_TEMPERATURE)), word(args.filter));
            // The parameters are the row's, so all its blocks take each branch together.
            if inverse_temperature == 0.0 || kept == 0 {
                return;
            }
            let (by_count, first) = (args.filter == sampling::TOP_K, args.digit == 0);
            let limits = args.limits.addr + u64::from(4 * row * LIMIT_WORDS);
            let limit = if by_count || word(sampling::TOP_K) == 0 { sampling::MAX_DISTANCE } else { global::load(limits) };
            let found_bin = if first { 0 } else { global::load::<u32>(limits + 4) };
            let slot: u32 = global::load(args.slots.addr + u64::from(4 * row));
            let best = global::load(args.sampled.addr + 4 * u64::from(slot));
            let logits = Logits::new(args.logits.addr, u64::from(row), args.vocab, best, inverse_temperature);
            clear();
            let range = Range { start: 0, end: args.vocab }.part(thread::block_idx_x(), blocks);
            logits.for_each(range, |distance| {
                let measure = if by_count { 1 } else { weight(distance) };
                let (high, low) = (distance / BINS, distance % BINS);
                if distance <= limit && (first || high == found_bin) {
                    add(if first { high } else { low }, measure);
                }
            });
            barrier::sync_threads();
            let bins = args.bins.addr + u64::from(8 * row * BINS);
            if blocks > 1 && !join(bins, args.counters.addr + u64::from(4 * row), blocks) {
                return;
            }
            let all = Range { start: 0, end: BINS };
            let value = |index: u32| bin(index);
            leave_sums(all, value);
            let target = if !first {
                global::load::<u64>(limits + 8)
            } else if by_count {
                u64::from(kept)
            } else {
                let share = multiply_high(sum_of_block(), u64::from(kept) << 32);
                if share > 0 { share } else { 1 }
            };
            // The sum reaches the target where it is above one less.
            first_above(all, target - 1, value, |index, rest| {
                if first {
                    global::store(limits + 4, index);
                    global::store(limits + 8, rest + 1);
                } else {
                    global::store(limits, found_bin * BINS + index);
                }
            });
        }
    }
}
