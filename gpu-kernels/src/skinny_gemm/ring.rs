//! The way of weights and tokens through shared memory in `skinny_gemm`: one ring for all tiles of a block.
use super::{DEPTH, ROW_BYTES, SkinnyGemm, TILE};
use crate::gemv::SWIGLU;
use crate::row::{self, GROUP};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, global, grid, shared, thread, wgmma};

/// Pieces of 16 bytes of a row in a stage.
const PIECES: u32 = ROW_BYTES / 16;
/// Threads that copy the same rows, and rows that they copy together.
const COPIERS: u32 = wgmma::THREADS;
const TOGETHER: u32 = COPIERS / PIECES;
/// Copies of a thread for a stage of weights.
const COPIES: usize = (TILE / TOGETHER) as usize;

/// The ring of a block: its first warpgroup asks for weights, the second for tokens.
pub struct Ring<const TILES: usize, const STAGES: u32> {
    args: SkinnyGemm,
    /// Whether this thread copies weights.
    weighs: bool,
    /// Tile and step to ask for next, the first step of the block and the one behind its last.
    tile: u32,
    step: u32,
    first: u32,
    end: u32,
    /// The address of the first row that this thread copies of, the distance to the next, and how many there are.
    row: u64,
    apart: u64,
    live: u32,
    /// Shared address of the stages to fill and to use next.
    fill: u32,
    take: u32,
}

impl<const TILES: usize, const STAGES: u32> Ring<TILES, STAGES> {
    /// Token rows of a stage, and its bytes.
    const TOKENS: u32 = TILES as u32 * 8;
    const STAGE: u32 = (TILE + Self::TOKENS) * ROW_BYTES;

    /// The ring with its first stages on their way. Behind it, the kernel in front has ended.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here.
    #[inline(always)]
    pub unsafe fn new(args: &SkinnyGemm) -> Self {
        let steps = args.k.div_ceil(DEPTH);
        // Whole pairs of stages: 256 bytes of a row.
        let (pairs, splits) = (steps.div_ceil(2), thread::grid_dim_y());
        let of_split = |split: u32| (pairs * split / splits * 2).min(steps);
        let (first, end) = (of_split(thread::block_idx_y()), of_split(thread::block_idx_y() + 1));
        let start = shared::dynamic::<u8>().address();
        let weighs = thread::thread_idx_x() < COPIERS;
        let (tile, args) = (thread::block_idx_x(), *args);
        let mut ring =
            Ring { args, weighs, tile, step: first, first, end, row: 0, apart: 0, live: 0, fill: start, take: start };
        if args.tune & 1 == 0 {
            grid::launch_dependents();
        }
        // SAFETY: the stages are free; weights are constant, and tokens are read behind the wait.
        unsafe {
            ring.find_rows();
            if weighs {
                ring.ask_first();
                ring.prefetch(args.tune >> 8);
            }
            grid::wait_for_dependencies();
            if !weighs {
                ring.ask_first();
            }
        }
        ring
    }

    /// Steps of the block for a tile.
    #[inline(always)]
    pub fn steps(&self) -> u32 {
        self.end - self.first
    }

    /// # Safety
    /// As for [`Ring::ask`].
    #[inline(always)]
    unsafe fn ask_first(&mut self) {
        for _ in 1..STAGES {
            // SAFETY: the caller's promise.
            unsafe { self.ask() };
        }
    }

