//! `attn_decode`: attention of the sequences that add one token, from the row that their product gave to the output.
//!
//! # Formula
//! For every sequence s with one new row `t = row_start[s]` and `n = lengths[s] > 0`: where `cos` is not null, with
//! `c = cos[n − 1, j]`, `s = sin[n − 1, j]`, R = `rotary_dims`, `0 ≤ j < R/2`, for query and key heads v of row t:
//! `v[j] = r(r(v[j]·c) + r(−v[j + R/2]·s)); v[j + R/2] = r(r(v[j + R/2]·c) + r(v[j]·s))`, dims from R on stay, and
//! the key and the value become row n − 1 of the sequence's pages, where `kv` is FP8 as `rope_kv_append` makes codes of them. Then, for every split i of SPLIT_TOKENS keys that holds
//! a key in `max(0, n − window) .. n` (from 0 where `window` is 0), with j over those keys of the split, query head h and
//! kv head `g = h / (heads / kv_heads)`:
//! `m_i = max_j scale · q[h]·k[j, g]`, `e_j = e^(scale · q[h]·k[j, g] − m_i)`, `l_i = Σ_j e_j`, `o_i = Σ_j r(e_j) · v[j, g]`,
//! rounded as Numerics says, and with `M = max_i m_i`: `out[t, h, :] = r(Σ_i e^(m_i − M) · o_i / Σ_i e^(m_i − M) · l_i)`.
//! Where a sequence has several such splits, `partial[s, h, i, :] = o_i` and `stats[s, h, i] = (m_i, l_i)` remain, but for splits that
//! a block or a cluster has all of, which leave neither.
//! Zeros in row t where `lengths[s]` is 0; nothing for other sequences. `r` rounds to the activation type. In pools of codes k and v
//! are the codes times `k_scale` and `v_scale`.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `qkv` | `[rows, q_stride]` | act | queries, keys, values side by side; the queries alone where `cos` is null |
//! | `cos`, `sin` | `[context, rotary_dims/2]` | act | by position; null: the queries are rotated, the pools hold row n − 1 |
//! | `k_pool`, `v_pool` | `[pages, kv_heads, PAGE_TOKENS, head_dim]` | kv | row n − 1 is written where `cos` is not null |
//! | `block_table` | `[sequences, pages_per_sequence]` | i32 | page ids |
//! | `row_start` | `[sequences + 1]` | i32 | first row of each sequence |
//! | `lengths` | `[sequences]` | i32 | keys of each sequence, this step's included; 0 marks a pad |
//! | `partial` | `[sequences, heads, splits, head_dim]` | f32 | written where splits are joined through memory |
//! | `stats` | `[sequences, heads, splits, 2]` | f32 | maximum and sum, written as `partial` |
//! | `counters` | `[sequences, heads]` | i32 | 0 before and after; a team has one; not used in clusters |
//! | `out` | `[rows, heads·head_dim]` | act | row-major, written |
//!
//! # Launch
//! A block owns a split of one kv head of one sequence, or two that are neighbours, and serves a team of query heads of that group, 8 at
//! most. Larger groups have several teams, whose blocks for a split are one row of the grid apart: as long as the keys and values of a row
//! fit L2, what one reads is there for the others. Each of its eight warps has 16 of the
//! keys to itself: it asks for them and their values, before it waits for the kernel in front where `cos` is not null, into shared memory of its own,
//! scores them for all heads on the tensor core, weighs them by their own maximum and adds up the values. So nothing waits for
//! another warp until all have left their sums, in the place of their
//! keys; then the block joins those. Each block rotates its queries for itself; those with the last key rotate that too, and
//! the first team stores key and value. A block counts itself when its split is stored, and the last one of a sequence and team
//! joins the splits, in an order that does not depend on which block that is; a split that is alone needs neither.
//!
//! Of more than two blocks to a multiprocessor (five where there are more than 2 splits, four with codes), each takes two splits, one
//! after the other, where shared memory has room for that: their sums stay apart, and are joined as those of two blocks are. Where
//! more blocks are left than find room at once, values of heads of 128 are asked for when the keys are done with, into their place
//! (`attn_decode_compact_128`), if more find room then: four instead of two or three for teams of up to four heads in bf16 on an H100 or H200.
//! Larger heads always do so. Codes take less room than the sums of eight query heads, which take their place: teams of up to four heads of
//! 128 have smaller slots (`attn_decode_few_fp8_128`). All launches give the same bits.
//!
//! From compute capability 9.0 on, where a launch has 2 to 8 splits and at most two blocks to a multiprocessor, the splits of a
//! sequence and team are a cluster. Each live one adds some columns: the others store sums, maxima and totals right into its shared
//! memory, where an `mbarrier` counts the bytes. So no block waits for a fence, nor for a barrier behind its stores, and the one at
//! which the blocks of a cluster let each other know that they are there is over before. Blocks of splits that are not live end
//! at once. The join is in the same order as the other one, and gives the same bits.
//! One variant per head size: `attn_decode_128` and so on, `attn_decode_cluster_128`, and `attn_decode_fp8_128` for pools of codes:
//! those land as they are, so that up to four blocks find room, and become f16 in registers, two of them by one instruction from compute
//! capability 9.0 on. What they meet is f16 too: weights, and queries times a power of two of each head's own. Threads of their own make
//! codes of a fresh key and value.
//!
//! # Requires
//! `head_dim` one of [`crate::HEAD_DIMS`]; `heads` divisible by `kv_heads`, at most 64 of them to one; `rotary_dims` even
//! and at most `head_dim`; `qkv`, `cos`, `sin`, pools, `partial`, `stats` and `out` 16-byte aligned, `q_stride` divisible
//! by 8; scales 1, or 1e-18 to 1e18 where `kv` is FP8; no sequence longer than `splits · SPLIT_TOKENS`; no page of a row n − 1 in two sequences. The kernel in
//! front, with which it may overlap, writes neither `lengths`, `row_start` and `block_table`, nor the pools if `cos` is not
//! null.
//!
//! # Moves
//! The live keys and values, the new rows and the outputs; 8 bytes per element of `partial` and `stats` where a sequence
//! has several of more than 8 splits. On an H200, in a graph of launches that overlap, in µs: 32 query heads on 8 of 128, one
//! sequence of 129 keys in a cluster 3.1, 32 of them 8.1 (2.2 TB/s), 64 13.0; 24 on 8, 32 sequences of 3 969 keys 131 (4.2 TB/s), with
//! codes 97 before these became f16 (that step went from 5.26 to 4.89 ms since); from call to call up to 5 % else.
//!
//! # Numerics
//! Rotation as in `rope_kv_append`. Scores and sums in f32. Each 16 keys have weights by their own maximum, which are rounded to the
//! activation type before they meet the values; their unrounded sum and the values' sums are multiplied by what that maximum is off
//! m_i, and added in the keys' order, by fused multiply-add: l_i and o_i. Splits are added likewise; the sum of their totals goes by
//! every 32nd, or every so many as shared memory has room for. One rounding at the store. c = 16, d = 2. A code is exact in f16,
//! and its scale multiplies sums. A query's elements are exact beside it from 2⁻³¹ of the head's largest on, and weights, rounded to f16, are
//! nearer to e_j from 2⁻³¹ on than the activation type has them, for which d allows; below, both are within 2⁻³⁹ of the largest.
use crate::gemv::SYSTEM_BYTES;
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, HEAD_DIMS, Kernel, Kv, KvFormat, Launch, Ptr, SPLIT_TOKENS, StepShape};
use layout::{JOIN_BYTES, KEPT_BYTES, STAT_BYTES, Slots, query_bytes, sent_bytes, sum_bytes};

