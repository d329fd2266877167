//! The way of weights through shared memory in `gemv`, and of token rows into registers.
use super::{Gemv, SLOTS, TILE, WARPS, slot_bytes};
use crate::activation::SWIGLU;
use crate::row;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, global, grid, shared, thread, warp};

/// Steps on their way.
const AHEAD: usize = SLOTS as usize - 1;

/// The tiles of a product: 16 rows of a weight each, in two halves of eight neighbours.
pub trait Tiles: Copy {
    /// Columns of the weight.
    fn columns(&self) -> u32;

    /// The addresses of row `row` of both halves of a tile; of what is not there, anything.
    fn halves(&self, tile: u32, row: u32) -> [u64; 2];

    /// The number of a tile's first row among the rows of all tiles.
    fn first_row(&self, tile: u32) -> u32;

    /// Rows from the first of a tile to the first of its half `half`.
    fn ahead(&self, half: u32) -> u32;

    /// Rows of all tiles: what is not below is not there.
    fn rows(&self) -> u32;
}

/// With gates, a gate's partner is `width` further on, and eight in the tile.
impl Tiles for Gemv {
    #[inline(always)]
    fn columns(&self) -> u32 {
        self.k
    }

    #[inline(always)]
    fn halves(&self, tile: u32, row: u32) -> [u64; 2] {
        let own = tile * self.tile_width() + row;
        let partner = own + if self.activation == SWIGLU { self.width() } else { TILE / 2 };
        [own, partner].map(|row| self.w.addr + u64::from(row) * u64::from(self.k) * 2)
    }

    #[inline(always)]
    fn first_row(&self, tile: u32) -> u32 {
        tile * self.tile_width()
    }

    #[inline(always)]
    fn ahead(&self, half: u32) -> u32 {
        // With gates both halves end where the gates do.
        if self.activation == SWIGLU { 0 } else { half * TILE / 2 }
    }

    #[inline(always)]
    fn rows(&self) -> u32 {
        self.width()
    }
}

/// How a product overlaps with the kernels in front of it and behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// It waits for the kernel in front, and the next one starts beside it.
    Waits,
    /// The next one starts when that wait is over.
    HoldsNext,
    /// It runs beside the kernel in front, and ends behind it.
    RunsBeside,
}

impl Overlap {
    /// That of a product.
    #[inline(always)]
    pub fn of(args: &Gemv) -> Overlap {
        match (args.x_settled != 0, args.holds_next != 0) {
            (true, _) => Overlap::RunsBeside,
            (_, true) => Overlap::HoldsNext,
            _ => Overlap::Waits,
        }
    }

    /// Calls `begin`, which asks for the first weights; behind it, what the kernel in front gives is there, if it is waited for.
    #[inline(always)]
    pub fn begin<T>(self, begin: impl FnOnce() -> T) -> T {
        if self != Overlap::HoldsNext {
            grid::launch_dependents();
        }
        let begun = begin();
        if self != Overlap::RunsBeside {
            grid::wait_for_dependencies();
        }
        // For one that holds the next; of the others it repeats the first.
        grid::launch_dependents();
        begun
    }
}

/// A warp's ring: a step is `QUADS · 32` columns of a tile.
pub struct Stream<const QUADS: usize, T> {
    tiles: T,
    /// Steps of a warp in a tile.
    pub steps: u32,
    /// Tile and step to ask for next.
    tile: u32,
    step: u32,
    /// Of that tile, the first row of which this lane copies a part, in both halves.
    weights: [u64; 2],
    /// Shared address of the ring, and of the slots to fill and to use next.
    start: u32,
    fill: u32,
    take: u32,
}

impl<const QUADS: usize, T: Tiles> Stream<QUADS, T> {
    /// Bytes of a slot.
    const SLOT: u32 = slot_bytes(QUADS as u32);
    /// Lanes that copy a row's share of a step, which lies side by side, 16 bytes each.
    const LANES: u32 = lanes(QUADS);
    /// Rows from one of a lane's copies to the next.
    const APART: u32 = thread::WARP_SIZE / Self::LANES;

    /// The warp's ring, with its first steps on their way, when the `overlap` lets the product go on.
    ///
    /// # Safety
    /// The kernel's Requires hold, weights are nobody's output, and which they are is constant; the whole block comes here.
    #[inline(always)]
    pub unsafe fn new(tiles: T, overlap: Overlap) -> Self {
        // SAFETY: the caller's promise.
        overlap.begin(|| unsafe { Stream::begun(tiles) })
    }

    /// As [`Stream::new`], without the wait.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here.
    #[inline(always)]
    pub unsafe fn begun(tiles: T) -> Self {
        let mut stream = Stream::empty(tiles);
        // SAFETY: the slots are free.
        unsafe { stream.fill() };
        stream
    }

    #[inline(always)]
    fn empty(tiles: T) -> Self {
        let start = shared::dynamic::<u8>().address() + thread::warp_id() * SLOTS * Self::SLOT;
        let steps = tiles.columns().div_ceil(WARPS * QUADS as u32 * 32);
        let tile = thread::block_idx_x();
        let mut stream = Stream { tiles, steps, tile, step: 0, weights: [0; 2], start, fill: start, take: start };
        stream.find_rows();
        stream
    }

    /// Asks for the first steps.
    ///
    /// # Safety
    /// The slots are free.
    #[inline(always)]
    unsafe fn fill(&mut self) {
        unroll::<AHEAD>(
            #[inline(always)]
            // SAFETY: the caller's promise.
            |_| unsafe { self.ask() },
        );
    }

