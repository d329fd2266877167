//! `rope_kv_append`: rotates queries and keys, and writes keys and values to their page.
//!
//! # Formula
//! For query and key heads, with `c = cos[position, j]`, `s = sin[position, j]`, `lo = v[j]`, `hi = v[j + R/2]`, R =
//! `rotary_dims`, `0 ≤ j < R/2`:
//! `v[j] = r(r(lo·c) + r(−hi·s)); v[j + R/2] = r(r(hi·c) + r(lo·s))`; dims from R on stay. Queries are rotated in place;
//! the rotated key and the value of row t go to row `slot_mapping[t]` of the pools. `r` rounds to the activation type.
//! Source: `apply_rotary_pos_emb` of transformers' Llama and Nemotron (half layout, three roundings).
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `qkv` | `[rows, (heads + 2·kv_heads)·head_dim]` | act | queries, keys, values; the queries in and out |
//! | `cos`, `sin` | `[context, rotary_dims/2]` | act | by position |
//! | `positions` | `[rows]` | i32 | |
//! | `slot_mapping` | `[rows]` | i32 | `page · PAGE_TOKENS + offset` |
//! | `k_pool`, `v_pool` | `[pages, kv_heads, PAGE_TOKENS, head_dim]` | kv | the rows of the slots are written |
//!
//! # Launch
//! A block owns a token row; a thread owns rotary pairs and plain elements of it by turns.
//!
//! # Requires
//! `rotary_dims` even and at most `head_dim`; `head_dim` divisible by 8; no two live rows with one slot (pad rows may
//! share the scrap page, whose content nobody reads).
//!
//! # Moves
//! `rows · head_dim · act · (2·heads + 4·kv_heads) + rows · (rotary_dims · act + 8)` bytes.
//!
//! # Numerics
//! Each product and the sum are rounded once. With bf16 factors the products are exact in f32, so the result is exact
//! (c = 0, d = 0).
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Kv, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `rope_kv_append`.
    pub struct RopeKvAppend {
        /// `[rows, (heads + 2·kv_heads)·head_dim]`; the queries in and out.
        pub qkv: Ptr<Act>,
        /// `[context, rotary_dims/2]`.
        pub cos: Ptr<Act>,
        /// `[context, rotary_dims/2]`.
        pub sin: Ptr<Act>,
        /// `[rows]`.
        pub positions: Ptr<i32>,
        /// `[rows]`: `page · PAGE_TOKENS + offset`.
        pub slot_mapping: Ptr<i32>,
        /// `[pages, kv_heads, PAGE_TOKENS, head_dim]`.
        pub k_pool: Ptr<Kv>,
        /// `[pages, kv_heads, PAGE_TOKENS, head_dim]`.
        pub v_pool: Ptr<Kv>,
        /// Token rows.
        pub rows: u32,
        /// Query heads.
        pub heads: u32,
        /// Key and value heads.
        pub kv_heads: u32,
        /// Width of a head.
        pub head_dim: u32,
        /// How many leading dims of a head are rotated; 0 for none.
        pub rotary_dims: u32,
    }
}

impl Kernel for RopeKvAppend {
    const NAME: &'static str = "rope_kv_append";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.heads > 0 && self.kv_heads > 0 => "at least one row and one head",
            self.head_dim > 0 && self.head_dim.is_multiple_of(8) => "head_dim divisible by 8",
            self.rotary_dims.is_multiple_of(2) && self.rotary_dims <= self.head_dim => "rotary_dims even and at most head_dim",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, self.rows, 256)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, dim) = (u64::from(self.rows), u64::from(self.head_dim));
        let heads = 2 * u64::from(self.heads) + 4 * u64::from(self.kv_heads);
        rows * dim * 2 * heads + rows * (u64::from(self.rotary_dims) * 2 + 8)
    }
}