#[cfg(target_arch = "nvptx64")]
mod cluster;
#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod form;
#[cfg(target_arch = "nvptx64")]
mod join;
mod layout;
#[cfg(target_arch = "nvptx64")]
mod rotate;
#[cfg(target_arch = "nvptx64")]
mod rows;
#[cfg(target_arch = "nvptx64")]
mod score;
#[cfg(target_arch = "nvptx64")]
mod split;
#[cfg(target_arch = "nvptx64")]
mod warps;

/// Query heads that a block works on together: the columns of an `mma`.
const HEADS_AT_ONCE: u32 = 8;

/// Threads of a block; in a turn each of its warps has an equal share of the keys.
const THREADS: u32 = 256;
const WARPS: u32 = THREADS / 32;

/// Most splits that a block works through by turns.
const MOST_TURNS: u32 = 2;

/// The teams that share the query heads of a kv head, as even as can be, and the heads of all but the last.
const fn teams(group: u32) -> (u32, u32) {
    let teams = group.div_ceil(HEADS_AT_ONCE);
    (teams, group.div_ceil(teams))
}

/// Most splits that are a cluster, of as many blocks as every chip with clusters runs together.
const MOST_CLUSTERED: u32 = 8;

/// Blocks to a multiprocessor up to which each works through one split; where there are more, through two. Of two splits none is left to
/// join then, and of many, a block is less often new to its work.
const fn most_single(kv: KvFormat, splits: u32) -> u32 {
    match kv {
        KvFormat::Act if splits == 2 => 2,
        KvFormat::Act => 5,
        KvFormat::Fp8 => 4,
    }
}