    /// Finds the rows of the tile to ask for.
    #[inline(always)]
    fn find_rows(&mut self) {
        self.weights = self.tiles.halves(self.tile, thread::lane_id() / Self::LANES);
    }

    /// Starts the copies of the weight's part of the next step; behind the last tile nothing is live, and nothing read.
    ///
    /// # Safety
    /// The slot is free.
    #[inline(always)]
    unsafe fn copy_weights(&self, slot: u32) {
        let k = self.tiles.columns();
        let (own, piece) = (thread::lane_id() / Self::LANES, thread::lane_id() % Self::LANES);
        let group = self.first_group(self.step) + piece;
        let first = self.tiles.first_row(self.tile) + own;
        unroll::<2>(
            #[inline(always)]
            |half| {
                let ahead = self.tiles.ahead(half as u32);
                unroll::<QUADS>(
                    #[inline(always)]
                    |i| {
                        let row = i as u32 * Self::APART;
                        let live = first + ahead + row < self.tiles.rows() && group < k / row::GROUP;
                        let from = row::at(self.weights[half] + u64::from(row * k) * 2, group);
                        let to = slot + place(QUADS, half as u32 * TILE / 2 + own + row, piece);
                        // SAFETY: only groups within live rows are read.
                        unsafe { cp_async::copy_16_or_zero(to, from, if live { 16 } else { 0 }) };
                    },
                );
            },
        );
    }

    /// Goes on to the step behind.
    #[inline(always)]
    fn advance(&mut self) {
        self.step += 1;
        if self.step == self.steps {
            self.step = 0;
            self.tile += thread::grid_dim_x();
            self.find_rows();
        }
    }

    /// Asks for the next step's weights.
    ///
    /// # Safety
    /// The slot to fill is free.
    #[inline(always)]
    unsafe fn ask(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.copy_weights(self.fill) };
        self.advance();
        cp_async::commit();
        self.fill = self.behind(self.fill);
    }

    /// The first group of a step of this warp.
    #[inline(always)]
    pub fn first_group(&self, step: u32) -> u32 {
        (step * WARPS + thread::warp_id()) * Self::LANES
    }

    /// Waits for the next step, and asks for the one that is `AHEAD` behind it.
    ///
    /// # Safety
    /// The whole warp comes here, done with the step that it got last.
    #[inline(always)]
    pub unsafe fn next(&mut self) -> Step<QUADS> {
        cp_async::wait::<{ SLOTS - 2 }>();
        // SAFETY: behind the barrier the lanes' copies have landed, and the slot used last is free.
        unsafe {
            warp::sync();
            self.ask();
        }
        let step = Step { slot: self.take };
        self.take = self.behind(self.take);
        step
    }

    /// The slot behind the one at `slot`.
    #[inline(always)]
    fn behind(&self, slot: u32) -> u32 {
        let next = slot + Self::SLOT;
        if next == self.start + SLOTS * Self::SLOT { self.start } else { next }
    }
}

/// Lanes that copy a row's share of a step.
const fn lanes(quads: usize) -> u32 {
    quads as u32 * 4
}

/// Where a row's piece of 16 bytes stands in a slot: in every other row four neighbours change places with the next
/// four, so that the lanes that read two rows together find them in different banks.
#[inline(always)]
fn place(quads: usize, row: u32, piece: u32) -> u32 {
    (row * lanes(quads) + (piece ^ (row % 2 * 4))) * 16
}

/// A step that has landed.
pub struct Step<const QUADS: usize> {
    slot: u32,
}

impl<const QUADS: usize> Step<QUADS> {
    /// Eight columns of a lane's row in the tile and of the row eight further on, of quad `quad` of the step.
    ///
    /// # Safety
    /// The step is the one that its stream gave last.
    #[inline(always)]
    pub unsafe fn weights(&self, quad: usize) -> [[u32; 4]; 2] {
        let (row, piece) = (thread::lane_id() / 4, quad as u32 * 4 + thread::lane_id() % 4);
        let at = |row: u32| self.slot + place(QUADS, row, piece);
        // SAFETY: the caller's promise.
        unsafe { [shared::Word::load(at(row)), shared::Word::load(at(row + TILE / 2))] }
    }
}

/// Where a lane finds its columns of its token row: row `lane / 4` of eight.
#[derive(Clone, Copy)]
pub struct Tokens {
    /// The address of the row.
    pub row: u64,
    /// Its groups of eight elements.
    pub groups: u32,
}

impl Tokens {
    /// The rows of a product; of the last row, where there are fewer than eight.
    #[inline(always)]
    pub fn new(args: &Gemv) -> Tokens {
        let token = (thread::lane_id() / 4).min(args.rows - 1);
        Tokens { row: args.x.addr + u64::from(token) * u64::from(args.k) * 2, groups: args.k / row::GROUP }
    }

    /// Asks for the lane's columns of the `QUADS` quads from group `first` on; zeros behind the row.
    ///
    /// # Safety
    /// The token rows are written.
    #[inline(always)]
    pub unsafe fn load<const QUADS: usize>(self, first: u32) -> [[u32; 4]; QUADS] {
        let mut tokens = [[0; 4]; QUADS];
        unroll::<QUADS>(
            #[inline(always)]
            |quad| {
                let group = first + quad as u32 * 4 + thread::lane_id() % 4;
                if group < self.groups {
                    // SAFETY: the group is within the row.
                    tokens[quad] = unsafe { global::load(row::at(self.row, group)) };
                }
            },
        );
        tokens
    }
}
