//! `rope_kv_append`: rotates queries and keys, and writes keys and values to their page.
//!
//! # Formula
//! For query and key heads, with `c = cos[position, j]`, `s = sin[position, j]`, `lo = v[j]`, `hi = v[j + R/2]`, R =
//! `rotary_dims`, `0 ≤ j < R/2`:
//! `v[j] = r(r(lo·c) + r(−hi·s)); v[j + R/2] = r(r(hi·c) + r(lo·s))`; dims from R on stay. Queries are rotated in place;
//! the rotated key and the value of row t go to row `slot_mapping[t]` of the pools, where `kv` is FP8 as
//! `e4m3(clip(v / scale, ±448))` with `k_scale` and `v_scale`. `r` rounds to the activation type, `e4m3` to the nearest code,
//! ties to the even one; of a NaN that is 0x7f.
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
//! A block owns a token row; a thread owns rotary pairs and plain elements of it by turns. One variant per kind of pool:
//! `rope_kv_append` and `rope_kv_append_fp8`.
//!
//! # Requires
//! `rotary_dims` even and at most `head_dim`; `head_dim` divisible by 8; all pointers but `positions` and
//! `slot_mapping` 16-byte aligned; scales 1, or 1e-18 to 1e18 where `kv` is FP8; no two live rows with one slot (pad rows may
//! share the scrap page, whose content nobody reads).
//!
//! # Moves
//! `rows · head_dim · (2·act·(heads + kv_heads) + 2·kv·kv_heads) + rows · (rotary_dims · act + 8)` bytes.
//!
//! # Numerics
//! Each product and the sum are rounded once. With bf16 factors the products are exact in f32, so the result is exact
//! (c = 0, d = 0).
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Kv, KvFormat, Launch, Ptr, StepShape};

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
        /// What an element of the pools is.
        pub kv: KvFormat,
        /// What keys are divided by; 1 where they are kept as they are.
        pub k_scale: f32,
        /// The same of values.
        pub v_scale: f32,
    }
}

impl Kernel for RopeKvAppend {
    const NAME: &'static str = "rope_kv_append";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.rows > 0 && self.heads > 0 && self.kv_heads > 0 => "at least one row and one head",
            self.head_dim > 0 && self.head_dim.is_multiple_of(8) => "head_dim divisible by 8",
            self.rotary_dims.is_multiple_of(2) && self.rotary_dims <= self.head_dim => "rotary_dims even and at most head_dim",
            self.kv.takes([self.k_scale, self.v_scale]) => "scales of 1e-18 to 1e18, and 1 where nothing is divided",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let symbol = match self.kv {
            KvFormat::Act => Self::NAME,
            KvFormat::Fp8 => "rope_kv_append_fp8",
        };
        Launch { overlaps: true, ..Launch::linear(symbol, self.rows, 256) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let (rows, dim) = (u64::from(self.rows), u64::from(self.head_dim));
        let [heads, kv_heads] = [self.heads, self.kv_heads].map(u64::from);
        let elements = 4 * (heads + kv_heads) + 2 * u64::from(self.kv.bytes()) * kv_heads;
        rows * dim * elements + rows * (u64::from(self.rotary_dims) * 2 + 8)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::RopeKvAppend;
    use crate::cached::{Cached, Divisor, E4m3, Plain};
    use crate::rope::{Access, for_each_of};
    use crate::{PAGE_TOKENS, row};
    use core::marker::PhantomData;
    use cuda_std::{global, grid, kernel, thread};

    kernel! {
        /// One token row per block; eight pairs per access where half the rotary dims divide by 8, single ones elsewhere.
        pub fn rope_kv_append(args: RopeKvAppend) {
            append::<Plain>(&args);
        }

        /// The same, with codes of e4m3 in the pools.
        pub fn rope_kv_append_fp8(args: RopeKvAppend) {
            append::<E4m3>(&args);
        }
    }

    /// # Safety
    /// The kernel's Requires hold; the pools' elements are `E`.
    #[inline(always)]
    unsafe fn append<E: Cached>(args: &RopeKvAppend) {
        grid::launch_dependents();
        grid::wait_for_dependencies();
        // SAFETY: the caller's promise.
        unsafe {
            let token = Token::<E>::new(args);
            if (args.rotary_dims / 2).is_multiple_of(row::GROUP) {
                token.rotate::<[u32; 4]>();
                token.append_plain_keys::<[u32; 4]>();
            } else {
                token.rotate::<u16>();
                token.append_plain_keys::<u16>();
            }
            token.append_values();
        }
    }

    /// One token row, and the addresses that belong to it.
    struct Token<'a, E> {
        args: &'a RopeKvAppend,
        qkv: u64,
        cos: u64,
        sin: u64,
        /// Offset in both pools of the token's row of kv head 0.
        slot: u64,
        k_scale: Divisor,
        v_scale: Divisor,
        element: PhantomData<E>,
    }