/// Heads of which values take the keys' place where so more blocks find room. Larger ones always do, of smaller ones enough find room.
const COMPACT_DIM: u32 = 128;

/// Most blocks to a multiprocessor: as many as registers are shared out for, and of two turns in bf16 fewer.
const fn most_resident(kv: KvFormat, turns: u32, compact: bool) -> u32 {
    match kv {
        KvFormat::Act if !compact => 4 - turns,
        _ => 4,
    }
}

/// Most turns of a block that leaves some of a sequence's splits to others. Two in bf16 with values apart are for 2 splits alone: of more
/// there are many blocks wherever turns are taken, and values take the keys' place.
const fn most_partial_turns(head_dim: u32, kv: KvFormat, compact: bool) -> u32 {
    match kv {
        KvFormat::Act if head_dim == COMPACT_DIM && !compact => 1,
        _ => MOST_TURNS,
    }
}

/// Most blocks to a multiprocessor of a launch in clusters.
const CLUSTERED_BLOCKS: u32 = 2;

/// The entries for the sizes of [`HEAD_DIMS`].
const ENTRIES: [&str; HEAD_DIMS.len()] =
    ["attn_decode_32", "attn_decode_64", "attn_decode_96", "attn_decode_128", "attn_decode_192", "attn_decode_256"];
/// Those of [`COMPACT_DIM`] where values take the keys' place, and of pools of codes.
const COMPACT_ENTRIES: [&str; 2] = ["attn_decode_compact_128", "attn_decode_compact_fp8_128"];
/// That of [`COMPACT_DIM`], small teams, and pools of codes.
const FEW_ENTRY: &str = "attn_decode_few_fp8_128";
/// [`ENTRIES`] for pools of codes.
const FP8_ENTRIES: [&str; HEAD_DIMS.len()] = [
    "attn_decode_fp8_32",
    "attn_decode_fp8_64",
    "attn_decode_fp8_96",
    "attn_decode_fp8_128",
    "attn_decode_fp8_192",
    "attn_decode_fp8_256",
];

/// [`ENTRIES`] whose splits are clusters.
const CLUSTER_ENTRIES: [&str; HEAD_DIMS.len()] = [
    "attn_decode_cluster_32",
    "attn_decode_cluster_64",
    "attn_decode_cluster_96",
    "attn_decode_cluster_128",
    "attn_decode_cluster_192",
    "attn_decode_cluster_256",
];
/// The same for pools of codes.
const CLUSTER_FP8_ENTRIES: [&str; HEAD_DIMS.len()] = [
    "attn_decode_cluster_fp8_32",
    "attn_decode_cluster_fp8_64",
    "attn_decode_cluster_fp8_96",
    "attn_decode_cluster_fp8_128",
    "attn_decode_cluster_fp8_192",
    "attn_decode_cluster_fp8_256",
];

