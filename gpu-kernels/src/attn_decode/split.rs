//! The split of keys and values that a block of `attn_decode` owns.
use super::{AttnDecode, STAT_BYTES, THREADS, WARPS, row_bytes, split_bytes, values_apart};
use crate::cached::Cached;
use crate::pages::{Pages, first_key, one_new_row};
use crate::{Kv, PAGE_TOKENS, Ptr, SPLIT_TOKENS, row};
use core::marker::PhantomData;
use core::num::NonZero;
use cuda_std::shared::{self, Shared};
use cuda_std::{cp_async, global, thread};

/// Keys that a warp scores.
pub const KEYS: u32 = SPLIT_TOKENS / WARPS;
/// A lane's scores: two results of `mma` side by side.
pub type Scores = [[f32; 4]; 2];

/// The splits of a sequence that hold a key in sight.
#[derive(Clone, Copy)]
pub struct Live {
    pub first: u32,
    pub count: u32,
}

/// The block's split of the keys of one kv head. Keys count from its start.
pub struct Split<const DIM: u32, E> {
    /// A copy: a reference in an `Option` would keep the struct in local memory.
    pub args: AttnDecode,
    /// Offsets in both pools of the split's two pages, of the kv head's part of them; anything where a page has no live key.
    pages: [u64; 2],
    pub kv_head: u32,
    /// Position of the token.
    pub position: u32,
    /// Position of key 0.
    start: u32,
    /// The live keys.
    first: u32,
    end: u32,
    /// Those from here on come with this launch: one at most, the last.
    pub fresh: u32,
    /// The splits that are to be joined.
    pub live: Live,
    /// Query heads of the block's team.
    pub group: u32,
    /// The first of them.
    pub first_head: u32,
    /// Whether a fresh key and its value are this block's to store.
    pub stores: bool,
    /// Address of the token's row of queries, keys and values.
    pub qkv: u64,
    /// Address of the first query head's output.
    pub out: u64,
    /// Index in `stats` of the first query head and split 0; the next head is `args.splits` further on.
    pub index: u64,
    /// Index in `counters`.
    pub counter: u64,
    /// Whether the splits of a team are a cluster, which joins them in shared memory.
    pub clustered: bool,
    /// Shared address of what the block keeps there.
    shared: u32,
    element: PhantomData<E>,
}

impl<const DIM: u32, E: Cached> Split<DIM, E> {
    /// Bytes of a key, and of its row in shared memory; the same of a value.
    pub const BYTES: u32 = DIM * E::BYTES;
    pub const ROW: u32 = row_bytes(Self::BYTES);
    /// Bytes of a query's row in shared memory, and of a row of weights.
    pub const QUERY: u32 = row_bytes(DIM * 2);
    pub const WEIGHTS: u32 = row_bytes(SPLIT_TOKENS * 2);
    /// Whether four blocks find room in shared memory, and so are to find it in registers: codes of a split are half the bytes to be
    /// on their way.
    pub const CROWDED: bool = E::BYTES == 1 && 64 <= DIM && DIM <= 128;
    /// Whether values have a place of their own in shared memory.
    pub const APART: bool = values_apart(Self::BYTES);

