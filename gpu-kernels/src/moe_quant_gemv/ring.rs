//! The way of codes and scales through shared memory where a few warps share a tile: as `quant_gemv`'s, but that a warp takes only the
//! steps that a row has. `quant_gemv` keeps a ring of its own: with this one a lone row of a dense weight took 1 to 2 % longer.
use crate::gemv::{TILE, WARPS};
use crate::moe_gemv::team::Team;
use crate::quant_gemv::forms::{Form, Matrix};
use crate::quant_gemv::ring::{AHEAD, COPIES, EARLY, HALF, Step, Steps, Tiles, copy, place};
use crate::quant_gemv::{PIECES, SLOTS};
use core::marker::PhantomData;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, shared, thread, warp};

/// A warp's ring.
pub struct Ring<F, T> {
    tiles: T,
    /// The rows of codes.
    pub matrix: Matrix,
    /// The warps that share a tile.
    pub team: Team,
    /// Tile to ask for next, how far the one behind it is, and the first piece of the step of it.
    tile: u32,
    apart: u32,
    piece: u32,
    /// Up to this piece all of that tile is there.
    whole: u32,
    /// Of its first row of which this lane copies a part, in both halves, the lane's piece of the first step; and the scales of
    /// that step that it copies.
    codes: [u64; 2],
    scaled: u64,
    /// Shared address of the ring, and of the slots to fill and to use next.
    start: u32,
    fill: u32,
    take: u32,
    kind: PhantomData<F>,
}

impl<F: Form, T: Tiles> Ring<F, T> {
    /// Bytes of a slot.
    const SLOT: u32 = TILE * (PIECES * 16 + F::SCALES);
    /// Columns of a step.
    pub const STEP: u32 = PIECES * (128 / F::BITS);
    /// Bytes of all rings of a block.
    pub const ALL: u32 = WARPS * SLOTS * Self::SLOT;
    /// Rows from one of a lane's copies to the next.
    const APART: u32 = thread::WARP_SIZE / PIECES;

    /// The warp's ring, with the first `STEPS` on their way; of the warp's tiles the first, and how far each is from the next.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here.
    #[inline(always)]
    pub unsafe fn begun<const STEPS: usize>(tiles: T, matrix: Matrix, team: Team, own: (u32, u32)) -> Self {
        let mut ring = Ring::empty(tiles, matrix, team, own);
        // SAFETY: the slots are free.
        unsafe { ring.fill::<STEPS>() };
        ring
    }

    #[inline(always)]
    fn empty(tiles: T, matrix: Matrix, team: Team, (tile, apart): (u32, u32)) -> Self {
        let start = shared::dynamic::<u8>().address() + thread::warp_id() * SLOTS * Self::SLOT;
        let (piece, whole, codes, scaled, kind) = (team.rank * PIECES, 0, [0; 2], 0, PhantomData);
        let (fill, take) = (start, start);
        let mut ring = Ring { tiles, matrix, team, tile, apart, piece, whole, codes, scaled, start, fill, take, kind };
        ring.find_rows();
        ring
    }