kernel_args! {
    /// Arguments of `attn_decode`.
    pub struct AttnDecode {
        /// `[rows, q_stride]`: queries, keys and values side by side.
        pub qkv: Ptr<Act>,
        /// `[context, rotary_dims/2]`; null where the queries are rotated and the pools hold the new rows already.
        pub cos: Ptr<Act>,
        /// As `cos`.
        pub sin: Ptr<Act>,
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
        /// `[sequences, heads, splits, head_dim]`, written where splits are joined through memory.
        pub partial: Ptr<f32>,
        /// `[sequences, heads, splits, 2]`, written where splits are joined through memory.
        pub stats: Ptr<f32>,
        /// `[sequences, heads]`: 0 between launches.
        pub counters: Ptr<i32>,
        /// `[rows, heads·head_dim]`, written.
        pub out: Ptr<Act>,
        /// Sequences of the bucket.
        pub sequences: u32,
        /// Splits of the bucket's depth class.
        pub splits: u32,
        /// Elements from one row of `qkv` to the next.
        pub q_stride: u32,
        /// Query heads.
        pub heads: u32,
        /// Key and value heads.
        pub kv_heads: u32,
        /// Width of a head.
        pub head_dim: u32,
        /// How many leading dims of a head are rotated; 0 for none.
        pub rotary_dims: u32,
        /// Row stride of `block_table`.
        pub pages_per_sequence: u32,
        /// Keys that a query sees, itself included; 0 for all.
        pub window: u32,
        /// Factor of the scores.
        pub scale: f32,
        /// What an element of the pools is.
        pub kv: KvFormat,
        /// What keys are divided by; 1 where they are kept as they are.
        pub k_scale: f32,
        /// The same of values.
        pub v_scale: f32,
    }
}