    impl<E: Cached> Token<'_, E> {
        /// # Safety
        /// The kernel's Requires hold.
        #[inline(always)]
        unsafe fn new(args: &RopeKvAppend) -> Token<'_, E> {
            let row = u64::from(thread::block_idx_x());
            // SAFETY: one element per row.
            let (position, slot): (u32, u32) = unsafe {
                (global::load(args.positions.addr + 4 * row), global::load(args.slot_mapping.addr + 4 * row))
            };
            let (page, offset) = (u64::from(slot / PAGE_TOKENS), u64::from(slot % PAGE_TOKENS));
            let width = u64::from(args.heads + 2 * args.kv_heads) * u64::from(args.head_dim);
            let angles = u64::from(position) * u64::from(args.rotary_dims / 2) * 2;
            let first = page * u64::from(args.kv_heads) * u64::from(PAGE_TOKENS) + offset;
            Token {
                args,
                qkv: args.qkv.addr + row * width * 2,
                cos: args.cos.addr + angles,
                sin: args.sin.addr + angles,
                slot: first * u64::from(args.head_dim * E::BYTES),
                k_scale: Divisor::new(args.k_scale),
                v_scale: Divisor::new(args.v_scale),
                element: PhantomData,
            }
        }

        /// Address of head `head` of the row, counted from the first query head.
        #[inline(always)]
        fn head(&self, head: u32) -> u64 {
            self.qkv + u64::from(head) * u64::from(self.args.head_dim) * 2
        }

        /// Address in a pool of the token's row of kv head `head`.
        #[inline(always)]
        fn row_in(&self, pool: u64, head: u32) -> u64 {
            pool + self.slot + u64::from(head) * u64::from(PAGE_TOKENS) * u64::from(self.args.head_dim * E::BYTES)
        }

        /// Keeps activations as elements `at` and following of the row of a pool at `to`.
        ///
        /// # Safety
        /// They are within the row, and this thread's own.
        #[inline(always)]
        unsafe fn store<A: Access>(&self, to: u64, at: u32, activations: A, scale: Divisor) {
            // SAFETY: the caller's promise.
            unsafe { global::store(to + u64::from(at * E::BYTES), E::made(activations, scale)) };
        }

        /// Rotates the queries in place and the keys into their page.
        ///
        /// # Safety
        /// The kernel's Requires hold; half the rotary dims divide by `A::COUNT`.
        #[inline(always)]
        unsafe fn rotate<A: Access>(&self) {
            let half = self.args.rotary_dims / 2;
            for_each_of(self.args.heads + self.args.kv_heads, half / A::COUNT, |head, at| {
                let (at, from) = (at * A::COUNT, self.head(head));
                let (low, high) = (u64::from(at) * 2, u64::from(at + half) * 2);
                // SAFETY: both accesses are within the head's rotary dims, and this thread's own.
                unsafe {
                    let (cos, sin): (A, A) = (global::load(self.cos + low), global::load(self.sin + low));
                    let (rotated_low, rotated_high) =
                        A::rotate(global::load(from + low), global::load(from + high), cos, sin);
                    match head.checked_sub(self.args.heads) {
                        Some(key) => {
                            let to = self.row_in(self.args.k_pool.addr, key);
                            self.store(to, at, rotated_low, self.k_scale);
                            self.store(to, at + half, rotated_high, self.k_scale);
                        }
                        None => {
                            global::store(from + low, rotated_low);
                            global::store(from + high, rotated_high);
                        }
                    }
                }
            });
        }

        /// Copies what no rotation reaches of the keys into their page.
        ///
        /// # Safety
        /// As for [`Token::rotate`].
        #[inline(always)]
        unsafe fn append_plain_keys<A: Access>(&self) {
            let plain = (self.args.head_dim - self.args.rotary_dims) / A::COUNT;
            for_each_of(self.args.kv_heads, plain, |head, at| {
                let at = self.args.rotary_dims + at * A::COUNT;
                // SAFETY: the access is within the head, and this thread's own.
                unsafe {
                    let key: A = global::load(self.head(self.args.heads + head) + u64::from(at) * 2);
                    self.store(self.row_in(self.args.k_pool.addr, head), at, key, self.k_scale);
                }
            });
        }

        /// Copies the values into their page.
        ///
        /// # Safety
        /// The kernel's Requires hold.
        #[inline(always)]
        unsafe fn append_values(&self) {
            let first = self.args.heads + self.args.kv_heads;
            for_each_of(self.args.kv_heads, self.args.head_dim / row::GROUP, |head, group| {
                // SAFETY: the group is within the head, and this thread's own.
                unsafe {
                    let value: [u32; 4] = global::load(row::at(self.head(first + head), group));
                    let to = self.row_in(self.args.v_pool.addr, head);
                    self.store(to, group * row::GROUP, value, self.v_scale);
                }
            });
        }
    }
}
