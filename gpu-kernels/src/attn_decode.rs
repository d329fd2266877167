//! `attn_decode`: attention of the sequences that add one token, split over their keys.
//!
//! # Formula
//! For every sequence s with one new row `t = row_start[s]` and `lengths[s] > 0`, every split i of SPLIT_TOKENS keys that
//! holds a key in `max(0, length − window) .. length` (from 0 where `window` is 0), with j over those keys of the split,
//! query head h and kv head `g = h / (heads / kv_heads)`:
//! `m = max_j scale · q[t, h]·k[j, g]`, `e_j = e^(scale · q[t, h]·k[j, g] − m)`,
//! `stats[s, h, i] = (m, Σ_j e_j)`, `partial[s, h, i, :] = Σ_j r(e_j) · v[j, g, :]`.
//! `r` rounds to the activation type. `attn_merge` joins the splits. Other splits and sequences write nothing.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `q` | `[rows, q_stride]` | act | the first `heads·head_dim` of each row |
//! | `k_pool`, `v_pool` | `[pages, kv_heads, PAGE_TOKENS, head_dim]` | kv | holds this step's rows already |
//! | `block_table` | `[sequences, pages_per_sequence]` | i32 | page ids |
//! | `row_start` | `[sequences + 1]` | i32 | first row of each sequence |
//! | `lengths` | `[sequences]` | i32 | keys of each sequence, this step's included; 0 marks a pad |
//! | `partial` | `[sequences, heads, splits, head_dim]` | f32 | written |
//! | `stats` | `[sequences, heads, splits, 2]` | f32 | maximum and sum, written |
//!
//! # Launch
//! A block owns a split of one kv head of one sequence and serves all query heads of that group, so that keys and
//! values are read once: a thread keeps its share of the keys in registers for all heads, then its share of the values.
//! Four lanes own a key, 8 to 32 threads along the keys own a column of values; scores and the values' sums meet in shared
//! memory, four query heads at a time. One variant per head size: `attn_decode_128` and so on.
//!
//! # Requires
//! `head_dim` one of [`crate::HEAD_DIMS`]; `heads` divisible by `kv_heads`, at most 64 of them to one; `q`, pools, `partial`
//! and `stats` 16-byte aligned, `q_stride` divisible by 8; no sequence longer than `splits · SPLIT_TOKENS`.
//!
//! # Moves
//! The live keys and values, the queries, and 4 bytes per element of `partial` and `stats`.
//!
//! # Numerics
//! Scores and sums in f32; e_j is rounded to the activation type before it meets the values, its sum is not. c = 16,
//! d = 2.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, HEAD_DIMS, Kernel, Kv, Launch, Ptr, SPLIT_TOKENS, StepShape};

#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod split;

/// Query heads that a block works on together.
const HEADS_AT_ONCE: u32 = 4;

/// How a block shares the keys and values of a split out.
#[derive(Clone, Copy)]
struct Shape {
    /// Keys that four lanes own.
    quad_keys: u32,
    /// Keys of which a thread owns 16 bytes of values.
    value_keys: u32,
}

impl Shape {
    /// No thread keeps more than 64 registers of keys and 64 of values.
    const fn of(head_dim: u32) -> Shape {
        match head_dim {
            32 => Shape { quad_keys: 4, value_keys: 4 },
            64 => Shape { quad_keys: 4, value_keys: 8 },
            96 | 128 => Shape { quad_keys: 2, value_keys: 8 },
            _ => Shape { quad_keys: 2, value_keys: 16 },
        }
    }

    const fn threads(self) -> u32 {
        SPLIT_TOKENS / self.quad_keys * 4
    }
}

kernel_args! {
    /// Arguments of `attn_decode`.
    pub struct AttnDecode {
        /// `[rows, q_stride]`.
        pub q: Ptr<Act>,
        /// `[pages, kv_heads, PAGE_TOKENS, head_dim]`.
        pub k_pool: Ptr<Kv>,
        /// `[pages, kv_heads, PAGE_TOKENS, head_dim]`.
        pub v_pool: Ptr<Kv>,
        /// `[sequences, pages_per_sequence]`.
        pub block_table: Ptr<i32>,
        /// `[sequences + 1]`.
        pub row_start: Ptr<i32>,
        /// `[sequences]`.
        pub lengths: Ptr<i32>,
        /// `[sequences, heads, splits, head_dim]`, written.
        pub partial: Ptr<f32>,
        /// `[sequences, heads, splits, 2]`, written.
        pub stats: Ptr<f32>,
        /// Sequences of the bucket.
        pub sequences: u32,
        /// Splits of the bucket's depth class.
        pub splits: u32,
        /// Elements from one row of `q` to the next.
        pub q_stride: u32,
        /// Query heads.
        pub heads: u32,
        /// Key and value heads.
        pub kv_heads: u32,
        /// Width of a head.
        pub head_dim: u32,
        /// Row stride of `block_table`.
        pub pages_per_sequence: u32,
        /// Keys that a query sees, itself included; 0 for all.
        pub window: u32,
        /// Factor of the scores.
        pub scale: f32,
    }
}

impl Kernel for AttnDecode {
    const NAME: &'static str = "attn_decode";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.sequences > 0 && self.splits > 0 => "at least one sequence and one split",
            self.heads > 0 && self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads) => "heads divisible by kv_heads",
            self.heads / self.kv_heads <= 64 => "at most 64 query heads to a kv head",
            HEAD_DIMS.contains(&self.head_dim) => "head_dim 32, 64, 96, 128, 192 or 256",
            self.q_stride.is_multiple_of(8) => "q_stride divisible by 8",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let symbol = match self.head_dim {
            32 => "attn_decode_32",
            64 => "attn_decode_64",
            96 => "attn_decode_96",
            128 => "attn_decode_128",
            192 => "attn_decode_192",
            _ => "attn_decode_256",
        };
        let shape = Shape::of(self.head_dim);
        let scores = self.heads / self.kv_heads * SPLIT_TOKENS;
        let sums = SPLIT_TOKENS / shape.value_keys * HEADS_AT_ONCE * self.head_dim;
        Launch {
            grid: [self.splits, self.kv_heads, self.sequences],
            shared_bytes: (scores + sums) * 4,
            ..Launch::linear(symbol, 1, shape.threads())
        }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (heads, dim) = (u64::from(self.heads), u64::from(self.head_dim));
        let decodes = shape.sequences.iter().filter(|s| s.new_tokens == 1);
        let per_sequence = decodes.map(|s| {
            let keys = u64::from(if self.window == 0 { s.length } else { s.length.min(self.window) });
            let splits = keys.div_ceil(u64::from(SPLIT_TOKENS));
            keys * 2 * u64::from(self.kv_heads) * dim * 2 + heads * dim * 2 + heads * splits * (dim + 2) * 4
        });
        per_sequence.sum()
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        4 * shape.query_key_pairs(|s| s.new_tokens == 1) * u64::from(self.heads) * u64::from(self.head_dim)
    }
}
