//! The way of keys and values through shared memory in `attn_prefill`.
use super::tile::{Sight, buffer_bytes};
use super::widen::widened;
use super::{THREADS, queries_in_registers, row_bytes};
use crate::cached::Cached;
use crate::{PAGE_TOKENS, row};
use core::marker::PhantomData;
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, shared};

/// `AHEAD + 2` buffers that hold keys and values in turn: page by page, first its keys, then its values. Of pages of codes only one
/// is a buffer, in front of the others, which hold codes: there a page is widened when its turn comes.
pub struct Ring<const DIM: u32, const SHARES: usize, const AHEAD: u32, E> {
    sight: Sight,
    /// The first key of the page to ask for next, and the page's offset in both pools.
    page: u32,
    offset: u64,
    /// Shared address of the first buffer, and of those to fill and to use next.
    start: u32,
    fill: u32,
    take: u32,
    element: PhantomData<E>,
}

impl<const DIM: u32, const SHARES: usize, const AHEAD: u32, E: Cached> Ring<DIM, SHARES, AHEAD, E> {
    /// Whether pages are widened.
    const WIDENS: bool = E::BYTES == 1;
    /// Bytes of a row in the buffers that are copied to, and how many there are.
    const ROW: u32 = if Self::WIDENS { DIM } else { row_bytes(DIM) };
    const BUFFERS: u32 = if Self::WIDENS { AHEAD + 1 } else { AHEAD + 2 };
    /// Bytes of one of them, of those in front of them, and of queries that find no room in registers.
    const BYTES: u32 = PAGE_TOKENS * Self::ROW;
    const QUERIES: u32 = if queries_in_registers(DIM) { 0 } else { buffer_bytes(DIM) };
    const FRONT: u32 = if Self::WIDENS { buffer_bytes(DIM) + Self::QUERIES } else { 0 };

    /// Where the queries are in shared memory from `start` on: in a buffer of their own, or in the one that is filled last.
    #[inline(always)]
    pub fn queries(start: u32) -> u32 {
        start
            + match Self::WIDENS {
                true => Self::QUERIES,
                false if queries_in_registers(DIM) => (AHEAD + 1) * buffer_bytes(DIM),
                false => (AHEAD + 2) * buffer_bytes(DIM),
            }
    }

    /// A ring at shared address `start` for the keys of `sight`.
    #[inline(always)]
    pub fn new(sight: Sight, start: u32) -> Self {
        let page = sight.first / PAGE_TOKENS * PAGE_TOKENS;
        let start = start + Self::FRONT;
        Ring { sight, page, offset: 0, start, fill: start, take: start, element: PhantomData }
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
        // SAFETY: behind the barrier all threads' copies have landed, and the buffer used last is free. Codes are widened by who
        // copied them, and by nobody else; behind another barrier, all are.

        unsafe {
            sync_threads();
            let taken = self.take;
            self.take = self.behind(taken);
            if !Self::WIDENS {
                self.ask(values == (AHEAD % 2 == 1));
                return taken;
            }
            let wide = self.start - Self::FRONT;
            row::for_each_piece::<SHARES>(DIM / 16, THREADS, |row, piece| {
                let codes = shared::Word::load(taken + row * Self::ROW + piece * 16);
                let to = wide + row * row_bytes(DIM) + piece * 32;
                let [low, high] = widened(codes);
                shared::Word::store(to, low);
                shared::Word::store(to + 16, high);
            });
            self.ask(values == (AHEAD % 2 == 1));
            sync_threads();
            wide
        }
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
                row::for_each_piece::<SHARES>(DIM * E::BYTES / 16, THREADS, |row, piece| {
                    let at = row::at(from + u64::from(row * DIM * E::BYTES), piece);
                    self.sight.copy(self.page + row, at, self.fill + row * Self::ROW + piece * 16);
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
        let next = address + Self::BYTES;
        if next == self.start + Self::BUFFERS * Self::BYTES { self.start } else { next }
    }
}
