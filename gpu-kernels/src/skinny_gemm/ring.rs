//! The way of weights and tokens through shared memory in `skinny_gemm`: a ring of each for all tiles of a block.
use super::cluster::Blocks;
use super::{DEPTH, ROW_BYTES, SkinnyGemm, TILE, sixteens};
use crate::activation::SWIGLU;
use crate::row::{self, GROUP};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, grid, shared, thread, wgmma};

/// Pieces of 16 bytes of a row in a stage.
const PIECES: u32 = ROW_BYTES / 16;
/// Threads that copy the same rows, and rows that they copy together: a warp's.
const COPIERS: u32 = wgmma::THREADS;
const TOGETHER: u32 = COPIERS / PIECES;
/// Copies of a thread for a stage of weights.
const COPIES: usize = (TILE / TOGETHER) as usize;
/// The rings of a block, of `WEIGHTS` and `TOKENS` stages of `PARTS` matrices: its first warpgroup asks for weights, the second for
/// tokens, which come from L2 and are less far ahead.
pub struct Rings<const TILES: usize, const PARTS: usize, const WEIGHTS: u32, const TOKENS: u32, const CLUSTERED: bool> {
    args: SkinnyGemm,
    /// Whether this thread copies weights.
    weighs: bool,
    /// The first sixteen of the tile to ask for next, and how many further on the block's next one begins.
    sixteen: u32,
    turn: u32,
    /// The step to ask for next, the first step of the block and the one behind its last.
    step: u32,
    first: u32,
    end: u32,
    /// The address of the first row that this thread copies of, the distance to the next, and how many there are.
    row: u64,
    apart: u64,
    live: u32,
    /// The stage of its ring that this thread fills next, and those of both that are used next.
    fill: u32,
    weights: u32,
    tokens: u32,
}

/// Shared addresses of a stage of weights and of one of tokens.
#[derive(Clone, Copy)]
pub struct Stage {
    pub weights: u32,
    pub tokens: u32,
}

