//! The way of codes and scales through shared memory in `quant_gemv`.
use core::marker::PhantomData;

use super::forms::{Form, Matrix};
use super::{PIECES, SLOTS};
use crate::gemv::stream::Overlap;
use crate::gemv::{TILE, WARPS};
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, shared, thread, warp};

/// Steps on their way.
pub const AHEAD: usize = SLOTS as usize - 1;
/// Of those, how many a product of one token row asks for before the kernel in front has ended: the row comes behind all that was asked for
/// before it.
pub const EARLY: usize = 1;
/// Copies of a lane for a half of a tile.
pub const COPIES: usize = PIECES as usize / 4;
/// Rows of half a tile.
pub const HALF: u32 = TILE / 2;

/// The tiles of a product: 16 rows of a weight each, in two halves of eight neighbours.
pub trait Tiles: Copy {
    /// The numbers of row `row` of both halves of a tile; of what is not there, anything.
    fn rows(&self, tile: u32, row: u32) -> [u32; 2];

    /// Whether row `row` of half `half` of a tile is there.
    fn has(&self, tile: u32, half: u32, row: u32) -> bool;

    /// Whether all of them are.
    fn has_all(&self, tile: u32) -> bool;
}

/// What gives a warp the steps of its tiles, one after the other.
pub trait Steps<F> {
    /// The rows of codes.
    fn matrix(&self) -> Matrix;

    /// Waits for the next step, and asks for the one that is `SLOTS − 1` behind it.
    ///
    /// # Safety
    /// The whole warp comes here, done with the step that it got last.
    unsafe fn next(&mut self) -> Step<F>;
}

/// The first piece of a step of the warp of a rank.
#[inline(always)]
fn first_piece(rank: u32, step: u32) -> u32 {
    (step * WARPS + rank) * PIECES
}

/// The first column of that step.
#[inline(always)]
pub fn first_column<F: Form>(rank: u32, step: u32) -> u32 {
    first_piece(rank, step) * (128 / F::BITS)
}

/// The rank of a warp in the next tile: the steps of all tiles are dealt out in turn.
#[inline(always)]
pub fn rank_behind(rank: u32, odd_steps: u32) -> u32 {
    (rank + WARPS - odd_steps) % WARPS
}

/// A warp's ring, where all warps of the block share a tile. With `DEALT` the steps of all tiles are dealt out in turn, and what has no
/// columns is not asked for; without it, a warp has the same steps of every tile, and what is not there is zero.
pub struct Ring<F, T, const DEALT: bool> {
    tiles: T,
    /// The rows of codes.
    pub matrix: Matrix,
    /// Steps of a warp in a tile.
    pub steps: u32,
    /// Tile and step to ask for next, and the warp's rank in the tile: which of its steps is the warp's first.
    tile: u32,
    step: u32,
    rank: u32,
    /// If the steps are dealt out, those of a tile that some warps have and others have not: the next tile's go on behind them.
    pub odd_steps: u32,
    /// Of that tile, the first row of which this lane copies a part, in both halves, and the row of which it copies scales.
    codes: [u64; 2],
    scaled: u64,
    /// Shared address of the ring, and of the slots to fill and to use next.
    start: u32,
    fill: u32,
    take: u32,
    kind: PhantomData<F>,
}

impl<F: Form, T: Tiles, const DEALT: bool> Ring<F, T, DEALT> {
    /// Bytes of a slot.
    const SLOT: u32 = TILE * (PIECES * 16 + F::SCALES);
    /// Bytes of all rings of a block.
    pub const ALL: u32 = WARPS * SLOTS * Self::SLOT;
    /// Rows from one of a lane's copies to the next.
    const APART: u32 = thread::WARP_SIZE / PIECES;

    /// The warp's ring, with the first `STEPS` on their way, when the `overlap` lets the product go on.
    ///
    /// # Safety
    /// The kernel's Requires hold, weights are nobody's output, and which they are is constant; the whole block comes here.
    #[inline(always)]
    pub unsafe fn new<const STEPS: usize>(tiles: T, matrix: Matrix, overlap: Overlap) -> Self {
        // SAFETY: the caller's promise.
        overlap.begin(|| unsafe { Ring::begun::<STEPS>(tiles, matrix) })
    }

