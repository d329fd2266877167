//! The way of keys and values through shared memory where a team of warpgroups uses them.
use super::super::tile::Sight;
use super::{MATRIX_BYTES, buffer_bytes, place};
use crate::PAGE_TOKENS;
use crate::row::GROUP;
use cuda_std::{cp_async, thread, wgmma};

/// Steps that are asked for when the first begins.
const AHEAD: u32 = 2;

/// Steps of a page's keys and the values of the page before: what the products of one turn read.
pub struct Ring<const DIM: u32> {
    sight: Sight,
    /// The first key of the page whose keys are asked for next, and of the first page.
    page: u32,
    begin: u32,
    /// Its offset in both pools, and that of the page before.
    offset: u64,
    before: u64,
    /// Shared address of the first buffer, bytes of those of keys, and addresses of those of keys to fill and to use next.
    start: u32,
    bytes: u32,
    fill: u32,
    take: u32,
}

impl<const DIM: u32> Ring<DIM> {
    /// A ring of `stages` steps at shared address `start`, which asks for the first of them.
    ///
    /// # Safety
    /// The whole block comes here; the buffers are free.
    #[inline(always)]
    pub unsafe fn fill(sight: Sight, start: u32, stages: u32) -> Self {
        let page = sight.first / PAGE_TOKENS * PAGE_TOKENS;
        // SAFETY: a tile sees a key; nothing uses the buffers yet.
        unsafe {
            let offset = sight.pages.offset(page);
            let bytes = stages * buffer_bytes(DIM);
            let mut ring = Ring { sight, page, begin: page, offset, before: 0, start, bytes, fill: start, take: start };
            let mut step = 0;
            while step < AHEAD {
                ring.ask();
                step += 1;
            }
            ring
        }
    }

    /// The descriptions of the next step's keys and values.
    #[inline(always)]
    pub fn next(&mut self) -> (u64, u64) {
        let keys = self.take;
        self.take = self.behind(keys);
        (wgmma::describe(keys, 0), wgmma::describe(keys + self.bytes, MATRIX_BYTES))
    }

    /// Starts the copies of the step behind those asked for, as far as there is one.
    ///
    /// # Safety
    /// The whole block comes here, each warpgroup behind its turn, which says that the buffers are free.
    #[inline(always)]
    pub unsafe fn ask(&mut self) {
        // SAFETY: a page is asked for only if it has a key that is wanted.
        unsafe {
            if self.page < self.sight.end {
                self.copy(self.page, self.sight.k_pool + self.offset, self.fill);
            }
            if self.page > self.begin && self.page < self.sight.end + PAGE_TOKENS {
                let to = self.fill + self.bytes;
                self.copy(self.page - PAGE_TOKENS, self.sight.v_pool + self.before, to);
            }
            // Also where nothing is left to ask for: the waits count groups.
            cp_async::commit();
            self.fill = self.behind(self.fill);
            self.before = self.offset;
            self.page += PAGE_TOKENS;
            // Asked for a turn ahead, so that nobody waits for it.
            if self.page < self.sight.end {
                self.offset = self.sight.pages.offset(self.page);
            }
        }
    }

    /// Starts the thread's copies of the page of keys from `page` on, at address `from` in its pool, to a buffer.
    ///
    /// # Safety
    /// The whole block comes here; the buffer is free.
    #[inline(always)]
    unsafe fn copy(&self, page: u32, from: u64, to: u32) {
        let groups = DIM / GROUP;
        let (mut row, group) = (thread::thread_idx_x() / groups, thread::thread_idx_x() % groups);
        // A multiple of eight rows: the place in its row stays.
        let rows = thread::block_dim_x() / groups;
        while row < PAGE_TOKENS {
            let at = from + u64::from((row * groups + group) * 16);
            // SAFETY: the caller's promise.
            unsafe { self.sight.copy(page + row, at, to + place(row, group)) };
            row += rows;
        }
    }

    /// The buffer behind the one at `address`.
    #[inline(always)]
    fn behind(&self, address: u32) -> u32 {
        let next = address + buffer_bytes(DIM);
        if next == self.start + self.bytes { self.start } else { next }
    }
}

/// Waits for this thread's copies but those of the `LATER` steps asked for last; the products may read them behind a
/// barrier.
#[inline(always)]
pub fn land<const LATER: u32>() {
    cp_async::wait::<LATER>();
    wgmma::publish();
}
