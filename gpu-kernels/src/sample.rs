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
//! | `shared` | `[2, TEAMS, 512]` | i32 | written: what the blocks of a row tell each other |
//! | `arrivals` | `[TEAMS]` | i32 | 0 before the first launch, and left as the next one needs it |
//!
//! # Launch
//! A team of blocks owns a row, as many as find room on the device together, each a range of it, a thread every
//! `threads`-th token of that. A limit is found eight bits at a time, from the highest on, by histograms in shared memory,
//! which the blocks of a team exchange. The choice is found by sums over a block's range each, then over a 32nd of the
//! range, then over a 32nd of that.
//!
//! # Requires
//! Logits are numbers; `sampled` names a best one. Two rows that sample have different slots. All blocks are resident: no
//! other kernel that waits for its own blocks runs beside this one.
//!
//! # Moves
//! `rows · (vocab · 4 + 80)` bytes. On an H200, one row of 256 000: 14 µs with a temperature alone, 34 with top-k, 41 with top-p,
//! 56 with all (67, 129, 301 and 235 with a block to a row; `nemotron --verbose`).
//!
//! # Numerics
//! Distances round to f32 after each operation; `exp` is a polynomial in f32 without fused operations, within 2⁻²¹;
//! everything behind it is integers, so neither the order of the sums nor the device changes the choice. Exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Most blocks of all teams together where a row has several: fewer than any GPU holds. With more rows, each has one block.
pub const TEAMS: u32 = 128;
/// Words that a block tells the others of its team at once.
pub const TOLD_WORDS: u32 = 512;
/// Most blocks of a team: with more, they wait for each other longer than they work.
const MOST_BLOCKS: u32 = 32;
/// Tokens that a block has at least, where there are several.
const FEWEST_TOKENS: u32 = 4096;

/// Blocks of a team of each of `rows` rows.
pub(crate) fn team(rows: u32, vocab: u32, device: &DeviceInfo) -> u32 {
    let room = TEAMS.min(device.multiprocessors) / rows;
    room.min(MOST_BLOCKS).min(vocab / FEWEST_TOKENS).max(1)
}

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
        /// `[2, TEAMS, 512]`: written.
        pub shared: Ptr<i32>,
        /// `[TEAMS]`: in and out.
        pub arrivals: Ptr<i32>,
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

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let blocks = team(self.rows, self.vocab, device);
        let threads = (self.vocab / blocks / 4).next_power_of_two().clamp(32, 1024);
        Launch { grid: [blocks, self.rows, 1], ..Launch::linear(Self::NAME, 1, threads) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.vocab) * 4 + 80)
    }
}

#[cfg(target_arch = "nvptx64")]
mod choose;
#[cfg(target_arch = "nvptx64")]
mod limit;
#[cfg(target_arch = "nvptx64")]
mod team;
#[cfg(target_arch = "nvptx64")]
mod weigh;

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Sample;
    use super::choose::choose;
    use super::limit::{count_within, mass_within, top_p_target};
    use super::team::Team;
    use super::weigh::{Logits, random};
    use crate::sampling;
    use cuda_std::{global, kernel, thread};

    kernel! {
        /// One row per team.
        pub fn sample(args: Sample) {
            let row = u64::from(thread::block_idx_y());
            let parameters = args.sampling.addr + row * u64::from(4 * sampling::WORDS);
            let word = |index: u32| global::load::<u32>(parameters + u64::from(4 * index));
            let inverse_temperature = f32::from_bits(word(sampling::INVERSE_TEMPERATURE));
            // The parameters are the row's, so the whole team takes each branch together.
            if inverse_temperature == 0.0 {
                return;
            }
            let slot: u32 = global::load(args.slots.addr + 4 * row);
            let target = args.sampled.addr + 4 * u64::from(slot);
            let logits = args.logits.addr + 4 * row * u64::from(args.vocab);
            let best: u32 = global::load(target);
            let mut team = Team::new(&args);
            let logits = Logits {
                address: logits,
                range: team.range(args.vocab),
                best: global::load(logits + 4 * u64::from(best)),
                inverse_temperature,
            };
            let mut limit = sampling::MAX_DISTANCE;
            let (top_k, top_p) = (word(sampling::TOP_K), word(sampling::TOP_P));
            if top_k > 0 {
                limit = count_within(&logits, &mut team, top_k);
            }
            if top_p > 0 {
                let target = top_p_target(&logits, &mut team, limit, top_p);
                limit = mass_within(&logits, &mut team, limit, target);
            }
            let min_p = word(sampling::MIN_P_DISTANCE);
            limit = if min_p < limit { min_p } else { limit };
            let index: u32 = global::load(args.index.addr + 4 * row);
            let position: u32 = global::load(args.positions.addr + 4 * u64::from(index));
            let seed = [word(sampling::SEED), word(sampling::SEED_HIGH)];
            choose(&logits, &mut team, limit, random(seed, position + 1, word(sampling::STREAM)), target);
        }
    }
}
