//! `attn_prefill`: causal attention of the sequences that add several tokens in this step.
//!
//! # Formula
//! Tile i holds rows `tile_row[i] .. + tile_rows[i]` of the step, all of sequence `s = tile_sequence[i]`. Row t of s stands
//! at position `p = lengths[s] − (row_start[s+1] − t)` and sees keys `max(0, p − window + 1) ..= p` (all up to p where
//! `window` is 0). With query head h and kv head `g = h / (heads / kv_heads)`:
//! `out[t, h, :] = r(Σ_j a_j · v[j, g, :] / Σ_j e_j)`, `e_j = e^(scale · q[t, h]·k[j, g] − m)`, `a_j = r(e_j)`, m a running
//! maximum. A tile with sequence −1 writes zeros to its rows. `r` rounds to the activation type. In pools of codes k and v are the
//! codes times `k_scale` and `v_scale`, which multiply sums.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `q` | `[rows, q_stride]` | act | the first `heads·head_dim` of each row |
//! | `k_pool`, `v_pool` | `[pages, kv_heads, PAGE_TOKENS, head_dim]` | kv | holds this step's rows already |
//! | `block_table` | `[sequences, pages_per_sequence]` | i32 | page ids |
//! | `row_start` | `[sequences + 1]` | i32 | first row of each sequence |
//! | `lengths` | `[sequences]` | i32 | keys of each sequence, this step's included |
//! | `tile_sequence`, `tile_row`, `tile_rows` | `[tiles]` | i32 | sequence or −1, first row, rows (1 to TILE_ROWS) |
//! | `out` | `[rows, heads·head_dim]` | act | row-major, written |
//!
//! # Launch
//! A block owns a tile of one query head, each of its four warps 16 rows of it, in `mma` fragments. Pages of keys and
//! values run in turn through a ring of buffers in shared memory, as many ahead as fit, and meet an online softmax in
//! registers; pages that no row of the tile sees are passed over. The last tiles of all heads, which see most, start
//! first, so that the short ones fill the end. One variant per head size: `attn_prefill_128` and so on.
//!
//! On compute capability 9.0 heads of 64 and 128 have a variant of `wgmma`: `attn_prefill_wgmma_128`. A block owns a tile
//! of a team of up to three query heads of one kv head, a warpgroup each, which share the pages in shared memory: as many
//! as leave a block for every multiprocessor. A warpgroup starts the scores of a page and, behind them, the values of the
//! page before, and weighs the one while it multiplies the other. The warpgroups take turns at that, so that the tensor
//! core has one's products while the others weigh. A team changes no bit. On an H200, 24 heads of 128 take 14, 54 and
//! 745 µs for 512, 2 048 and 8 192 tokens (with `mma` 17, 96 and 1 365), heads of 64 10, 41 and 558 (11, 54, 711).
//!
//! Where `kv` is FP8, pages of codes are copied to places of their own in shared memory; who copied a piece widens it to where the
//! tensor core looks for it: `attn_prefill_fp8_128`, `attn_prefill_fp8_wgmma_128` and so on. On an H100, 24 heads of 128 take 79 µs
//! for 2 048 tokens (in bf16 58).
//!
//! # Requires
//! `head_dim` one of [`crate::HEAD_DIMS`]; `heads` divisible by `kv_heads`; `q`, pools and `out` 16-byte aligned, `q_stride`
//! divisible by 8; page ids inside the pools; `scale` above 0; `k_scale`, `v_scale` as of `attn_decode`.
//!
//! # Moves
//! Queries and outputs, the keys and values of each sequence, all once.
//!
//! # Numerics
//! Scores, sums and outputs accumulate in f32; e_j is rounded to the activation type before it meets the values (d = 4),
//! its sum is not. c = 16. The reference sums by splits of SPLIT_TOKENS keys, counted from position 0, exactly as
//! `attn_decode` does: on the CPU a prompt's chunks change no bit.
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, HEAD_DIMS, Kernel, Kv, KvFormat, Launch, Ptr, StepShape, TILE_ROWS};

#[cfg(target_arch = "nvptx64")]
mod entry;
#[cfg(target_arch = "nvptx64")]
mod ring;
#[cfg(target_arch = "nvptx64")]
mod softmax;
#[cfg(target_arch = "nvptx64")]
mod tile;
#[cfg(target_arch = "nvptx64")]
mod wgmma;
#[cfg(target_arch = "nvptx64")]
mod widen;

/// Threads that share a tile of one head: a warp for every 16 rows of it. On compute capability 9.0 they are a warpgroup.
const THREADS: u32 = TILE_ROWS * 2;
/// Most warpgroups of a block: with more, none would have the registers that it needs.
const MOST_IN_TEAM: u32 = 3;

/// Pages of keys or values that may be on their way while one is used; one more buffer is being asked for. The sum keeps
/// a block within the 99 KB that compute capability 8.6 offers.
const fn ahead(head_dim: u32, kv: KvFormat) -> u32 {
    match (head_dim, kv) {
        (192, KvFormat::Act) | (256, KvFormat::Fp8) => 1,
        (256, KvFormat::Act) => 0,
        _ => 2,
    }
}

/// The entries of `mma` for the sizes of [`HEAD_DIMS`].
const ENTRIES: [&str; HEAD_DIMS.len()] = [
    "attn_prefill_32",
    "attn_prefill_64",
    "attn_prefill_96",
    "attn_prefill_128",
    "attn_prefill_192",
    "attn_prefill_256",
];
/// The same for pools of codes.
const FP8_ENTRIES: [&str; HEAD_DIMS.len()] = [
    "attn_prefill_fp8_32",
    "attn_prefill_fp8_64",
    "attn_prefill_fp8_96",
    "attn_prefill_fp8_128",
    "attn_prefill_fp8_192",
    "attn_prefill_fp8_256",
];

