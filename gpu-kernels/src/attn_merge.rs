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
//! A block owns a query head of a sequence, a thread an element of the head. The lanes of a warp weigh one split each and
//! pass the weights around by shuffles, while the elements of several splits are on their way.
//!
//! # Requires
//! The `splits`, `window` and shapes of the `attn_decode` before it; `head_dim` divisible by 8.
//!
//! # Moves
//! The live splits of `partial` and `stats`, and the outputs.
//!
//! # Numerics
//! Sums in f32 in the order of the splits; one rounding at the store. c = 8, d = 0.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, SPLIT_TOKENS, StepShape};

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
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let threads = self.head_dim.next_multiple_of(32).min(256);
        Launch { grid: [self.heads, self.sequences, 1], ..Launch::linear(Self::NAME, 1, threads) }
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
    use super::AttnMerge;
    use crate::SPLIT_TOKENS;
    use crate::pages::{first_key, one_new_row};
    use cuda_std::unroll::{array, unroll};
    use cuda_std::{bf16, global, kernel, math, thread, warp};

    kernel! {
        /// Any head size.
        pub fn attn_merge(args: AttnMerge) {
            let (head, sequence) = (u64::from(thread::block_idx_x()), thread::block_idx_y());
            let Some(row) = one_new_row(args.row_start, sequence) else { return };
            let length = global::load::<u32>(args.lengths.addr + u64::from(sequence) * 4);
            let index = u64::from(sequence) * u64::from(args.heads) + head;
            let splits = Splits::new(&args, index, length);
            let out = args.out.addr + (u64::from(row) * u64::from(args.heads) + head) * u64::from(args.head_dim) * 2;
            let largest = splits.largest();
            let mut first = thread::warp_id() * thread::WARP_SIZE;
            while first < args.head_dim {
                let dim = first + thread::lane_id();
                let value = splits.join(largest, dim);
                if dim < args.head_dim {
                    global::store(out + u64::from(dim) * 2, bf16::from_f32(value));
                }
                first += thread::block_dim_x();
            }
        }
    }

    /// Loads of `partial` that a thread has in flight.
    const AHEAD: usize = 8;

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

        /// Element `dim` of the joined head; 0 where no split is live.
        ///
        /// # Safety
        /// The whole warp comes here.
        #[inline(always)]
        unsafe fn join(&self, largest: f32, dim: u32) -> f32 {
            let (mut value, mut sum) = (0.0, 0.0);
            let mut first = self.first;
            while first < self.end {
                let split = first + thread::lane_id();
                // Splits behind the last weigh nothing.
                let mut own = [0.0; 2];
                if split < self.end {
                    // SAFETY: the split is live.
                    let [maximum, sum] = unsafe { self.stats(split) };
                    let weight = math::exp(maximum - largest);
                    own = [weight, weight * sum];
                }
                let count = (self.end - first).min(thread::WARP_SIZE);
                let mut at = 0;
                while at < count {
                    // SAFETY: splits below `end` are live.
                    let elements: [f32; AHEAD] = array(|i| unsafe { self.element(first + at + i as u32, dim) });
                    unroll::<AHEAD>(|i| {
                        // SAFETY: the whole warp is here.
                        let [weight, part] = own.map(|own| unsafe { warp::shuffle(own, at + i as u32) });
                        value = math::fma(weight, elements[i], value);
                        sum += part;
                    });
                    at += AHEAD as u32;
                }
                first += thread::WARP_SIZE;
            }
            if self.first < self.end { value / sum } else { 0.0 }
        }

        /// Element `dim` of a split; 0 behind the last split and the last element.
        ///
        /// # Safety
        /// `split` is not below the first live one.
        #[inline(always)]
        unsafe fn element(&self, split: u32, dim: u32) -> f32 {
            if split >= self.end || dim >= self.head_dim {
                return 0.0;
            }
            let at = u64::from(split) * u64::from(self.head_dim) + u64::from(dim);
            // SAFETY: the split is live, the element within it.
            unsafe { global::load(self.partial + at * 4) }
        }
    }
}