impl AttnDecode {
    /// The entry.
    fn symbol(&self, clustered: bool, slots: Slots) -> &'static str {
        if slots == Slots::OF_FEW {
            return FEW_ENTRY;
        }
        if slots.compact && !self.is_wide() {
            return COMPACT_ENTRIES[usize::from(self.kv == KvFormat::Fp8)];
        }
        let entries = match (self.kv, clustered) {
            (KvFormat::Act, false) => &ENTRIES,
            (KvFormat::Act, true) => &CLUSTER_ENTRIES,
            (KvFormat::Fp8, false) => &FP8_ENTRIES,
            (KvFormat::Fp8, true) => &CLUSTER_FP8_ENTRIES,
        };
        entries[HEAD_DIMS.iter().position(|dim| *dim == self.head_dim).unwrap_or(0)]
    }

    /// Whether a slot with keys and values side by side would be too large.
    const fn is_wide(&self) -> bool {
        self.head_dim > 128
    }

    /// Splits that a block works through, outside clusters, and its slots, where a split is for `of_split` blocks.
    fn turns(&self, heads: u32, of_split: u32, device: &DeviceInfo) -> (u32, Slots) {
        let takes =
            self.splits > 1 && self.splits * of_split > most_single(self.kv, self.splits) * device.multiprocessors;
        let (turns, slots) = self.form(heads, MOST_TURNS, of_split, device);
        let may = self.splits <= turns || turns <= most_partial_turns(self.head_dim, self.kv, slots.compact);
        if takes && may && self.resident(heads, turns, slots, device) > 0 {
            (turns, slots)
        } else {
            self.form(heads, 1, of_split, device)
        }
    }

    /// So many turns, and the slots with which more of the blocks find room.
    fn form(&self, heads: u32, turns: u32, of_split: u32, device: &DeviceInfo) -> (u32, Slots) {
        let apart = self.apart(heads);
        let [beside, compact] = [apart, Slots::COMPACT].map(|slots| self.resident(heads, turns, slots, device));
        let blocks = self.splits.div_ceil(turns) * of_split;
        let crowded = self.head_dim == COMPACT_DIM && blocks > beside * device.multiprocessors && compact > beside;
        (turns, if self.is_wide() || crowded { Slots::COMPACT } else { apart })
    }

    /// Slots with values beside keys, of a team of so many heads.
    fn apart(&self, heads: u32) -> Slots {
        let few = self.kv == KvFormat::Fp8 && self.head_dim == COMPACT_DIM && heads <= Slots::OF_FEW.heads;
        if few { Slots::OF_FEW } else { Slots::APART }
    }

    /// Blocks that find room on a multiprocessor.
    fn resident(&self, heads: u32, turns: u32, slots: Slots, device: &DeviceInfo) -> u32 {
        let in_all = device.shared_bytes_per_block + SYSTEM_BYTES;
        let room = in_all / (self.joining_bytes(heads, turns, slots) + SYSTEM_BYTES);
        room.min(most_resident(self.kv, turns, slots.compact))
    }

    /// Shared bytes of a block that joins splits, if any are left to join.
    fn joining_bytes(&self, heads: u32, turns: u32, slots: Slots) -> u32 {
        let splits = if self.splits > turns { self.splits.min(32) } else { 0 };
        let sums = (splits * heads * self.head_dim * 4).min(JOIN_BYTES);
        self.shared_bytes(heads, turns, slots).max(self.before_slots() + sums)
    }

    /// Shared bytes of a block that serves `heads` query heads: what is in front of the slots of the warps, those, queries, and sums of
    /// all turns but the last.
    const fn shared_bytes(&self, heads: u32, turns: u32, slots: Slots) -> u32 {
        let sums = (turns - 1) * WARPS * sum_bytes(self.head_dim);
        let slots = WARPS * slots.bytes(self.head_dim, self.kv);
        self.before_slots() + slots + heads * (query_bytes(self.head_dim) + sums)
    }

    /// Shared bytes of what is kept, a fresh key and its value, and statistics.
    const fn before_slots(&self) -> u32 {
        KEPT_BYTES + 2 * self.head_dim * self.kv.bytes() + STAT_BYTES
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
            self.rotary_dims.is_multiple_of(2) && self.rotary_dims <= self.head_dim => "rotary_dims even and at most head_dim",
            self.cos.is_null() == self.sin.is_null() => "both cos and sin, or neither",
            self.q_stride.is_multiple_of(8) => "q_stride divisible by 8",
            self.kv.takes([self.k_scale, self.v_scale]) => "scales of 1e-18 to 1e18, and 1 where nothing is divided",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        let (teams, heads) = teams(self.heads / self.kv_heads);
        let of_split = teams * self.kv_heads * self.sequences;
        // Of more blocks than run at once, those that are free to run alone are through sooner.
        let clusters = device.clusters && self.splits * of_split <= CLUSTERED_BLOCKS * device.multiprocessors;
        let clustered = clusters && (2..=MOST_CLUSTERED).contains(&self.splits);
        let clustered_slots = if self.is_wide() { Slots::COMPACT } else { Slots::APART };
        let (turns, slots) = if clustered { (1, clustered_slots) } else { self.turns(heads, of_split, device) };
        Launch {
            grid: [self.splits.div_ceil(turns), self.kv_heads * teams, self.sequences],
            shared_bytes: if clustered {
                self.shared_bytes(HEADS_AT_ONCE, 1, slots) + sent_bytes(heads, self.head_dim)
            } else {
                self.joining_bytes(heads, turns, slots)
            },
            overlaps: true,
            cluster: if clustered { self.splits } else { 1 },
            ..Launch::linear(self.symbol(clustered, slots), 1, THREADS)
        }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (heads, kv_heads, dim) = (u64::from(self.heads), u64::from(self.kv_heads), u64::from(self.head_dim));
        // Of a key and its value.
        let cached = kv_heads * dim * 2 * u64::from(self.kv.bytes());
        let rotation = if self.cos.is_null() { 0 } else { kv_heads * dim * 4 + u64::from(self.rotary_dims) * 2 };
        let decodes = shape.sequences.iter().filter(|s| s.new_tokens == 1);
        let per_sequence = decodes.map(|s| {
            let keys = u64::from(if self.window == 0 { s.length } else { s.length.min(self.window) });
            let splits = keys.div_ceil(u64::from(SPLIT_TOKENS));
            let joined = if splits > 1 && self.splits > MOST_CLUSTERED { heads * splits * (dim + 2) * 8 } else { 0 };
            keys * cached + heads * dim * 4 + rotation + joined
        });
        per_sequence.sum()
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        4 * shape.query_key_pairs(|s| s.new_tokens == 1) * u64::from(self.heads) * u64::from(self.head_dim)
    }
}
