//! `attn_merge`: joins the splits of `attn_decode`.
//!
//! # Formula
//! For every sequence s with one new row `t = row_start[s]`, every query head h, with i over the splits that
//! `attn_decode` wrote and `M = max_i m_i`, `(m_i, l_i) = stats[s, h, i]`:
//! `out[t, h, :] = r(Σ_i e^(m_i − M) · partial[s, h, i, :] / Σ_i e^(m_i − M) · l_i)`; zeros where `lengths[s]` is 0.
//! `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `partial` | `[sequences, heads, splits, head_dim]` | f32 | |
//! | `stats` | `[sequences, heads, splits, 2]` | f32 | maximum and sum |
//! | `row_start` | `[sequences + 1]` | i32 | first row of each sequence |
//! | `lengths` | `[sequences]` | i32 | keys of each sequence; 0 marks a pad |
//! | `out` | `[rows, heads·head_dim]` | act | row-major, written |
//!
//! # Launch
//! A block owns a query head of a sequence, a thread four elements of every n-th split, where n is how often the head's
//! elements go into the block; the n sums meet in shared memory.
//!
//! # Requires
//! The `splits`, `window` and shapes of the `attn_decode` before it; `head_dim` divisible by 8 and at most 1024; `partial`
//! and `stats` 16-byte aligned, `out` 8-byte aligned.
//!
//! # Moves
//! The live splits of `partial` and `stats`, and the outputs.
//!
//! # Numerics
//! Sums in f32, every n-th split by fused multiply-add, then the n sums; one rounding at the store. c = 8, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, SPLIT_TOKENS, StepShape};

/// Threads of a block.
const THREADS: u32 = 256;

kernel_args! {
    /// Arguments of `attn_merge`.
    pub struct AttnMerge {
        /// `[sequences, heads, splits, head_dim]`.
        pub partial: Ptr<f32>,
        /// `[sequences, heads, splits, 2]`.
        pub stats: Ptr<f32>,
        /// `[sequences + 1]`.
        pub row_start: Ptr<i32>,
        /// `[sequences]`.
        pub lengths: Ptr<i32>,
        /// `[rows, heads·head_dim]`, written.
        pub out: Ptr<Act>,
        /// Sequences of the bucket.
        pub sequences: u32,
        /// Splits of the bucket's depth class.
        pub splits: u32,
        /// Query heads.
        pub heads: u32,
        /// Width of a head.
        pub head_dim: u32,
        /// Keys that a query sees, itself included; 0 for all.
        pub window: u32,
    }
}

