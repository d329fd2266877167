//! The split of keys and values that a block of `attn_decode` owns, or two that are neighbours.
use super::form::Form;
use super::layout::{KEPT_BYTES, STAT_BYTES};
use super::layout::{query_bytes, sum_bytes};
use super::rows::KEYS;
use super::{AttnDecode, HEADS_AT_ONCE, MOST_TURNS, THREADS, WARPS};
use crate::cached::Cached;
use crate::pages::{first_key, one_new_row};
use crate::{PAGE_TOKENS, SPLIT_TOKENS, row};
use core::marker::PhantomData;
use core::num::NonZero;
use core::ops::Range;
use cuda_std::shared::{self, Shared};
use cuda_std::{global, thread};

/// The splits of a sequence that hold a key in sight.
#[derive(Clone, Copy)]
pub struct Live {
    pub first: u32,
    pub count: u32,
}

/// The block's split of the keys of one kv head, or two that are neighbours. Keys count from the start of the first.
pub struct Split<const DIM: u32, E, F> {
    /// A copy: a reference in an `Option` would keep the struct in local memory.
    pub args: AttnDecode,
    /// The page with the warp's keys in the first turn; any where they are not live.
    page: u32,
    /// Keys of the sequence, and the token's row.
    pub length: u32,
    row: u32,
    /// Splits that the block works through by turns: 1 or 2.
    pub turns: u32,
    /// Number of the first, from which keys count.
    split: u32,
    /// The live keys.
    first: u32,
    end: u32,
    /// Those from here on come with this launch: one at most, the last.
    pub fresh: u32,
    /// The splits that are to be joined.
    pub live: Live,
    /// The team's query heads.
    pub heads: Heads,
    /// Shared address of what the block keeps there.
    shared: u32,
    kind: PhantomData<(E, F)>,
}

/// A team: the query heads that a block works for.
#[derive(Clone, Copy)]
pub struct Heads {
    /// The first query head, and how many they are.
    pub first: u32,
    pub count: u32,
    /// Their kv head.
    pub kv_head: u32,
    /// Whether the team is its first: it stores a fresh key and its value.
    pub is_first: bool,
}

impl<const DIM: u32, E: Cached, F: Form> Split<DIM, E, F> {
    /// Bytes of a key, or of a value.
    pub const BYTES: u32 = DIM * E::BYTES;
    /// Bytes of a query's row in shared memory.
    pub const QUERY: u32 = query_bytes(DIM);

