//! `penalize`: penalties for tokens that are there already, forbidden tokens, and biases, on logits in place.
//!
//! # Formula
//! For a row `l` with sequence slot `s = slots[l]`, `n = positions[index[l]] + 1` tokens `h = history[s, 0 .. n]` and
//! parameters `w` (`sampling.rs`), in this order, where `x_i = logits[l, i]`:
//! * phrases: `x_i += Σ value` over the row's phrases with last id `i` whose other ids are the end of `h`;
//! * penalties, if `w` asks for them, for every `i` in `h`, of which `c` are generated (at positions from the prompt's length
//!   on): `x = x / repeat if x > 0, else x · repeat;  x = x − c · frequency;  x = x − presence if c > 0`;
//! * n-grams of `g` tokens, instead of penalties, if `g > 0`: `x_i += −∞` where `i = h[j + g − 1]` and `h[j .. j + g − 1] = h[n − g + 1 .. n]` for a
//!   `j ≤ n − g`;
//! * biases: `x_i += −∞ if n < until, else value`.
//!
//! To forbid is to add −∞: a logit that is no number stays none, and `argmax` notices it.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | in and out |
//! | `sampling` | `[rows, 16]` | i32 | parameters, see `sampling.rs` |
//! | `bias_ids` | `[*]` | i32 | distinct within a row |
//! | `bias_values` | `[*]` | i32 | bits of f32 |
//! | `bias_until` | `[*]` | i32 | tokens until which an id is forbidden, unsigned; 0 for never |
//! | `phrases` | `[*]` | i32 | a table for each row that has one, see `sampling.rs` |
//! | `history` | `[*, context]` | i32 | the tokens of each slot |
//! | `slots` | `[rows]` | i32 | sequence slot of each row |
//! | `index` | `[rows]` | i32 | token row of each row |
//! | `positions` | `[*]` | i32 | of the token rows |
//! | `counts` | `[rows, vocab]` | i32 | scratch |
//!
//! # Launch
//! A block owns a row. A thread owns every `threads`-th token of the history and every `threads`-th phrase, with those
//! behind it that have the same last id. `counts` is cleared, added to and read only where the history points, so the work
//! does not grow with the vocabulary. Of the threads that hold one token, the first to exchange its count changes the logit.
//!
//! # Requires
//! Ids below `vocab`; a row's phrases in the order of their last ids.
//!
//! # Moves
//! `rows · 72` bytes; what the histories add is not in the step's shape.
//!
//! # Numerics
//! Each operation rounds to f32 as written, a sum of values first; divisions are IEEE. c = 8 covers the eight of a token that
//! two phrases end with.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `penalize`.
    pub struct Penalize {
        /// `[rows, vocab]`, in and out.
        pub logits: Ptr<f32>,
        /// `[rows, 16]`: parameters.
        pub sampling: Ptr<i32>,
        /// `[*]`.
        pub bias_ids: Ptr<i32>,
        /// `[*]`: bits of f32.
        pub bias_values: Ptr<i32>,
        /// `[*]`: forbidden below so many tokens.
        pub bias_until: Ptr<i32>,
        /// `[*]`: tables of phrases.
        pub phrases: Ptr<i32>,
        /// `[*, context]`.
        pub history: Ptr<i32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[rows]`: token row.
        pub index: Ptr<i32>,
        /// `[*]`, by token row.
        pub positions: Ptr<i32>,
        /// `[rows, vocab]`, scratch.
        pub counts: Ptr<i32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
        /// Row stride of `history`.
        pub context: u32,
    }
}

impl Kernel for Penalize {
    const NAME: &'static str = "penalize";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.rows > 0 && self.vocab > 0 && self.context > 0 => "at least one row, token and position", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, self.rows, 256)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * 72
    }
}

#[cfg(target_arch = "nvptx64")]
mod history;
#[cfg(target_arch = "nvptx64")]
mod phrases;

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Penalize;
    use super::history::History;
    use crate::sampling;
    use cuda_std::{barrier, global, kernel, thread};

    kernel! {
        /// One row per block.
        pub fn penalize(args: Penalize) {
            let row = u64::from(thread::block_idx_x());
            let parameters = args.sampling.addr + row * u64::from(4 * sampling::WORDS);
            let word = |index: u32| global::load::<u32>(parameters + u64::from(4 * index));
            let (penalizes, ngram) = (word(sampling::PENALIZES) != 0, word(sampling::NGRAM));
            let (phrases, biases) = (word(sampling::PHRASES), word(sampling::BIAS_COUNT));
            // The parameters are the row's, so the whole block takes a branch together.
            if !penalizes && ngram == 0 && phrases == 0 && biases == 0 {
                return;
            }
            let slot: u32 = global::load(args.slots.addr + 4 * row);
            let index: u32 = global::load(args.index.addr + 4 * row);
            let position: u32 = global::load(args.positions.addr + 4 * u64::from(index));
            let history = History {
                ids: args.history.addr + 4 * u64::from(slot) * u64::from(args.context),
                length: position + 1,
                counts: args.counts.addr + 4 * row * u64::from(args.vocab),
                logits: args.logits.addr + 4 * row * u64::from(args.vocab),
            };
            if phrases != 0 {
                history.complete_phrases(args.phrases.addr + 4 * u64::from(phrases));
            }
            if penalizes || ngram > 0 {
                // Its barriers are behind the phrases too.
                history.count(word(sampling::PROMPT_LENGTH), ngram);
                history.change(parameters, penalizes);
            }
            barrier::sync_threads();
            let first = word(sampling::BIAS_START);
            let mut bias = thread::thread_idx_x();
            while bias < biases {
                let at = 4 * u64::from(first + bias);
                let id: u32 = global::load(args.bias_ids.addr + at);
                let value: f32 = global::load(args.bias_values.addr + at);
                let until: u32 = global::load(args.bias_until.addr + at);
                history.add(id, if history.length < until { f32::NEG_INFINITY } else { value });
                bias += thread::block_dim_x();
            }
        }
    }
}
