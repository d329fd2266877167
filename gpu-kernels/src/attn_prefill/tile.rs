//! The tile of query rows that a block of `attn_prefill` owns, and the buffers that hold such a tile or a page.
use super::{AttnPrefill, THREADS, row_bytes};
use crate::pages::{Pages, first_key};
use crate::{PAGE_TOKENS, TILE_ROWS, row};
use core::num::NonZero;
use cuda_std::{cp_async, global, thread};

/// Bytes of one buffer in shared memory: a tile of queries, a page of keys or of values.
pub const fn buffer_bytes(head_dim: u32) -> u32 {
    TILE_ROWS * row_bytes(head_dim)
}

/// The keys that some row of a tile sees, and where they are.
pub struct Sight {
    pub pages: Pages,
    pub k_pool: u64,
    pub v_pool: u64,
    /// The first key, and the one behind the last. No other is read: its row becomes zeros.
    pub first: u32,
    pub end: u32,
}

impl Sight {
    /// Starts the copy to shared address `to` of 16 bytes of the row of key `key` in the pool at `pool`, `offset` bytes
    /// behind its start.
    ///
    /// # Safety
    /// The group is the key's, and the 16 bytes at `to` are free.
    #[inline(always)]
    pub unsafe fn copy(&self, key: u32, from: u64, to: u32) {
        let bytes = if self.first <= key && key < self.end { 16 } else { 0 };
        // SAFETY: only keys that are wanted are read.
        unsafe { cp_async::copy_16_or_zero(to, from, bytes) };
    }
}

/// Beyond every position, and so small that a position less a later one, modulo 2³², is no less.
const FARTHEST: u32 = 1 << 31;

/// The block's tile of one query head.
pub struct Tile<const DIM: u32> {
    /// A copy: a reference in an `Option` would keep the struct in local memory.
    args: AttnPrefill,
    head: u32,
    /// Keys that a row sees, itself included, as far as there are any.
    pub reach: u32,
    /// First row of the step.
    row: u32,
    rows: u32,
    /// −1 for rows that belong to nobody.
    pub sequence: i32,
}

impl<const DIM: u32> Tile<DIM> {
    /// The tile of this block, the last one first, for query head `head`; none where it has no rows.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &AttnPrefill, head: u32) -> Option<Tile<DIM>> {
        let at = u64::from(args.tiles - 1 - thread::block_idx_y()) * 4;
        // SAFETY: the tile exists.
        let (sequence, row, rows) = unsafe {
            (
                global::load(args.tile_sequence.addr + at),
                global::load(args.tile_row.addr + at),
                global::load(args.tile_rows.addr + at),
            )
        };
        let reach = if args.window == 0 { FARTHEST } else { args.window.min(FARTHEST) };
        (rows > 0).then_some(Tile { args: *args, head, reach, row, rows, sequence })
    }

    /// Position in its sequence of the tile's first row.
    ///
    /// # Safety
    /// `sequence` is the tile's.
    #[inline(always)]
    pub unsafe fn position(&self, sequence: u32) -> u32 {
        let at = u64::from(sequence) * 4;
        // SAFETY: the sequence exists.
        unsafe {
            let length: u32 = global::load(self.args.lengths.addr + at);
            let end: u32 = global::load(self.args.row_start.addr + at + 4);
            length - (end - self.row)
        }
    }

    /// The keys that the tile sees from `position` on, in pools of elements of `element_bytes`; none without a head.
    ///
    /// # Safety
    /// `sequence` is the tile's, `position` that of its first row.
    #[inline(always)]
    pub unsafe fn sight(&self, sequence: u32, position: u32, element_bytes: u32) -> Option<Sight> {
        let args = &self.args;
        let table = args.block_table.addr + u64::from(sequence) * u64::from(args.pages_per_sequence) * 4;
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let kv_head = self.head * args.kv_heads / NonZero::new(args.heads)?;
        let pages = Pages { table, kv_heads: args.kv_heads, kv_head, row_bytes: DIM * element_bytes };
        let (k_pool, v_pool) = (args.k_pool.addr, args.v_pool.addr);
        Some(Sight { pages, k_pool, v_pool, first: first_key(position + 1, args.window), end: position + self.rows })
    }

    /// Whether some row of the tile does not see all keys of the page from `page` on; the first stands at `position`.
    #[inline(always)]
    pub fn is_ragged(&self, position: u32, page: u32) -> bool {
        page + PAGE_TOKENS > position + 1 || page + self.reach < position + self.rows
    }

    /// Starts the copies of the thread's queries to shared addresses `place(row, group)`; rows that the tile lacks become
    /// zeros.
    ///
    /// # Safety
    /// All threads of the head's come here; the buffer is free.
    #[inline(always)]
    pub unsafe fn copy_queries<const STEPS: usize>(&self, place: impl Fn(u32, u32) -> u32) {
        row::for_each_group::<DIM, STEPS>(THREADS, |row, group| {
            let (real, bytes) = if row < self.rows { (row, 16) } else { (0, 0) };
            let row_at = u64::from(self.row + real) * u64::from(self.args.q_stride) + u64::from(self.head * DIM);
            // SAFETY: the row is the tile's.
            unsafe {
                let from = row::at(self.args.q.addr + row_at * 2, group);
                cp_async::copy_16_or_zero(place(row, group), from, bytes);
            }
        });
        cp_async::commit();
    }

    /// Stores `value(row, group)` as the thread's share of the tile's outputs; rows that the tile lacks are not asked for.
    ///
    /// # Safety
    /// All threads of the head's come here.
    #[inline(always)]
    pub unsafe fn store<const STEPS: usize>(&self, value: impl Fn(u32, u32) -> [u32; 4]) {
        row::for_each_group::<DIM, STEPS>(THREADS, |row, group| {
            if row < self.rows {
                let head = u64::from(self.row + row) * u64::from(self.args.heads) + u64::from(self.head);
                // SAFETY: the group is the thread's own.
                unsafe {
                    global::store(row::at(self.args.out.addr + head * u64::from(DIM * 2), group), value(row, group))
                };
            }
        });
    }
}