    /// Asks for the first steps behind the first [`EARLY`].
    ///
    /// # Safety
    /// It comes once, before a step is taken.
    #[inline(always)]
    pub unsafe fn fill_up(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.fill::<{ AHEAD - EARLY }>() };
    }

    /// Asks for so many of the first steps.
    ///
    /// # Safety
    /// The slots are free.
    #[inline(always)]
    unsafe fn fill<const STEPS: usize>(&mut self) {
        unroll::<STEPS>(
            #[inline(always)]
            |_| {
                // SAFETY: the caller's promise.
                unsafe { self.ask() };
                self.fill += Self::SLOT;
            },
        );
    }

    /// The row of a tile of which this lane copies scales, and their 16 bytes.
    #[inline(always)]
    fn scaled() -> (u32, u32) {
        let pieces = if F::SCALES > 16 { F::SCALES / 16 } else { 1 };
        (thread::lane_id() / pieces, thread::lane_id() % pieces)
    }

    /// Finds the rows of the tile to ask for.
    #[inline(always)]
    fn find_rows(&mut self) {
        self.whole = if self.tiles.has_all(self.tile) { self.matrix.pieces } else { 0 };
        let at = |row: u32, ahead: u32| {
            self.matrix.codes + u64::from(row) * u64::from(self.matrix.row_bytes) + u64::from(ahead)
        };
        let (own, piece) = (thread::lane_id() / PIECES, thread::lane_id() % PIECES);
        self.codes = self.tiles.rows(self.tile, own).map(|row| at(row, piece * 16));
        if F::SCALES > 0 {
            let (row, piece) = Self::scaled();
            let [low, high] = self.tiles.rows(self.tile, row % HALF);
            self.scaled = at(if row % TILE < HALF { low } else { high }, (self.matrix.pieces + piece) * 16);
        }
    }

    /// Starts the copies of the codes of the next step. With `CHECKED`, what is not there is not read, and zero.
    ///
    /// # Safety
    /// The slot is free; without `CHECKED`, all of the step is there.
    #[inline(always)]
    unsafe fn copy_codes<const CHECKED: bool>(&self, slot: u32) {
        let (own, piece) = (thread::lane_id() / PIECES, thread::lane_id() % PIECES);
        unroll::<2>(
            #[inline(always)]
            |half| {
                unroll::<COPIES>(
                    #[inline(always)]
                    |i| {
                        let row = i as u32 * Self::APART;
                        let from = self.codes[half] + u64::from(row * self.matrix.row_bytes + self.piece * 16);
                        let to = slot + place::<F>(half as u32 * HALF + own + row, piece);
                        let there = || {
                            self.piece + piece < self.matrix.pieces && self.tiles.has(self.tile, half as u32, own + row)
                        };
                        // SAFETY: only pieces within rows that are there are read.
                        unsafe { copy::<CHECKED>(to, from, there) };
                    },
                );
            },
        );
    }

    /// Starts the copies of the scales that come with them.
    ///
    /// # Safety
    /// As for [`Ring::copy_codes`].
    #[inline(always)]
    unsafe fn copy_scales<const CHECKED: bool>(&self, slot: u32) {
        if F::SCALES == 0 {
            return;
        }
        let (row, piece) = Self::scaled();
        let from = self.scaled + u64::from(self.piece * (F::SCALES / PIECES));
        let to = slot + TILE * PIECES * 16 + row * F::SCALES + piece * 16;
        let there = || self.piece < self.matrix.pieces && self.tiles.has(self.tile, row / HALF, row % HALF);
        // SAFETY: only scales of rows that are there are read.
        unsafe {
            if !CHECKED {
                cp_async::copy_16_ahead_if(u32::from(row < TILE), to, from);
            } else if row < TILE {
                copy::<true>(to, from, there);
            }
        }
    }

    /// Asks for the next step. A warp that has no step of a tile asks for nothing.
    ///
    /// # Safety
    /// The slot to fill is free.
    #[inline(always)]
    unsafe fn ask(&mut self) {
        // SAFETY: the caller's promise; the condition is the same for the whole warp.
        unsafe {
            if self.piece + PIECES <= self.whole {
                self.copy_codes::<false>(self.fill);
                self.copy_scales::<false>(self.fill);
            } else if self.tiles.has(self.tile, 0, 0) {
                self.copy_codes::<true>(self.fill);
                self.copy_scales::<true>(self.fill);
            }
        }
        self.piece += self.team.warps * PIECES;
        if self.piece >= self.matrix.pieces {
            self.piece = self.team.rank * PIECES;
            self.tile += self.apart;
            self.find_rows();
        }
        cp_async::commit();
    }

    /// The first column of the warp's first step of a tile, and columns from a step of its own to the next.
    #[inline(always)]
    pub fn columns(&self) -> (u32, u32) {
        (self.team.rank * Self::STEP, self.team.warps * Self::STEP)
    }
}

impl<F: Form, T: Tiles> Steps<F> for Ring<F, T> {
    #[inline(always)]
    fn matrix(&self) -> Matrix {
        self.matrix
    }

    #[inline(always)]
    unsafe fn next(&mut self) -> Step<F> {
        cp_async::wait::<{ SLOTS - 2 }>();
        // SAFETY: behind the barrier the lanes' copies have landed, and the slot used last is free.
        unsafe {
            warp::sync();
            self.ask();
        }
        let slot = self.take;
        // The slot in use now is the one to fill next.
        self.fill = slot;
        let next = slot + Self::SLOT;
        self.take = if next == self.start + SLOTS * Self::SLOT { self.start } else { next };
        Step::at(slot)
    }
}
