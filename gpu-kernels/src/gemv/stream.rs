//! The way of weights through shared memory in `gemv`, and of token rows into registers.
use super::{Gemv, SLOTS, SWIGLU, TILE, WARPS, slot_bytes};
use crate::row;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, global, grid, shared, thread, warp};

/// Steps on their way.
const AHEAD: usize = SLOTS as usize - 1;

/// A warp's ring: a step is `QUADS · 32` columns of a tile.
pub struct Stream<const QUADS: usize> {
    args: Gemv,
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

impl<const QUADS: usize> Stream<QUADS> {
    /// Bytes of a slot.
    const SLOT: u32 = slot_bytes(QUADS as u32);
    /// Lanes that copy a row's share of a step, which lies side by side, 16 bytes each.
    const LANES: u32 = QUADS as u32 * 4;
    /// Rows from one of a lane's copies to the next.
    const APART: u32 = thread::WARP_SIZE / Self::LANES;

    /// The warp's ring, with its first steps on their way. Behind it, the kernel in front has ended.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here.
    #[inline(always)]
    pub unsafe fn new(args: &Gemv) -> Self {
        let start = shared::dynamic::<u8>().address() + thread::warp_id() * SLOTS * Self::SLOT;
        let steps = args.k.div_ceil(WARPS * QUADS as u32 * 32);
        let tile = thread::block_idx_x();
        let mut stream = Stream { args: *args, steps, tile, step: 0, weights: [0; 2], start, fill: start, take: start };
        stream.find_rows();
        grid::launch_dependents();
        // SAFETY: the slots are free, weights are nobody's output, and all that follows is read behind the wait.
        unsafe {
            unroll::<AHEAD>(
                #[inline(always)]
                |_| stream.ask(),
            );
            grid::wait_for_dependencies();
        }
        stream
    }

    /// The rows of the tile to ask for: with gates, a gate's partner is `width` further on, and eight in the tile.
    #[inline(always)]
    fn find_rows(&mut self) {
        let args = &self.args;
        let own = self.tile * args.tile_width() + thread::lane_id() / Self::LANES;
        let partner = own + if args.activation == SWIGLU { args.width() } else { TILE / 2 };
        self.weights = [own, partner].map(|row| args.w.addr + u64::from(row) * u64::from(args.k) * 2);
    }

    /// Starts the copies of the weight's part of the next step; behind the last tile nothing is live, and nothing read.
    ///
    /// # Safety
    /// The slot is free.
    #[inline(always)]
    unsafe fn copy_weights(&self, slot: u32) {
        let args = &self.args;
        let (own, piece) = (thread::lane_id() / Self::LANES, thread::lane_id() % Self::LANES);
        let group = self.first_group(self.step) + piece;
        let first = self.tile * args.tile_width() + own;
        unroll::<2>(
            #[inline(always)]
            |half| {
                // With gates both halves end where the gates do.
                let ahead = if args.activation == SWIGLU { 0 } else { half as u32 * TILE / 2 };
                unroll::<QUADS>(
                    #[inline(always)]
                    |i| {
                        let row = i as u32 * Self::APART;
                        let live = first + ahead + row < args.width() && group < args.k / row::GROUP;
                        let from = row::at(self.weights[half] + u64::from(row * args.k) * 2, group);
                        let to = slot + Self::place(half as u32 * TILE / 2 + own + row, piece);
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

    /// Where a row's piece of 16 bytes stands in a slot: in every other row four neighbours change places with the next
    /// four, so that the lanes that read two rows together find them in different banks.
    #[inline(always)]
    fn place(row: u32, piece: u32) -> u32 {
        (row * Self::LANES + (piece ^ (row % 2 * 4))) * 16
    }
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
        let at = |row: u32| self.slot + Stream::<QUADS>::place(row, piece);
        // SAFETY: the caller's promise.
        unsafe { [shared::Word::load(at(row)), shared::Word::load(at(row + TILE / 2))] }
    }
}

/// Where a lane finds its columns of its token row; of the last row, where there are fewer than eight.
#[derive(Clone, Copy)]
pub struct Tokens {
    row: u64,
    groups: u32,
}

impl Tokens {
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
