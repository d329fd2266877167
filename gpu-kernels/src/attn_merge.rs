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
//! A block owns a query head of a sequence; a thread owns elements of the head.
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
        Launch { grid: [self.heads, self.sequences, 1], ..Launch::linear(Self::NAME, 1, 128) }
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
