//! The way of keys and values through shared memory in `attn_prefill`.
use super::tile::{Sight, buffer_bytes};
use super::{THREADS, row_bytes};
use crate::{PAGE_TOKENS, row};
use cuda_std::barrier::sync_threads;
use cuda_std::cp_async;
use cuda_std::unroll::unroll;

/// `AHEAD + 2` buffers that hold keys and values in turn: page by page, first its keys, then its values.
pub struct Ring<const DIM: u32, const STEPS: usize, const AHEAD: u32> {
    sight: Sight,
    /// The first key of the page to ask for next, and the page's offset in both pools.
    page: u32,
    offset: u64,
    /// Shared address of the first buffer, and of those to fill and to use next.
    start: u32,
    fill: u32,
    take: u32,
}

impl<const DIM: u32, const STEPS: usize, const AHEAD: u32> Ring<DIM, STEPS, AHEAD> {
    /// A ring at shared address `start` for the keys of `sight`.
    #[inline(always)]
    pub fn new(sight: Sight, start: u32) -> Self {
        let page = sight.first / PAGE_TOKENS * PAGE_TOKENS;
        Ring { sight, page, offset: 0, start, fill: start, take: start }
    }

    /// Asks for the first `AHEAD + 1` buffers.
    ///
    /// # Safety
    /// The whole block comes here.
    #[inline(always)]
    pub unsafe fn fill(&mut self) {
        unroll::<3>(|i| {
            if i as u32 <= AHEAD {
                // SAFETY: nothing uses the buffers yet.
                unsafe { self.ask(i % 2 == 1) };
            }
        });
    }

    /// Waits for the keys, then the values, of the next page, and asks for what comes `AHEAD + 1` buffers later. Gives the
    /// shared address of the first row.
    ///
    /// # Safety
    /// The whole block comes here, done with the buffer it got last; `values` alternates, `false` first.
    #[inline(always)]
    pub unsafe fn next(&mut self, values: bool) -> u32 {
        cp_async::wait::<AHEAD>();
        // SAFETY: behind the barrier all threads' copies have landed, and the buffer used last is free.
        unsafe {
            sync_threads();
            self.ask(values == (AHEAD % 2 == 1));
        }
        let taken = self.take;
        self.take = self.behind(taken);
        taken
    }

    /// Starts the copies of the next page's keys or values, if there is one.
    ///
    /// # Safety
    /// The whole block comes here; the buffer is free.
    #[inline(always)]
    unsafe fn ask(&mut self, values: bool) {
        if self.page < self.sight.end {
            // SAFETY: the page has a key that is wanted.
            unsafe {
                if !values {
                    self.offset = self.sight.pages.offset(self.page);
                }
                let from = self.offset + if values { self.sight.v_pool } else { self.sight.k_pool };
                row::for_each_group::<DIM, STEPS>(THREADS, |row, group| {
                    let at = row::at(from + u64::from(row * DIM * 2), group);
                    self.sight.copy(self.page + row, at, self.fill + row * row_bytes(DIM) + group * 16);
                });
            }
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
        self.fill = self.behind(self.fill);
        if values {
            self.page += PAGE_TOKENS;
        }
    }

    /// The buffer behind the one at `address`.
    #[inline(always)]
    fn behind(&self, address: u32) -> u32 {
        let next = address + buffer_bytes(DIM);
        if next == self.start + (AHEAD + 2) * buffer_bytes(DIM) { self.start } else { next }
    }
}