    /// Asks that L2 has the columns behind the first stages, as many stages as that.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn prefetch(&self, stages: u32) {
        let args = &self.args;
        let row = thread::thread_idx_x();
        let row = if args.activation == SWIGLU {
            let gate = thread::block_idx_x() * (TILE / 2) + row / 16 * 8 + row % 8;
            gate + row / 8 % 2 * args.width()
        } else {
            thread::block_idx_x() * TILE + row
        };
        if row < args.n {
            let mut step = self.first + STAGES - 1;
            let end = (step + stages).min(self.end);
            while step < end {
                let at = args.w.addr + (u64::from(row) * u64::from(args.k) + u64::from(step * DEPTH)) * 2;
                // SAFETY: the column is there: it is the first of a step.
                unsafe { global::prefetch(at) };
                step += 1;
            }
        }
    }

    /// Finds the rows of the tile to ask for.
    #[inline(always)]
    fn find_rows(&mut self) {
        let args = &self.args;
        let own = thread::thread_idx_x() % COPIERS / PIECES;
        let row_bytes = u64::from(args.k) * 2;
        if !self.weighs {
            self.row = args.x.addr + u64::from(own) * row_bytes;
            self.apart = u64::from(TOGETHER) * row_bytes;
            self.live = args.rows.saturating_sub(own).div_ceil(TOGETHER);
        } else if args.activation == SWIGLU {
            // Eight gates, and behind them what stands beside them.
            let gate = self.tile * (TILE / 2) + own % 8;
            let first = gate + own / 8 * args.width();
            self.row = args.w.addr + u64::from(first) * row_bytes;
            self.apart = 8 * row_bytes;
            self.live = args.width().saturating_sub(gate).div_ceil(8);
        } else {
            let first = self.tile * TILE + own;
            self.row = args.w.addr + u64::from(first) * row_bytes;
            self.apart = u64::from(TOGETHER) * row_bytes;
            self.live = args.n.saturating_sub(first).div_ceil(TOGETHER);
        }
    }

    /// Asks for the next stage, if there is one; zeros behind the last column and in rows that are not there.
    ///
    /// # Safety
    /// The stage's place is free.
    #[inline(always)]
    pub unsafe fn ask(&mut self) {
        let thread = thread::thread_idx_x() % COPIERS;
        let piece = thread % PIECES;
        if self.tile < self.args.tiles() {
            let group = self.step * PIECES + piece;
            let live = if group < self.args.k / GROUP { self.live } else { 0 };
            let first = if self.weighs { 0 } else { TILE * ROW_BYTES };
            // The other copies are whole atoms of eight rows behind: the place in their rows stays.
            let to = self.fill + first + wgmma::place(thread / PIECES, piece);
            let copies = if self.weighs { COPIES as u32 } else { Self::TOKENS / TOGETHER };
            let mut from = row::at(self.row, group);
            unroll::<COPIES>(
                #[inline(always)]
                |i| {
                    if (i as u32) < copies {
                        let bytes = if (i as u32) < live { 16 } else { 0 };
                        let to = to + i as u32 * TOGETHER * ROW_BYTES;
                        // SAFETY: only groups within rows that are there are read.
                        unsafe { cp_async::copy_16_or_zero_of_256(to, from, bytes) };
                        from += self.apart;
                    }
                },
            );
            self.step += 1;
            if self.step == self.end {
                self.step = self.first;
                self.tile += thread::grid_dim_x();
                self.find_rows();
                if self.args.tune & 1 == 1 && self.tile >= self.args.tiles() {
                    grid::launch_dependents();
                }
            }
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
        self.fill = Self::behind(self.fill);
    }

    /// Waits for the next stage; gives its shared address.
    ///
    /// # Safety
    /// The whole block comes here; the products of the stage before have ended.
    #[inline(always)]
    pub unsafe fn next(&mut self) -> u32 {
        match STAGES {
            3 => cp_async::wait::<1>(),
            4 => cp_async::wait::<2>(),
            5 => cp_async::wait::<3>(),
            _ => cp_async::wait::<4>(),
        }
        wgmma::publish();
        // SAFETY: the caller's promise.
        unsafe { sync_threads() };
        let taken = self.take;
        self.take = Self::behind(taken);
        taken
    }

    /// The stage behind the one at shared address `stage`.
    #[inline(always)]
    fn behind(stage: u32) -> u32 {
        let (start, next) = (shared::dynamic::<u8>().address(), stage + Self::STAGE);
        if next == start + STAGES * Self::STAGE { start } else { next }
    }
}
