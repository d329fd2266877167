//! `penalize`: penalties for tokens that are there already, and biases, on logits in place.
//!
//! # Formula
//! For a row `l` with sequence slot `s = slots[l]` and `n = positions[index[l]] + 1` tokens, and every token `i` among
//! `history[s, 0 .. n]`, of which `c` are generated (at positions from the prompt's length on), in this order:
//! `x = x / repeat if x > 0, else x · repeat;  x = x − c · frequency;  x = x − presence if c > 0`
//! where `x = logits[l, i]`. Then `logits[l, bias_ids[b]] += bias_values[b]` for the row's biases.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | in and out |
//! | `sampling` | `[rows, 16]` | i32 | parameters, see `sampling.rs` |
//! | `bias_ids` | `[*]` | i32 | distinct within a row |
//! | `bias_values` | `[*]` | i32 | bits of f32 |
//! | `history` | `[*, context]` | i32 | the tokens of each slot |
//! | `slots` | `[rows]` | i32 | sequence slot of each row |
//! | `index` | `[rows]` | i32 | token row of each row |
//! | `positions` | `[*]` | i32 | of the token rows |
//! | `counts` | `[rows, vocab]` | i32 | scratch |
//!
//! # Launch
//! A block owns a row; a thread owns every `threads`-th token of the history. `counts` is cleared, added to and read only
//! where the history points, so the work does not grow with the vocabulary. Of the threads that hold one token, the first
//! to exchange its count applies the penalties.
//!
//! # Requires
//! Ids below `vocab`.
//!
//! # Moves
//! `rows · 72` bytes; what the histories add is not in the step's shape.
//!
//! # Numerics
//! Each operation rounds to f32 as written; divisions are IEEE. c = 4 covers the five of a token.
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
mod entry {
    use super::Penalize;
    use crate::sampling;
    use cuda_std::{barrier, global, kernel, thread};

    /// The count of a token whose penalties a thread has applied.
    const TAKEN: u32 = u32::MAX;

    kernel! {
        /// One row per block.
        pub fn penalize(args: Penalize) {
            let row = u64::from(thread::block_idx_x());
            let parameters = args.sampling.addr + row * u64::from(4 * sampling::WORDS);
            let logits = args.logits.addr + 4 * row * u64::from(args.vocab);
            // The parameters are the row's, so the whole block takes a branch together.
            if word(parameters, sampling::PENALIZES) != 0 {
                let slot: u32 = global::load(args.slots.addr + 4 * row);
                let index: u32 = global::load(args.index.addr + 4 * row);
                let position: u32 = global::load(args.positions.addr + 4 * u64::from(index));
                let history = History {
                    ids: args.history.addr + 4 * u64::from(slot) * u64::from(args.context),
                    length: position + 1,
                    counts: args.counts.addr + 4 * row * u64::from(args.vocab),
                };
                history.count(word(parameters, sampling::PROMPT_LENGTH));
                history.penalize(logits, parameters);
                barrier::sync_threads();
            }
            let first = word(parameters, sampling::BIAS_START);
            let mut bias = thread::thread_idx_x();
            while bias < word(parameters, sampling::BIAS_COUNT) {
                let at = 4 * u64::from(first + bias);
                let id: u32 = global::load(args.bias_ids.addr + at);
                let logit = logits + 4 * u64::from(id);
                global::store(logit, global::load::<f32>(logit) + global::load::<f32>(args.bias_values.addr + at));
                bias += thread::block_dim_x();
            }
        }
    }

    /// One word of a row's parameters.
    ///
    /// # Safety
    /// `parameters` is the address of a row.
    #[inline(always)]
    unsafe fn word(parameters: u64, index: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { global::load(parameters + u64::from(4 * index)) }
    }

    /// The tokens of a sequence, and a word for each id of the vocabulary.
    struct History {
        ids: u64,
        length: u32,
        counts: u64,
    }

    impl History {
        /// Calls `visit` with the address of the count, the id and the position of each of this thread's tokens.
        ///
        /// # Safety
        /// `ids` is the address of `length` written ids.
        #[inline(always)]
        unsafe fn for_each(&self, mut visit: impl FnMut(u64, u32, u32)) {
            let mut position = thread::thread_idx_x();
            while position < self.length {
                // SAFETY: the position is within the history.
                let id: u32 = unsafe { global::load(self.ids + 4 * u64::from(position)) };
                visit(self.counts + 4 * u64::from(id), id, position);
                position += thread::block_dim_x();
            }
        }

        /// Counts how often each token was generated; a token of the prompt alone has count 0.
        ///
        /// # Safety
        /// All threads of the block call it together; `counts` has a word for each id.
        #[inline(always)]
        unsafe fn count(&self, prompt_length: u32) {
            // SAFETY: every count that is added to was cleared before the barrier; between two barriers all threads store
            // the same value or use atomics.
            unsafe {
                self.for_each(|count, _, _| global::store(count, 0_u32));
                barrier::sync_threads();
                self.for_each(|count, _, position| {
                    if position >= prompt_length {
                        global::atomic_add_relaxed(count, 1);
                    }
                });
                barrier::sync_threads();
            }
        }

        /// Applies the penalties, once to each token.
        ///
        /// # Safety
        /// Behind [`History::count`]; `logits` is the address of a row.
        #[inline(always)]
        unsafe fn penalize(&self, logits: u64, parameters: u64) {
            // SAFETY: one thread alone finds a count that is not taken, so the logit is its own.
            unsafe {
                let float = |index| f32::from_bits(word(parameters, index));
                let repeat = float(sampling::REPEAT_PENALTY);
                let presence = float(sampling::PRESENCE_PENALTY);
                let frequency = float(sampling::FREQUENCY_PENALTY);
                self.for_each(|count, id, _| {
                    let count = global::atomic_exchange_relaxed(count, TAKEN);
                    if count != TAKEN {
                        let at = logits + 4 * u64::from(id);
                        let x: f32 = global::load(at);
                        let x = if x > 0.0 { x / repeat } else { x * repeat };
                        let x = x - count as f32 * frequency;
                        global::store(at, if count > 0 { x - presence } else { x });
                    }
                });
            }
        }
    }
}