    /// As [`Ring::new`], without the wait.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here.
    #[inline(always)]
    unsafe fn begun<const STEPS: usize>(tiles: T, matrix: Matrix) -> Self {
        let mut ring = Ring::empty(tiles, matrix);
        // SAFETY: the slots are free.
        unsafe { ring.fill::<STEPS>() };
        ring
    }

    #[inline(always)]
    fn empty(tiles: T, matrix: Matrix) -> Self {
        let start = shared::dynamic::<u8>().address() + thread::warp_id() * SLOTS * Self::SLOT;
        let (steps, tile) = (matrix.pieces.div_ceil(WARPS * PIECES), thread::block_idx_x());
        let (step, rank) = (0, thread::warp_id());
        let odd_steps = if DEALT { matrix.pieces.div_ceil(PIECES) % WARPS } else { 0 };
        let (codes, scaled, fill, take, kind) = ([0; 2], 0, start, start, PhantomData);
        let mut ring =
            Ring { tiles, matrix, steps, tile, step, rank, odd_steps, codes, scaled, start, fill, take, kind };
        ring.find_rows();
        ring
    }

    /// Asks for so many of the first steps.
    ///
    /// # Safety
    /// The slots are free.
    #[inline(always)]
    unsafe fn fill<const STEPS: usize>(&mut self) {
        unroll::<STEPS>(
            #[inline(always)]
            // SAFETY: the caller's promise.
            |_| unsafe { self.ask() },
        );
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

    /// The row of a tile of which this lane copies scales, and their 16 bytes.
    #[inline(always)]
    fn scaled() -> (u32, u32) {
        let pieces = if F::SCALES > 16 { F::SCALES / 16 } else { 1 };
        (thread::lane_id() / pieces, thread::lane_id() % pieces)
    }

    /// Finds the rows of the tile to ask for.
    #[inline(always)]
    fn find_rows(&mut self) {
        let at = |row: u32| self.matrix.codes + u64::from(row) * u64::from(self.matrix.row_bytes);
        self.codes = self.tiles.rows(self.tile, thread::lane_id() / PIECES).map(at);
        if F::SCALES > 0 {
            let (row, piece) = Self::scaled();
            let [low, high] = self.tiles.rows(self.tile, row % HALF);
            let behind = (self.matrix.pieces + piece) * 16;
            self.scaled = at(if row % TILE < HALF { low } else { high }) + u64::from(behind);
        }
    }

    /// Starts the copies of the codes of the next step. With `CHECKED`, what is not there is not read, and zero.
    ///
    /// # Safety
    /// The slot is free; without `CHECKED`, all of the step is there.
    #[inline(always)]
    unsafe fn copy_codes<const CHECKED: bool>(&self, slot: u32) {
        let (own, piece) = (thread::lane_id() / PIECES, thread::lane_id() % PIECES);
        let number = self.first_piece() + piece;
        let within = number * 16;
        unroll::<2>(
            #[inline(always)]
            |half| {
                unroll::<COPIES>(
                    #[inline(always)]
                    |i| {
                        let row = i as u32 * Self::APART;
                        let from = self.codes[half] + u64::from(row * self.matrix.row_bytes + within);
                        let to = slot + place::<F>(half as u32 * HALF + own + row, piece);
                        let there = || number < self.matrix.pieces && self.tiles.has(self.tile, half as u32, own + row);
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
        let ((row, piece), first) = (Self::scaled(), self.first_piece());
        if F::SCALES > 0 && row < TILE {
            let from = self.scaled + u64::from(first / PIECES * F::SCALES);
            let to = slot + TILE * PIECES * 16 + row * F::SCALES + piece * 16;
            let there = || first < self.matrix.pieces && self.tiles.has(self.tile, row / HALF, row % HALF);
            // SAFETY: only scales of rows that are there are read.
            unsafe { copy::<CHECKED>(to, from, there) };
        }
    }

    /// Asks for the next step, if it is there.
    ///
    /// # Safety
    /// The slot to fill is free.
    #[inline(always)]
    unsafe fn ask(&mut self) {
        // The same for the whole warp.
        let first = self.first_piece();
        let whole = self.tiles.has_all(self.tile) && first + PIECES <= self.matrix.pieces;
        // SAFETY: the caller's promise.
        unsafe {
            if whole {
                self.copy_codes::<false>(self.fill);
                self.copy_scales::<false>(self.fill);
            } else if (!DEALT || first < self.matrix.pieces) && self.tiles.has(self.tile, 0, 0) {
                self.copy_codes::<true>(self.fill);
                self.copy_scales::<true>(self.fill);
            }
        }
        self.step += 1;
        if self.step == self.steps {
            self.step = 0;
            self.rank = rank_behind(self.rank, self.odd_steps);
            self.tile += thread::grid_dim_x();
            self.find_rows();
        }
        cp_async::commit();
        self.fill = self.behind(self.fill);
    }

    /// The first piece of the step to ask for.
    #[inline(always)]
    fn first_piece(&self) -> u32 {
        first_piece(self.rank, self.step)
    }

    /// The slot behind the one at `slot`.
    #[inline(always)]
    fn behind(&self, slot: u32) -> u32 {
        let next = slot + Self::SLOT;
        if next == self.start + SLOTS * Self::SLOT { self.start } else { next }
    }
}

impl<F: Form, T: Tiles, const DEALT: bool> Steps<F> for Ring<F, T, DEALT> {
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
        let step = Step::at(self.take);
        self.take = self.behind(self.take);
        step
    }
}

/// Starts a copy of 16 bytes; with `CHECKED` of zeros where they are not there.
///
/// # Safety
/// As for [`cp_async::copy_16`]; without `CHECKED`, they are there.
#[inline(always)]
pub unsafe fn copy<const CHECKED: bool>(to: u32, from: u64, there: impl Fn() -> bool) {
    // SAFETY: the caller's promise.
    unsafe {
        if CHECKED {
            cp_async::copy_16_or_zero(to, from, if there() { 16 } else { 0 });
        } else {
            cp_async::copy_16_ahead(to, from);
        }
    }
}

/// Where a row's piece of 16 bytes stands in a slot: neighbours change places from row to row, so that the lanes that read
/// some rows together find them in different banks.
#[inline(always)]
pub fn place<F: Form>(row: u32, piece: u32) -> u32 {
    let rows = 32 / F::WORD_BYTES;
    (row * PIECES + (piece ^ (row % rows * (8 / rows)))) * 16
}

/// A step that has landed.
#[derive(Clone, Copy)]
pub struct Step<F> {
    slot: u32,
    kind: PhantomData<F>,
}

impl<F: Form> Step<F> {
    /// The step in a slot.
    #[inline(always)]
    pub fn at(slot: u32) -> Self {
        Step { slot, kind: PhantomData }
    }

    /// A lane's codes of unit `unit`, of its row in the tile and of the row eight further on.
    ///
    /// # Safety
    /// The step is the one that its ring gave last.
    #[inline(always)]
    pub unsafe fn codes(&self, unit: u32) -> [F::Word; 2] {
        let (row, byte) = (thread::lane_id() / 4, (unit * 4 + thread::lane_id() % 4) * F::WORD_BYTES);
        let at = |row: u32| self.slot + place::<F>(row, byte / 16) + byte % 16;
        // SAFETY: the caller's promise.
        unsafe { [shared::Word::load(at(row)), shared::Word::load(at(row + HALF))] }
    }

    /// The scales of those rows from byte `byte` on.
    ///
    /// # Safety
    /// The step is the one that its ring gave last.
    #[inline(always)]
    pub unsafe fn scales<W: shared::Word>(&self, byte: u32) -> [W; 2] {
        let row = thread::lane_id() / 4;
        let at = |row: u32| self.slot + TILE * PIECES * 16 + row * F::SCALES + byte;
        // SAFETY: the caller's promise.
        unsafe { [shared::Word::load(at(row)), shared::Word::load(at(row + HALF))] }
    }
}
