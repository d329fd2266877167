//! The way of keys and values through shared memory where a team of warpgroups uses them.
use super::super::tile::Sight;
use super::super::widen::widened;
use super::{MATRIX_BYTES, buffer_bytes, place};
use crate::PAGE_TOKENS;
use crate::cached::{Cached, E4m3, Plain};
use core::marker::PhantomData;
use cuda_std::{cp_async, shared, thread, wgmma};

/// Steps that are asked for when the first begins.
const AHEAD: u32 = 2;

/// Steps of a page's keys and the values of the page before: what the products of one turn read.
pub struct Ring<const DIM: u32, E> {
    sight: Sight,
    /// The first key of the page whose keys are asked for next, and of the first page.
    page: u32,
    begin: u32,
    /// Its offset in both pools, and that of the page before.
    offset: u64,
    before: u64,
    /// Shared address of the first buffer, bytes of those of keys, and addresses of those of keys to fill and to use next. Codes fill
    /// one of two places behind the buffers.
    start: u32,
    bytes: u32,
    fill: u32,
    take: u32,
    element: PhantomData<E>,
}

/// A kind of element on its way.
pub trait Way: Cached {
    /// Buffers of keys, and of values, that there are in the room of `stages`.
    fn buffers(stages: u32) -> u32;

    /// Waits for this thread's copies but those of the `LATER` steps asked for last; the products may read behind a barrier what
    /// the others were for.
    ///
    /// # Safety
    /// The whole block comes here, each warpgroup in its turn; all steps before those have landed.
    unsafe fn land<const DIM: u32, const LATER: u32>(ring: &Ring<DIM, Self>);
}

impl Way for Plain {
    #[inline(always)]
    fn buffers(stages: u32) -> u32 {
        stages
    }

    #[inline(always)]
    unsafe fn land<const DIM: u32, const LATER: u32>(_: &Ring<DIM, Plain>) {
        cp_async::wait::<LATER>();
        wgmma::publish();
    }
}

impl Way for E4m3 {
    /// What a step's codes become is written in the turn before, not asked for two turns before: one less.
    #[inline(always)]
    fn buffers(stages: u32) -> u32 {
        stages - 1
    }

    #[inline(always)]
    unsafe fn land<const DIM: u32, const LATER: u32>(ring: &Ring<DIM, E4m3>) {
        cp_async::wait::<LATER>();
        let page = ring.page - (LATER + 1) * PAGE_TOKENS;
        // The places take turns.
        let from = if LATER % 2 == 1 { ring.fill } else { ring.behind_fill() };
        // SAFETY: the buffers of the step that is used next are free, and the codes are this thread's own.
        unsafe {
            if ring.has_keys(page) {
                ring.widen(from, ring.take);
            }
            if ring.has_values(page) {
                ring.widen(from + Ring::<DIM, E4m3>::VALUES, ring.take + ring.bytes);
            }
        }
        wgmma::publish();
    }
}

impl<const DIM: u32, E: Way> Ring<DIM, E> {
    /// Pieces of 16 bytes of a row in its pool.
    const PIECES: u32 = DIM * E::BYTES / 16;
    /// Whether pages are widened.
    const WIDENS: bool = E::BYTES == 1;
    /// Bytes from the codes of a step's keys to those of its values.
    const VALUES: u32 = PAGE_TOKENS * DIM;

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
            let bytes = E::buffers(stages) * buffer_bytes(DIM);
            let fill = if Self::WIDENS { start + 2 * bytes } else { start };
            let (before, element) = (0, PhantomData);
            let mut ring = Ring { sight, page, begin: page, offset, before, start, bytes, fill, take: start, element };
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
            if self.has_keys(self.page) {
                self.copy(self.page, self.sight.k_pool + self.offset, self.fill);
            }
            if self.has_values(self.page) {
                let to = self.fill + if Self::WIDENS { Self::VALUES } else { self.bytes };
                self.copy(self.page - PAGE_TOKENS, self.sight.v_pool + self.before, to);
            }
            // Also where nothing is left to ask for: the waits count groups.
            cp_async::commit();
            self.fill = self.behind_fill();
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
        self.for_each_piece(
            #[inline(always)]
            |row, piece| {
                let at = (row * Self::PIECES + piece) * 16;
                let to = to + if Self::WIDENS { at } else { place(row, piece) };
                // SAFETY: the caller's promise.
                unsafe { self.sight.copy(page + row, from + u64::from(at), to) };
            },
        );
    }

    /// Makes bf16 of the codes of the thread's pieces at shared address `from`, in the buffer at `to`.
    ///
    /// # Safety
    /// The thread's copies have landed; the buffer is free.
    #[inline(always)]
    unsafe fn widen(&self, from: u32, to: u32) {
        self.for_each_piece(
            #[inline(always)]
            |row, piece| {
                // SAFETY: the caller's promise.
                unsafe {
                    let [low, high] = widened(shared::Word::load(from + (row * Self::PIECES + piece) * 16));
                    // Both matrices of a row of 128 lie in the same banks: lanes of one begin with even pieces, of the other with odd.
                    let second = Self::PIECES == 8 && piece >= 4;
                    let [first, then] = if second { [high, low] } else { [low, high] };
                    shared::Word::store(to + place(row, 2 * piece + u32::from(second)), first);
                    shared::Word::store(to + place(row, 2 * piece + u32::from(!second)), then);
                }
            },
        );
    }

    /// Calls `visit(row, piece)` for the thread's pieces of a page.
    #[inline(always)]
    fn for_each_piece(&self, visit: impl Fn(u32, u32)) {
        let (mut row, piece) = (thread::thread_idx_x() / Self::PIECES, thread::thread_idx_x() % Self::PIECES);
        // A multiple of eight rows: the place in its row stays.
        let rows = thread::block_dim_x() / Self::PIECES;
        while row < PAGE_TOKENS {
            visit(row, piece);
            row += rows;
        }
    }

    /// Whether the step at `page` has keys to be scored.
    #[inline(always)]
    fn has_keys(&self, page: u32) -> bool {
        page < self.sight.end
    }

    /// Whether the step at `page` has values to be added.
    #[inline(always)]
    fn has_values(&self, page: u32) -> bool {
        page > self.begin && page < self.sight.end + PAGE_TOKENS
    }

    /// Where the step behind the one asked for next goes.
    #[inline(always)]
    fn behind_fill(&self) -> u32 {
        if !Self::WIDENS {
            return self.behind(self.fill);
        }
        let first = self.start + 2 * self.bytes;
        if self.fill == first { first + 2 * Self::VALUES } else { first }
    }

    /// The buffer behind the one at `address`.
    #[inline(always)]
    fn behind(&self, address: u32) -> u32 {
        let next = address + buffer_bytes(DIM);
        if next == self.start + self.bytes { self.start } else { next }
    }
}
