//! The tile of query rows that a block of `attn_prefill` owns, and the buffers that hold such a tile or a page.
use super::ring::Ring;
use super::{AttnPrefill, THREADS, row_bytes};
use crate::pages::{Pages, first_key};
use crate::{PAGE_TOKENS, TILE_ROWS, row};
use core::num::NonZero;
use cuda_std::{cp_async, global, thread};

/// Bytes of one buffer in shared memory: a tile of queries, a page of keys or of values.
pub const fn buffer_bytes(head_dim: u32) -> u32 {
    TILE_ROWS * row_bytes(head_dim)
}

/// The block's tile of one query head.
pub struct Tile<const DIM: u32> {
    /// A copy: a reference in an `Option` would keep the struct in local memory.
    args: AttnPrefill,
    head: u32,
    /// First row of the step.
    row: u32,
    rows: u32,
    /// −1 for rows that belong to nobody.
    pub sequence: i32,
}

impl<const DIM: u32> Tile<DIM> {
    /// The tile of this block, the last one first; none where it has no rows.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn of_block(args: &AttnPrefill) -> Option<Tile<DIM>> {
        let at = u64::from(args.tiles - 1 - thread::block_idx_y()) * 4;
        // SAFETY: the tile exists.
        let (sequence, row, rows) = unsafe {
            (
                global::load(args.tile_sequence.addr + at),
                global::load(args.tile_row.addr + at),
                global::load(args.tile_rows.addr + at),
            )
        };
        (rows > 0).then_some(Tile { args: *args, head: thread::block_idx_x(), row, rows, sequence })
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

    /// The ring of the keys that the tile sees from `position` on, at shared address `start`; none without a head.
    ///
    /// # Safety
    /// `sequence` is the tile's, `position` that of its first row.
    #[inline(always)]
    pub unsafe fn ring<const STEPS: usize, const AHEAD: u32>(
        &self,
        sequence: u32,
        position: u32,
        start: u32,
    ) -> Option<Ring<DIM, STEPS, AHEAD>> {
        let args = &self.args;
        let table = args.block_table.addr + u64::from(sequence) * u64::from(args.pages_per_sequence) * 4;
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let kv_head = self.head * args.kv_heads / NonZero::new(args.heads)?;
        let pages = Pages { table, kv_heads: args.kv_heads, kv_head, head_dim: DIM };
        let first = first_key(position + 1, args.window);
        Some(Ring::new(pages, [args.k_pool.addr, args.v_pool.addr], first, position + self.rows, start))
    }

    /// Whether some row of the tile does not see all keys of the page from `page` on; the first stands at `position`.
    #[inline(always)]
    pub fn is_ragged(&self, position: u32, page: u32) -> bool {
        let window = self.args.window;
        page + PAGE_TOKENS > position + 1 || (window > 0 && page + window < position + self.rows)
    }

    /// Starts the copy of the queries to the buffer at shared address `to`; rows that the tile lacks become zeros.
    ///
    /// # Safety
    /// The whole block comes here; the buffer is free.
    #[inline(always)]
    pub unsafe fn copy_queries<const STEPS: usize>(&self, to: u32) {
        row::for_each_group::<DIM, STEPS>(THREADS, |row, group| {
            let (real, bytes) = if row < self.rows { (row, 16) } else { (0, 0) };
            let row_at = u64::from(self.row + real) * u64::from(self.args.q_stride) + u64::from(self.head * DIM);
            // SAFETY: the row is the tile's.
            unsafe {
                let from = row::at(self.args.q.addr + row_at * 2, group);
                cp_async::copy_16_or_zero(to + row * row_bytes(DIM) + group * 16, from, bytes);
            }
        });
        cp_async::commit();
    }

    /// Stores `value(row, group)` as the tile's outputs; rows that the tile lacks are not asked for.
    ///
    /// # Safety
    /// The whole block comes here.
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