    /// The splits of this block; none where nothing is to be done.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &AttnDecode) -> Option<Self> {
        let sequence = thread::block_idx_z();
        // SAFETY: the sequence exists.
        unsafe {
            let length: u32 = global::load(args.lengths.addr + u64::from(sequence) * 4);
            let turns = if thread::grid_dim_x() < args.splits { MOST_TURNS } else { 1 };
            // Asked for beside the length, so that it need not wait for it.
            let page = page_of(args, thread::block_idx_x() * turns, 0);
            let row = one_new_row(args.row_start, sequence)?;
            Self::new(args, heads(args)?, [turns, row, length, page])
        }
    }

    /// Leaves in shared memory what [`Split::anew`] needs.
    ///
    /// # Safety
    /// The whole block comes here.
    #[inline(always)]
    pub unsafe fn keep(&self) {
        if thread::thread_idx_x_again() == 0 {
            let Heads { first, count, is_first, .. } = self.heads;
            // SAFETY: nothing else is kept there.
            unsafe {
                self.kept().store(0, [self.turns, self.row, self.length, u32::from(is_first)]);
                self.kept().store(1, [first, count, 0, 0]);
            }
        }
    }

    /// The splits, made anew for what joins them: so they took no registers in between.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier that follows [`Split::keep`].
    #[inline(always)]
    pub unsafe fn anew(&self) -> Option<Self> {
        // SAFETY: the caller's promise.
        let ([turns, row, length, _], [first, count, ..]) = unsafe { (self.kept().load(0), self.kept().load(1)) };
        Self::new(&self.args, Heads { first, count, kv_head: 0, is_first: false }, [turns, row, length, 0])
    }

    #[inline(always)]
    fn new(args: &AttnDecode, heads: Heads, [turns, row, length, page]: [u32; 4]) -> Option<Self> {
        let split = thread::block_idx_x() * turns;
        let (start, tokens) = (split * SPLIT_TOKENS, turns * SPLIT_TOKENS);
        let sight = first_key(length, args.window);
        let first = sight.saturating_sub(start);
        if start >= length || first >= tokens {
            return None;
        }
        let end = (length - start).min(tokens);
        let live = Live { first: sight / SPLIT_TOKENS, count: length.div_ceil(SPLIT_TOKENS) - sight / SPLIT_TOKENS };
        let adds = !args.cos.is_null() && start + end == length;
        Some(Split {
            args: *args,
            page,
            length,
            row,
            turns,
            split,
            first,
            end,
            fresh: if adds { end - 1 } else { end },
            live,
            heads,
            shared: shared::dynamic::<u8>().address(),
            kind: PhantomData,
        })
    }

    /// Whether a query sees `key`.
    #[inline(always)]
    pub fn lives(&self, key: u32) -> bool {
        self.first <= key && key < self.end
    }

    /// Whether the block has a fresh key.
    #[inline(always)]
    pub fn has_fresh(&self) -> bool {
        self.fresh < self.end
    }

    /// The warp's first key in a turn.
    #[inline(always)]
    pub fn base(&self, turn: u32) -> u32 {
        turn * SPLIT_TOKENS + own_warp() * KEYS
    }

    /// The warp's keys of a turn that are live and there already.
    #[inline(always)]
    pub fn older(&self, turn: u32) -> Range<u32> {
        self.first.max(self.base(turn))..self.fresh.min(self.base(turn) + KEYS)
    }

    /// Whether the fresh key is one of the warp's in a turn.
    #[inline(always)]
    pub fn adds(&self, turn: u32) -> bool {
        self.has_fresh() && (self.base(turn)..self.base(turn) + KEYS).contains(&self.fresh)
    }

    /// Whether a turn's split has a live key.
    #[inline(always)]
    pub fn turn_lives(&self, turn: u32) -> bool {
        self.first < (turn + 1) * SPLIT_TOKENS && turn * SPLIT_TOKENS < self.end
    }

    /// Whether the block has all live keys of the sequence.
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        self.split <= self.live.first && self.live.first + self.live.count <= self.split + self.turns
    }

    /// Blocks of the sequence and team that have a live key.
    #[inline(always)]
    pub fn live_blocks(&self) -> u32 {
        // Turns are 1 or 2.
        let block = |split: u32| split >> (self.turns - 1);
        block(self.live.first + self.live.count - 1) - block(self.live.first) + 1
    }

    /// Whether the warp has a live key in a turn.
    #[inline(always)]
    pub fn warp_lives(&self, turn: u32) -> bool {
        self.first < self.base(turn) + KEYS && self.base(turn) < self.end
    }

    /// Offset in both pools of the row of one of the warp's keys in a turn.
    ///
    /// # Safety
    /// The sequence exists.
    #[inline(always)]
    pub unsafe fn offset(&self, turn: u32, key: u32) -> u64 {
        // SAFETY: the caller's promise. The entry is in the L1 cache.
        let page = if turn == 0 { self.page } else { unsafe { page_of(&self.args, self.split, turn) } };
        let head = u64::from(page) * u64::from(self.args.kv_heads) + u64::from(self.heads.kv_head);
        (head * u64::from(PAGE_TOKENS) + u64::from(key % PAGE_TOKENS)) * u64::from(Self::BYTES)
    }

    /// Where the queries are: a row for each head.
    #[inline(always)]
    pub fn queries(&self) -> u32 {
        self.behind_slots()
    }

    /// Where the fresh key is, and its value behind it.
    #[inline(always)]
    pub fn fresh_rows(&self) -> u32 {
        self.shared + KEPT_BYTES
    }

    /// `[HEADS_AT_ONCE, WARPS]`: the largest score of a head among a warp's keys of a turn.
    #[inline(always)]
    pub fn maxima(&self, turn: u32) -> Shared<f32> {
        const { assert!(STAT_BYTES == MOST_TURNS * 2 * HEADS_AT_ONCE * WARPS * 4) };
        Shared::from_address(self.statistics()).offset(turn * 2 * HEADS_AT_ONCE * WARPS)
    }

    /// `[HEADS_AT_ONCE, WARPS]`: the sum of a head's weights of a warp's keys of a turn.
    #[inline(always)]
    pub fn totals(&self, turn: u32) -> Shared<f32> {
        self.maxima(turn).offset(HEADS_AT_ONCE * WARPS)
    }

    /// Where both are, of all turns.
    #[inline(always)]
    pub fn statistics(&self) -> u32 {
        thread::anew(self.fresh_rows()) + 2 * Self::BYTES
    }

    /// Where the warps' slots are.
    #[inline(always)]
    pub fn slots(&self) -> u32 {
        self.fresh_rows() + 2 * Self::BYTES + STAT_BYTES
    }

    /// A warp's slot: values and keys of a turn, or one after the other. In the place of the keys are its sums of the last turn then.
    #[inline(always)]
    pub fn slot(&self, warp: u32) -> u32 {
        self.slots() + warp * F::SLOTS.bytes(DIM, E::FORMAT)
    }

    /// A warp's sums of all heads, [`sum_bytes`] apart: the last turn's are in the keys' place, the first's of two behind the slots.
    #[inline(always)]
    pub fn sums(&self, [turns, turn]: [u32; 2], heads: u32, warp: u32) -> u32 {
        if turn > 0 || turns == 1 {
            self.slot(warp) + F::SLOTS.keys_at(DIM, E::FORMAT)
        } else {
            self.behind_slots() + heads * (Self::QUERY + warp * sum_bytes(DIM))
        }
    }

    /// Turns, the token's row, the keys of the sequence, and whether the team is its first; the first query head and how many they are.
    #[inline(always)]
    pub fn kept(&self) -> Shared<[u32; 4]> {
        Shared::from_address(self.shared)
    }

    /// The team's query heads, as they are kept: so that their number takes no register.
    #[inline(always)]
    pub fn kept_heads(&self) -> u32 {
        // SAFETY: it is there, behind the barrier that follows [`Split::keep`].
        unsafe { self.kept().load(1)[1] }
    }

    /// What is behind the slots.
    #[inline(always)]
    pub fn behind_slots(&self) -> u32 {
        thread::anew(self.slot(WARPS))
    }

    /// Number of a turn's split among those that are to be joined.
    #[inline(always)]
    pub fn number(&self, turn: u32) -> u32 {
        self.split + turn - self.live.first
    }

    /// Index in `stats` of the `number`-th live split of query head `head`.
    #[inline(always)]
    pub fn live_at(&self, head: u32, number: u32) -> u64 {
        let row = u64::from(self.counter() + head) * u64::from(self.args.splits);
        row + u64::from(self.live.first + number)
    }

    /// Index in `counters`.
    #[inline(always)]
    pub fn counter(&self) -> u32 {
        thread::block_idx_z() * self.args.heads + self.heads.first
    }

    /// Address of the token's row of queries, keys and values.
    #[inline(always)]
    pub fn qkv(&self) -> u64 {
        self.args.qkv.addr + u64::from(self.row) * u64::from(self.args.q_stride) * 2
    }

    /// Address of the first query head's output.
    #[inline(always)]
    pub fn out(&self) -> u64 {
        let head = u64::from(self.row) * u64::from(self.args.heads) + u64::from(self.heads.first);
        self.args.out.addr + head * u64::from(DIM) * 2
    }
}