    /// The split of this block, whose launch is `clustered` or not; none where nothing is to be done.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &AttnDecode, clustered: bool) -> Option<Split<DIM, E>> {
        let (kv_head, sequence) = (thread::block_idx_y(), thread::block_idx_z());
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let all = args.heads / NonZero::new(args.kv_heads)?;
        let teams = NonZero::new(thread::grid_dim_x() / NonZero::new(args.splits)?)?;
        let (split, team) = if clustered {
            // Blocks of a cluster are neighbours.
            let splits = NonZero::new(args.splits)?;
            (thread::block_idx_x() % splits, thread::block_idx_x() / splits)
        } else {
            (thread::block_idx_x() / teams, thread::block_idx_x() % teams)
        };
        let size = (all + teams.get() - 1) / teams;
        // SAFETY: the sequence exists.
        let (row, length, pages) = unsafe {
            let length: u32 = global::load(args.lengths.addr + u64::from(sequence) * 4);
            // Asked for beside the length, so that they need not wait for it.
            let pages = pages(args, sequence, kv_head, split, Self::BYTES);
            (u64::from(one_new_row(args.row_start, sequence)?), length, pages)
        };
        let start = split * SPLIT_TOKENS;
        let sight = first_key(length, args.window);
        let first = sight.saturating_sub(start);
        if start >= length || first >= SPLIT_TOKENS {
            return None;
        }
        let group = size.min(all - team * size);
        let first_head = kv_head * all + team * size;
        let head = u64::from(first_head);
        let (sequence, heads, dim) = (u64::from(sequence), u64::from(args.heads), u64::from(DIM));
        let end = (length - start).min(SPLIT_TOKENS);
        let live = Live { first: sight / SPLIT_TOKENS, count: length.div_ceil(SPLIT_TOKENS) - sight / SPLIT_TOKENS };
        let adds = !args.cos.is_null() && start + end == length;
        Some(Split {
            args: *args,
            pages,
            kv_head,
            position: length - 1,
            start,
            first,
            end,
            fresh: if adds { end - 1 } else { end },
            live,
            group,
            first_head,
            stores: team == 0,
            qkv: args.qkv.addr + row * u64::from(args.q_stride) * 2,
            out: args.out.addr + (row * heads + head) * dim * 2,
            index: (sequence * heads + head) * u64::from(args.splits),
            counter: sequence * heads + head,
            clustered,
            shared: shared::dynamic::<u8>().address(),
            element: PhantomData,
        })
    }

    /// Whether a query sees `key`.
    #[inline(always)]
    pub fn lives(&self, key: u32) -> bool {
        self.first <= key && key < self.end
    }

    /// Whether the block has a fresh key.
    #[inline(always)]
    pub fn adds(&self) -> bool {
        self.fresh < self.end
    }

    /// Offset in both pools of a key's row.
    #[inline(always)]
    pub fn offset(&self, key: u32) -> u64 {
        let page = if key < PAGE_TOKENS { self.pages[0] } else { self.pages[1] };
        page + u64::from(key % PAGE_TOKENS * Self::BYTES)
    }

    /// Asks for the rows of `pool` that are there already, to the place at shared address `to`. Rows that are not live
    /// become zeros; that of a fresh key is left alone.
    ///
    /// # Safety
    /// The whole block comes here; the place is free.
    #[inline(always)]
    pub unsafe fn copy<const SHARES: usize>(&self, pool: Ptr<Kv>, to: u32) {
        const {
            assert!(SHARES as u32 * 32 == Self::BYTES && SPLIT_TOKENS == 2 * PAGE_TOKENS && THREADS == 2 * SPLIT_TOKENS)
        };
        row::for_each_piece::<SHARES>(Self::BYTES / 16, THREADS, |key, piece| {
            let bytes = if self.first <= key && key < self.fresh { 16 } else { 0 };
            if key != self.fresh || !self.adds() {
                // SAFETY: only live keys are read.
                unsafe {
                    let from = row::at(pool.addr + self.offset(key), piece);
                    cp_async::copy_16_or_zero(to + key * Self::ROW + piece * 16, from, bytes);
                }
            }
        });
        cp_async::commit();
    }

    /// Where the keys are: `SPLIT_TOKENS` rows.
    #[inline(always)]
    pub fn keys(&self) -> u32 {
        self.shared
    }

    /// Where the values are.
    #[inline(always)]
    pub fn values(&self) -> u32 {
        self.shared + if Self::APART { split_bytes(Self::BYTES) } else { 0 }
    }

    /// `[HEADS_AT_ONCE, WARPS]`: the largest score of a head among a warp's keys.
    #[inline(always)]
    pub fn maxima(&self) -> Shared<f32> {
        Shared::from_address(self.values() + split_bytes(Self::BYTES))
    }

    /// `[HEADS_AT_ONCE, WARPS]`: the sum of a head's weights of a warp's keys.
    #[inline(always)]
    pub fn totals(&self) -> Shared<f32> {
        Shared::from_address(self.maxima().address() + STAT_BYTES)
    }

    /// Where the queries are: a row for each head.
    #[inline(always)]
    pub fn queries(&self) -> u32 {
        self.totals().address() + STAT_BYTES
    }

    /// Where the rounded weights are, in the queries' place: a row of `SPLIT_TOKENS` for each head.
    #[inline(always)]
    pub fn weights(&self) -> u32 {
        self.queries()
    }

    /// Number of the split among those that are to be joined.
    #[inline(always)]
    pub fn number(&self) -> u32 {
        self.start / SPLIT_TOKENS - self.live.first
    }

    /// Index in `stats` of the split of query head `head`.
    #[inline(always)]
    pub fn at(&self, head: u32) -> u64 {
        self.index + u64::from(head) * u64::from(self.args.splits) + u64::from(self.start / SPLIT_TOKENS)
    }
}

/// Offsets in both pools of the two pages of split `split`, of a kv head's part of them, whose rows have so many bytes; of the last page of the table,
/// where it ends before.
///
/// # Safety
/// The sequence exists.
#[inline(always)]
unsafe fn pages(args: &AttnDecode, sequence: u32, kv_head: u32, split: u32, row_bytes: u32) -> [u64; 2] {
    let table = args.block_table.addr + u64::from(sequence) * u64::from(args.pages_per_sequence) * 4;
    let pages = Pages { table, kv_heads: args.kv_heads, kv_head, row_bytes };
    let last = args.pages_per_sequence - 1;
    // SAFETY: the pages are the table's.
    [2 * split, 2 * split + 1].map(|page| unsafe { pages.offset(page.min(last) * PAGE_TOKENS) })
}

/// Writes the zeros of a pad's heads, where the block is the first of one.
///
/// # Safety
/// The kernel's Requires hold; the block has no split.
#[inline(always)]
pub unsafe fn clear_pad<const DIM: u32>(args: &AttnDecode) {
    let (sequence, kv_head) = (thread::block_idx_z(), thread::block_idx_y());
    // SAFETY: the sequence exists; the heads are this block's.
    unsafe {
        let Some(row) = one_new_row(args.row_start, sequence) else { return };
        let length: u32 = global::load(args.lengths.addr + u64::from(sequence) * 4);
        let Some(kv_heads) = NonZero::new(args.kv_heads) else { return };
        if length > 0 || thread::block_idx_x() > 0 {
            return;
        }
        let group = args.heads / kv_heads;
        let first = u64::from(row) * u64::from(args.heads) + u64::from(kv_head * group);
        let mut i = thread::thread_idx_x();
        while i < group * (DIM / row::GROUP) {
            global::store(row::at(args.out.addr + first * u64::from(DIM * 2), i), [0_u32; 4]);
            i += thread::block_dim_x();
        }
    }
}