/// Whether a warp keeps its queries in registers; beside the outputs of a head of 256 they find no room and stay in
/// shared memory.
const fn queries_in_registers(head_dim: u32) -> bool {
    head_dim < 256
}

/// Bytes from one row of a buffer to the next: 16 more than it holds, so that the eight rows that `ldmatrix` reads at
/// once lie in different banks.
const fn row_bytes(head_dim: u32) -> u32 {
    head_dim * 2 + 16
}

/// Buffers of keys, and of values, of a team: two more than the steps that its members may lie apart. A head alone is at
/// one step, and two blocks of it fit a multiprocessor. In place of the last, codes have two places of half the size, where they are
/// until they are widened.
const fn stages(team: u32) -> u32 {
    if team == 1 { 3 } else { 4 }
}

kernel_args! {
    /// Arguments of `attn_prefill`.
    pub struct AttnPrefill {
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
        /// `[tiles]`: sequence, or −1 for rows to fill with zeros.
        pub tile_sequence: Ptr<i32>,
        /// `[tiles]`: first row of the step.
        pub tile_row: Ptr<i32>,
        /// `[tiles]`: rows, 0 to TILE_ROWS.
        pub tile_rows: Ptr<i32>,
        /// `[rows, heads·head_dim]`, written.
        pub out: Ptr<Act>,
        /// Tiles of the bucket.
        pub tiles: u32,
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
        /// What an element of the pools is.
        pub kv: KvFormat,
        /// What keys are divided by; 1 where they are kept as they are.
        pub k_scale: f32,
        /// The same of values.
        pub v_scale: f32,
    }
}

impl Kernel for AttnPrefill {
    const NAME: &'static str = "attn_prefill";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.tiles > 0 && self.heads > 0 && self.kv_heads > 0 => "at least one tile and one head",
            HEAD_DIMS.contains(&self.head_dim) => "head_dim 32, 64, 96, 128, 192 or 256",
            self.heads.is_multiple_of(self.kv_heads) => "heads divisible by kv_heads",
            self.q_stride.is_multiple_of(8) => "q_stride divisible by 8",
            self.scale.is_sign_positive() && self.scale.is_normal() => "scale above 0",
            self.kv.takes([self.k_scale, self.v_scale]) => "scales of 1e-18 to 1e18, and 1 where nothing is divided",
        }
    }

    fn launch(&self, device: &DeviceInfo) -> Launch {
        match (self.head_dim, self.kv) {
            (64, KvFormat::Act) if device.has_wgmma() => self.by_teams("attn_prefill_wgmma_64", device),
            (128, KvFormat::Act) if device.has_wgmma() => self.by_teams("attn_prefill_wgmma_128", device),
            (64, KvFormat::Fp8) if device.has_wgmma() => self.by_teams("attn_prefill_fp8_wgmma_64", device),
            (128, KvFormat::Fp8) if device.has_wgmma() => self.by_teams("attn_prefill_fp8_wgmma_128", device),
            _ => self.by_heads(),
        }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let (heads, kv_heads) = (u64::from(self.heads), u64::from(self.kv_heads));
        let prefills = shape.sequences.iter().filter(|s| s.new_tokens > 1);
        let per_sequence = prefills.map(|s| {
            let (new, length) = (u64::from(s.new_tokens), u64::from(s.length));
            4 * heads * new + 2 * u64::from(self.kv.bytes()) * kv_heads * length
        });
        per_sequence.sum::<u64>() * u64::from(self.head_dim)
    }

    fn flops(&self, shape: &StepShape) -> u64 {
        4 * shape.query_key_pairs(|s| s.new_tokens > 1) * u64::from(self.heads) * u64::from(self.head_dim)
    }
}

impl AttnPrefill {
    /// A block for each tile of a head.
    fn by_heads(&self) -> Launch {
        let entries = match self.kv {
            KvFormat::Act => &ENTRIES,
            KvFormat::Fp8 => &FP8_ENTRIES,
        };
        let symbol = entries[HEAD_DIMS.iter().position(|dim| *dim == self.head_dim).unwrap_or(0)];
        let (head_dim, ahead) = (self.head_dim, ahead(self.head_dim, self.kv));
        let queries = u32::from(!queries_in_registers(head_dim));
        let row = match self.kv {
            KvFormat::Act => (ahead + 2 + queries) * row_bytes(head_dim),
            KvFormat::Fp8 => (1 + queries) * row_bytes(head_dim) + (ahead + 1) * head_dim,
        };
        Launch {
            grid: [self.heads, self.tiles, 1],
            shared_bytes: TILE_ROWS * row,
            overlaps: true,
            ..Launch::linear(symbol, 1, THREADS)
        }
    }

    /// A block for each tile of some heads that share a kv head.
    fn by_teams(&self, symbol: &'static str, device: &DeviceInfo) -> Launch {
        let team = self.team(device);
        Launch {
            grid: [self.heads / team, self.tiles, 1],
            shared_bytes: (team + 2 * stages(team)) * TILE_ROWS * self.head_dim * 2,
            overlaps: true,
            ..Launch::linear(symbol, 1, team * THREADS)
        }
    }

    /// The heads of a team: as many as leave a block for every multiprocessor.
    fn team(&self, device: &DeviceInfo) -> u32 {
        let sharing = self.heads / self.kv_heads;
        let blocks = |team: u32| self.heads / team * self.tiles;
        let fits = |team: &u32| sharing.is_multiple_of(*team) && blocks(*team) >= device.multiprocessors;
        (1..=MOST_IN_TEAM).rev().find(fits).unwrap_or(1)
    }
}