impl Kernel for AttnMerge {
    const NAME: &'static str = "attn_merge";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.sequences > 0 && self.splits > 0 && self.heads > 0 => "at least one sequence, split and head",
            self.head_dim > 0 && self.head_dim.is_multiple_of(8) => "head_dim divisible by 8",
            self.head_dim <= 4 * THREADS => "head_dim at most 1024",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { grid: [self.heads, self.sequences, 1], ..Launch::linear(Self::NAME, 1, THREADS) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (heads, dim) = (u64::from(self.heads), u64::from(self.head_dim));
        let decodes = shape.sequences.iter().filter(|s| s.new_tokens == 1);
        let per_sequence = decodes.map(|s| {
            let keys = if self.window == 0 { s.length } else { s.length.min(self.window) };
            heads * (u64::from(keys.div_ceil(SPLIT_TOKENS)) * (dim + 2) * 4 + dim * 2)
        });
        per_sequence.sum()
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{AttnMerge, THREADS};
    use crate::SPLIT_TOKENS;
    use crate::pages::{first_key, one_new_row};
    use core::num::NonZero;
    use cuda_std::barrier::sync_threads;
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{bf16, global, kernel, math, shared, thread, warp};

    shared! {
        /// Four sums of each thread.
        fn attn_merge_values() -> [[f32; 4]; THREADS as usize];
        /// The sum of weights of each thread.
        fn attn_merge_weights() -> [f32; THREADS as usize];
    }

    kernel! {
        /// Any head size.
        pub fn attn_merge(args: AttnMerge) {
            let (head, sequence) = (u64::from(thread::block_idx_x()), thread::block_idx_y());
            let Some(row) = one_new_row(args.row_start, sequence) else { return };
            let length = global::load::<u32>(args.lengths.addr + u64::from(sequence) * 4);
            let splits = Splits::new(&args, u64::from(sequence) * u64::from(args.heads) + head, length);
            // A divisor that may be zero would bring a panic, and its message, into the kernel.
            let Some(columns) = NonZero::new(args.head_dim / 4) else { return };
            let (part, column) = (thread::thread_idx_x() / columns, thread::thread_idx_x() % columns);
            let parts = THREADS / columns;
            splits.leave_sums(part, parts, column);
            sync_threads();
            if part == 0 {
                let joined = splits.join(parts, columns.get(), column);
                let at = (u64::from(row) * u64::from(args.heads) + head) * u64::from(args.head_dim);
                let pairs = [bf16::pack([joined[0], joined[1]]), bf16::pack([joined[2], joined[3]])];
                global::store(args.out.addr + (at + u64::from(column * 4)) * 2, pairs);
            }
        }
    }

    /// Splits that a thread asks for at once.
    const AHEAD: usize = 4;

    /// The live splits of one query head.
    struct Splits {
        partial: u64,
        stats: u64,
        head_dim: u32,
        first: u32,
        end: u32,
    }

    impl Splits {
        /// Those of head `index`, counted over sequences and heads; none where `length` is 0.
        #[inline(always)]
        fn new(args: &AttnMerge, index: u64, length: u32) -> Splits {
            let base = index * u64::from(args.splits);
            Splits {
                partial: args.partial.addr + base * u64::from(args.head_dim) * 4,
                stats: args.stats.addr + base * 8,
                head_dim: args.head_dim,
                first: first_key(length, args.window) / SPLIT_TOKENS,
                end: length.div_ceil(SPLIT_TOKENS),
            }
        }

        /// Leaves in shared memory what the thread's splits, every `parts`-th, add to its four elements and to the sum of
        /// weights.
        ///
        /// # Safety
        /// The whole block comes here.
        #[inline(always)]
        unsafe fn leave_sums(&self, part: u32, parts: u32, column: u32) {
            let mut split = self.first + part;
            // The elements do not wait for the maximum.
            // SAFETY: only live splits are read.
            let mut elements = unsafe { self.elements(split, parts, column) };
            // SAFETY: the whole warp is here.
            let largest = unsafe { self.largest() };
            let (mut values, mut weights) = ([0.0; 4], 0.0);
            while split < self.end {
                unroll::<AHEAD>(
                    #[inline(always)]
                    |i| {
                        let split = split + i as u32 * parts;
                        if split < self.end {
                            // SAFETY: the split is live.
                            let [maximum, sum] = unsafe { self.stats(split) };
                            let weight = math::exp(maximum - largest);
                            weights = math::fma(weight, sum, weights);
                            unroll::<4>(|e| values[e] = math::fma(weight, elements[i][e], values[e]));
                        }
                    },
                );
                split += AHEAD as u32 * parts;
                // SAFETY: only live splits are read.
                elements = unsafe { self.elements(split, parts, column) };
            }
            // SAFETY: the words are the thread's own.
            unsafe {
                attn_merge_values().store(thread::thread_idx_x(), values);
                attn_merge_weights().store(thread::thread_idx_x(), weights);
            }
        }

        /// The quotient of the sums of all parts, in their order; 0 where no split is live.
        ///
        /// # Safety
        /// Behind a barrier, all sums are there.
        #[inline(always)]
        unsafe fn join(&self, parts: u32, columns: u32, column: u32) -> [f32; 4] {
            let (mut values, mut weights) = ([0.0; 4], 0.0);
            let live = (self.end - self.first).min(parts);
            for part in 0..live {
                // SAFETY: the caller's promise.
                unsafe {
                    let more: [f32; 4] = attn_merge_values().load(part * columns + column);
                    unroll::<4>(|e| values[e] += more[e]);
                    weights += attn_merge_weights().load(part * columns + column);
                }
            }
            if live > 0 { values.map(|value| value / weights) } else { values }
        }

        /// Four elements of each of `AHEAD` splits, `parts` apart; zeros behind the last.
        ///
        /// # Safety
        /// `split` is not below the first live one, `column` within the head.
        #[inline(always)]
        unsafe fn elements(&self, split: u32, parts: u32, column: u32) -> [[f32; 4]; AHEAD] {
            array(|i| {
                let split = split + i as u32 * parts;
                let at = u64::from(split) * u64::from(self.head_dim) + u64::from(column * 4);
                // SAFETY: the split is live, the elements within it.
                if split < self.end { unsafe { global::load(self.partial + at * 4) } } else { [0.0; 4] }
            })
        }

        /// Maximum and sum of a split.
        ///
        /// # Safety
        /// The split is live.
        #[inline(always)]
        unsafe fn stats(&self, split: u32) -> [f32; 2] {
            // SAFETY: the caller's promise.
            unsafe { global::load(self.stats + u64::from(split) * 8) }
        }

        /// The maximum over the live splits.
        ///
        /// # Safety
        /// The whole warp comes here.
        #[inline(always)]
        unsafe fn largest(&self) -> f32 {
            let mut largest = f32::NEG_INFINITY;
            let mut split = self.first + thread::lane_id();
            while split < self.end {
                // SAFETY: the split is live.
                largest = math::max(largest, unsafe { self.stats(split) }[0]);
                split += thread::WARP_SIZE;
            }
            // SAFETY: the whole warp is here.
            unsafe { warp::max_f32(largest) }
        }
    }
}