/// The block's team, where it has one.
#[inline(always)]
fn heads(args: &AttnDecode) -> Option<Heads> {
    // A divisor that may be zero would bring a panic, and its message, into the kernel; a division of what is known to be small
    // becomes a call, which takes registers.
    let kv_heads = NonZero::new(args.kv_heads)?;
    let [block, blocks] = [thread::block_idx_y(), thread::grid_dim_y()].map(thread::anew);
    let all = args.heads / kv_heads;
    if blocks == kv_heads.get() {
        return Some(Heads { first: block * all, count: all, kv_head: block, is_first: true });
    }
    let teams = NonZero::new(blocks / kv_heads)?;
    let (kv_head, team, most) = (block / teams, block % teams, (all + teams.get() - 1) / teams);
    let count = most.min(all - team * most);
    Some(Heads { first: kv_head * all + team * most, count, kv_head, is_first: team == 0 })
}

/// The page with the warp's keys of the `turn`-th split from `split` on; the last of the table, where it ends before.
///
/// # Safety
/// The sequence exists.
#[inline(always)]
unsafe fn page_of(args: &AttnDecode, split: u32, turn: u32) -> u32 {
    const { assert!(SPLIT_TOKENS == WARPS * KEYS && PAGE_TOKENS.is_multiple_of(KEYS)) };
    let page = ((split + turn) * SPLIT_TOKENS + own_warp() * KEYS) / PAGE_TOKENS;
    let entry = thread::block_idx_z() * args.pages_per_sequence + page.min(args.pages_per_sequence - 1);
    // SAFETY: the page is the table's.
    unsafe { global::load(args.block_table.addr + u64::from(entry) * 4) }
}

/// Writes the zeros of a pad's heads, where the block is the first of one.
///
/// # Safety
/// The kernel's Requires hold; the block has no split.
#[inline(always)]
pub unsafe fn clear_pad<const DIM: u32>(args: &AttnDecode) {
    let sequence = thread::block_idx_z();
    // SAFETY: the sequence exists; the heads are this block's.
    unsafe {
        let Some(row) = one_new_row(args.row_start, sequence) else { return };
        let length: u32 = global::load(args.lengths.addr + u64::from(sequence) * 4);
        let Some(heads) = heads(args) else { return };
        if length > 0 || thread::block_idx_x() > 0 {
            return;
        }
        let first = u64::from(row) * u64::from(args.heads) + u64::from(heads.first);
        let mut i = thread::thread_idx_x();
        while i < heads.count * (DIM / row::GROUP) {
            global::store(row::at(args.out.addr + first * u64::from(DIM * 2), i), [0_u32; 4]);
            i += THREADS;
        }
    }
}

/// The lane, and the warp, read again where they are needed: they take no registers.
#[inline(always)]
pub fn own_lane() -> u32 {
    thread::thread_idx_x_again() % thread::WARP_SIZE
}

/// See [`own_lane`].
#[inline(always)]
pub fn own_warp() -> u32 {
    thread::thread_idx_x_again() / thread::WARP_SIZE
}