impl<const TILES: usize, const PARTS: usize, const WEIGHTS: u32, const TOKENS: u32, const CLUSTERED: bool>
    Rings<TILES, PARTS, WEIGHTS, TOKENS, CLUSTERED>
{
    /// Token rows, and the bytes of a stage of them.
    const ROWS: u32 = TILES as u32 * 8;
    const TOKEN_BYTES: u32 = Self::ROWS * ROW_BYTES * PARTS as u32;
    const WEIGHT_BYTES: u32 = TILE * ROW_BYTES * PARTS as u32;
    /// Bytes of both rings.
    pub const BYTES: u32 = WEIGHTS * Self::WEIGHT_BYTES + TOKENS * Self::TOKEN_BYTES;

    /// The rings with their first stages on their way. Behind it, the kernel in front has ended.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here.
    #[inline(always)]
    pub unsafe fn new(args: &SkinnyGemm) -> Self {
        // Whole pairs: 256 bytes of a row.
        let (pairs, [split, splits]) = (args.k.div_ceil(2 * DEPTH), Blocks::<CLUSTERED>::split());
        let of_split = |split: u32| pairs * split / splits * (2 / PARTS as u32);
        let (first, end) = (of_split(split), of_split(split + 1));
        let weighs = thread::thread_idx_x() < COPIERS;
        let [sixteen, turn] =
            [Blocks::<CLUSTERED>::tile(), Blocks::<CLUSTERED>::apart()].map(|tiles| tiles * args.height);
        let (row, apart, live, fill, weights, tokens) = (0, 0, 0, 0, 0, 0);
        let mut rings = Rings {
            args: *args,
            weighs,
            sixteen,
            turn,
            step: first,
            first,
            end,
            row,
            apart,
            live,
            fill,
            weights,
            tokens,
        };
        grid::launch_dependents();
        // SAFETY: the stages are free; weights are constant, and tokens are read behind the wait.
        unsafe {
            rings.find_rows();
            if weighs {
                // Tokens come behind all that is asked for: so what is used last is not, until what is used first has landed.
                for _ in 3..WEIGHTS {
                    rings.ask();
                }
                wait_for(WEIGHTS - 4);
                rings.ask();
            }
            grid::wait_for_dependencies();
            if !weighs {
                for _ in 2..TOKENS {
                    rings.ask();
                }
            }
        }
        rings
    }

    /// Steps of the block for a tile.
    #[inline(always)]
    pub fn steps(&self) -> u32 {
        self.end - self.first
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
            let gate = self.sixteen * 8 + own % 8;
            let first = gate + own / 8 * args.width();
            self.row = args.w.addr + u64::from(first) * row_bytes;
            self.apart = 8 * row_bytes;
            self.live = args.width().saturating_sub(gate).div_ceil(8).min(args.height);
        } else {
            let first = self.sixteen * TOGETHER + own;
            self.row = args.w.addr + u64::from(first) * row_bytes;
            self.apart = u64::from(TOGETHER) * row_bytes;
            self.live = args.n.saturating_sub(first).div_ceil(TOGETHER).min(args.height);
        }
    }

    /// Asks for the thread's next stage, if there is one; zeros behind the last column and in rows that are not there.
    ///
    /// # Safety
    /// The stage's place is free.
    #[inline(always)]
    pub unsafe fn ask(&mut self) {
        let thread = thread::thread_idx_x() % COPIERS;
        let piece = thread % PIECES;
        let start = shared::dynamic::<u8>().address();
        let (stages, first, bytes) = if self.weighs {
            (WEIGHTS, start, Self::WEIGHT_BYTES)
        } else {
            (TOKENS, start + WEIGHTS * Self::WEIGHT_BYTES, Self::TOKEN_BYTES)
        };
        let own = first + self.fill * bytes + wgmma::place(thread / PIECES, piece);
        if self.sixteen < sixteens(self.args.n) {
            unroll::<PARTS>(
                #[inline(always)]
                |part| {
                    let group = (self.step * PARTS as u32 + part as u32) * PIECES + piece;
                    let live = if group < self.args.k / GROUP { self.live } else { 0 };
                    // The other copies are whole atoms of eight rows behind: the place in their rows stays.
                    let to = own + bytes / PARTS as u32 * part as u32;
                    let mut from = row::at(self.row, group);
                    unroll::<COPIES>(
                        #[inline(always)]
                        |i| {
                            if (i as u32) * TOGETHER < Self::ROWS || self.weighs {
                                let bytes = if (i as u32) < live { 16 } else { 0 };
                                let to = to + i as u32 * TOGETHER * ROW_BYTES;
                                // SAFETY: only groups within rows that are there are read.
                                unsafe { cp_async::copy_16_or_zero_of_256(to, from, bytes) };
                                from += self.apart;
                            }
                        },
                    );
                },
            );
            self.step += 1;
            if self.step == self.end {
                self.step = self.first;
                self.sixteen += self.turn;
                self.find_rows();
            }
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
        self.fill = if self.fill + 1 == stages { 0 } else { self.fill + 1 };
    }

    /// Waits for the next stage of both.
    ///
    /// # Safety
    /// The whole block comes here; the products of the stage before have ended.
    #[inline(always)]
    pub unsafe fn next(&mut self) -> Stage {
        // Of all stages that are on their way two are used, or free.
        if self.weighs {
            wait_for(WEIGHTS - 3);
        } else {
            wait_for(TOKENS - 3);
        }
        wgmma::publish();
        // SAFETY: the caller's promise.
        unsafe { sync_threads() };
        let start = shared::dynamic::<u8>().address();
        let weights = start + self.weights * Self::WEIGHT_BYTES;
        let tokens = start + WEIGHTS * Self::WEIGHT_BYTES + self.tokens * Self::TOKEN_BYTES;
        self.weights = if self.weights + 1 == WEIGHTS { 0 } else { self.weights + 1 };
        self.tokens = if self.tokens + 1 == TOKENS { 0 } else { self.tokens + 1 };
        Stage { weights, tokens }
    }
}

/// Waits until `newest` stages at most are on their way.
#[inline(always)]
pub fn wait_for(newest: u32) {
    match newest {
        0 => cp_async::wait::<0>(),
        1 => cp_async::wait::<1>(),
        2 => cp_async::wait::<2>(),
        3 => cp_async::wait::<3>(),
        4 => cp_async::wait::<4>(),
        _ => cp_async::wait::<5>(),
    }
}
