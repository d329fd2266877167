//! The split of keys and values that a block of `attn_decode` owns.
use super::AttnDecode;
use crate::pages::{Pages, first_key, one_new_row};
use crate::{PAGE_TOKENS, SPLIT_TOKENS, row};
use core::num::NonZero;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{global, thread};

/// Lanes that own a key together.
pub const QUAD: u32 = 4;
/// Eight neighbouring elements.
pub type Group = [u32; 4];

/// The block's split of the keys of one kv head. Keys count from its start.
pub struct Split<const DIM: u32> {
    /// A copy: a reference in an `Option` would keep the struct in local memory.
    pub args: AttnDecode,
    pages: Pages,
    /// Position of key 0.
    start: u32,
    /// The live keys.
    first: u32,
    end: u32,
    /// Query heads.
    pub group: u32,
    /// Address of the first query head.
    pub q: u64,
    /// Index in `stats` of the first query head; the next is `args.splits` further on.
    index: u64,
    /// `[group, SPLIT_TOKENS]`: scores, then weights.
    pub scores: Shared<f32>,
    /// `[SPLIT_TOKENS / VALUE_KEYS, HEADS, DIM]`.
    pub sums: Shared<f32>,
}

impl<const DIM: u32> Split<DIM> {
    /// The split of this block; none where nothing is to be done.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &AttnDecode) -> Option<Split<DIM>> {
        let (split, kv_head, sequence) = (thread::block_idx_x(), thread::block_idx_y(), thread::block_idx_z());
        // SAFETY: the sequence exists.
        let (row, length) = unsafe {
            let length: u32 = global::load(args.lengths.addr + u64::from(sequence) * 4);
            (one_new_row(args.row_start, sequence)?, length)
        };
        let start = split * SPLIT_TOKENS;
        let first = first_key(length, args.window).saturating_sub(start);
        if start >= length || first >= SPLIT_TOKENS {
            return None;
        }
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let group = args.heads / NonZero::new(args.kv_heads)?;
        let head = kv_head * group;
        let table = args.block_table.addr + u64::from(sequence) * u64::from(args.pages_per_sequence) * 4;
        let scores = shared::dynamic();
        Some(Split {
            args: *args,
            pages: Pages { table, kv_heads: args.kv_heads, kv_head, head_dim: DIM },
            start,
            first,
            end: (length - start).min(SPLIT_TOKENS),
            group,
            q: args.q.addr + (u64::from(row) * u64::from(args.q_stride) + u64::from(head * DIM)) * 2,
            index: (u64::from(sequence) * u64::from(args.heads) + u64::from(head)) * u64::from(args.splits)
                + u64::from(split),
            scores,
            sums: scores.offset(group * SPLIT_TOKENS),
        })
    }

    #[inline(always)]
    pub fn lives(&self, key: u32) -> bool {
        self.first <= key && key < self.end
    }

    /// Offset in a pool of key `key`'s row, where one of the `count` keys from `from` on is live; all are of one page.
    ///
    /// # Safety
    /// The split is this block's.
    #[inline(always)]
    unsafe fn rows(&self, from: u32, count: u32) -> u64 {
        if from >= self.end || from + count <= self.first {
            return 0;
        }
        let key = self.start + from;
        // SAFETY: a live key is in that page.
        unsafe { self.pages.offset(key) + u64::from(key % PAGE_TOKENS * DIM * 2) }
    }

    /// The lane's groups of its quad's keys; zeros where a key is not live.
    ///
    /// # Safety
    /// The split is this block's.
    #[inline(always)]
    pub unsafe fn keys<const PIECES: usize, const QUAD_KEYS: usize>(&self) -> [[Group; PIECES]; QUAD_KEYS] {
        let count = QUAD_KEYS as u32 * 8;
        let from = thread::warp_id() * count;
        let mut keys = [[[0; 4]; PIECES]; QUAD_KEYS];
        // SAFETY: only live keys are read.
        unsafe {
            let rows = self.args.k_pool.addr + self.rows(from, count);
            unroll::<QUAD_KEYS>(
                #[inline(always)]
                |i| {
                    let key = quad_key(i);
                    if self.lives(from + key) {
                        let row = rows + u64::from(key * DIM * 2);
                        unroll::<PIECES>(|p| keys[i][p] = global::load_streaming(row::at(row, lane_group(p))));
                    }
                },
            );
        }
        keys
    }

    /// The thread's group of the values of its keys; zeros where a key is not live.
    ///
    /// # Safety
    /// The split is this block's.
    #[inline(always)]
    pub unsafe fn values<const VALUE_KEYS: usize>(&self) -> [Group; VALUE_KEYS] {
        let columns = DIM / row::GROUP;
        let (column, from) = value_share::<DIM, VALUE_KEYS>();
        // SAFETY: only live keys are read; threads behind the last key own none.
        unsafe {
            let rows = row::at(self.args.v_pool.addr, column) + self.rows(from, VALUE_KEYS as u32);
            array(|i| {
                let at = row::at(rows, i as u32 * columns);
                if self.lives(from + i as u32) { global::load_streaming(at) } else { [0; 4] }
            })
        }
    }

    /// Index in `stats` of query head `head`.
    #[inline(always)]
    pub fn at(&self, head: u32) -> u64 {
        self.index + u64::from(head) * u64::from(self.args.splits)
    }
}

/// The quad's `i`-th key among its warp's.
#[inline(always)]
pub fn quad_key(i: usize) -> u32 {
    i as u32 * 8 + thread::lane_id() / QUAD
}

/// The lane's `piece`-th group among a key's.
#[inline(always)]
pub fn lane_group(piece: usize) -> u32 {
    piece as u32 * QUAD + thread::lane_id() % QUAD
}

/// The thread's column of values, in groups, and the first of its keys; threads that have none are behind the last key.
#[inline(always)]
pub fn value_share<const DIM: u32, const VALUE_KEYS: usize>() -> (u32, u32) {
    let columns = DIM / row::GROUP;
    (thread::thread_idx_x() % columns, thread::thread_idx_x() / columns * VALUE_KEYS as u32)
}
