//! The way of codes and tokens through shared memory in `quant_gemm`: a ring of each for all tiles of a block.
use core::marker::PhantomData;

use super::bits::Codes;
use super::{CODE_BYTES, QuantGemm, STEP};
use crate::activation::SWIGLU;
use crate::format::BLOCK;
use crate::row::{self, GROUP};
use crate::skinny_gemm::{ROW_BYTES, TILE};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, grid, shared, thread, wgmma};

/// Pieces of 16 bytes of a row's codes in a stage, and of a matrix's row.
const PIECES: u32 = CODE_BYTES / 16;
/// Threads that copy the same, and rows that they copy together.
const COPIERS: u32 = wgmma::THREADS;
const TOGETHER: u32 = COPIERS / PIECES;
/// Copies of a thread for a stage of codes.
const COPIES: usize = (TILE / TOGETHER) as usize;
/// Matrices of tokens in a stage.
const PARTS: usize = (STEP * 2 / ROW_BYTES) as usize;

/// The rings of a block, of `CODES` and `TOKENS` stages: its first warpgroup asks for codes, the second for tokens.
pub struct Rings<F, const TILES: usize, const CODES: u32, const TOKENS: u32, const STEPS: usize> {
    args: QuantGemm,
    /// Whether this thread copies codes.
    weighs: bool,
    /// Tile and step to ask for next, the first step of the block and the one behind its last.
    tile: u32,
    step: u32,
    first: u32,
    end: u32,
    /// The address of the first row that this thread copies of, the distance to the next, how many there are, and the address of
    /// the row whose scales it copies, 0 where there is none.
    row: u64,
    apart: u64,
    live: u32,
    scaled: u64,
    /// The stage of its ring that this thread fills next, and those of both that are used now.
    fill: u32,
    codes: u32,
    tokens: u32,
    /// The step of those.
    taken: u32,
    form: PhantomData<F>,
}

/// Shared addresses of the codes of 128 columns, or of the 256 that they are one half of, and of the tokens of those columns.
#[derive(Clone, Copy)]
pub struct Stage {
    pub codes: u32,
    pub tokens: u32,
    /// Which half: 0 for codes of 8 bits.
    pub half: u32,
}

impl<F: Codes<STEPS>, const TILES: usize, const CODES: u32, const TOKENS: u32, const STEPS: usize>
    Rings<F, TILES, CODES, TOKENS, STEPS>
{
    /// Token rows, and the bytes of a stage of them, and of codes with their scales.
    const ROWS: u32 = TILES as u32 * 8;
    const TOKEN_BYTES: u32 = Self::ROWS * ROW_BYTES * PARTS as u32;
    const STAGE_BYTES: u32 = TILE * (CODE_BYTES + F::ROOM);
    /// Steps that a stage of codes is for.
    const SHARES: u32 = 8 / F::BITS;

    /// The rings with their first stages on their way. Behind it, the kernel in front has ended.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here.
    #[inline(always)]
    pub unsafe fn new(args: &QuantGemm) -> Self {
        let (units, splits) = (args.k.div_ceil(STEP * Self::SHARES), thread::grid_dim_y());
        let of_split = |split: u32| units * split / splits * Self::SHARES;
        let (first, end) = (of_split(thread::block_idx_y()), of_split(thread::block_idx_y() + 1));
        let weighs = thread::thread_idx_x() < COPIERS;
        let (tile, args) = (thread::block_idx_x(), *args);
        let (row, apart, live, scaled, fill, codes, tokens) = (0, 0, 0, 0, 0, CODES - 1, TOKENS - 1);
        let (taken, form) = (first, PhantomData);
        let mut rings = Rings {
            args,
            weighs,
            tile,
            step: first,
            first,
            end,
            row,
            apart,
            live,
            scaled,
            fill,
            codes,
            tokens,
            taken,
            form,
        };
        grid::launch_dependents();
        // SAFETY: the stages are free; codes are constant, and tokens are read behind the wait.
        unsafe {
            rings.find_rows();
            if weighs {
                for _ in 1..CODES {
                    rings.ask();
                }
            }
            grid::wait_for_dependencies();
            if !weighs {
                for _ in 1..TOKENS {
                    rings.ask();
                }
            }
        }
        rings
    }

    /// The steps of the block for a tile.
    #[inline(always)]
    pub fn steps(&self) -> core::ops::Range<u32> {
        self.first..self.end
    }

    /// Finds the rows of the tile to ask for.
    #[inline(always)]
    fn find_rows(&mut self) {
        let args = &self.args;
        let (thread, own) = (thread::thread_idx_x() % COPIERS, thread::thread_idx_x() % COPIERS / PIECES);
        if !self.weighs {
            let row_bytes = u64::from(args.k) * 2;
            self.row = args.x.addr + u64::from(own) * row_bytes;
            self.apart = u64::from(TOGETHER) * row_bytes;
            self.live = args.rows.saturating_sub(own).div_ceil(TOGETHER);
            return;
        }
        let row_bytes = u64::from(F::row_bytes(args));
        let width = args.around().width();
        // Of the tile's row `row`, the weight's row, and what may not be beyond the width. With gates there are eight, and behind
        // them the eight that stand beside them.
        let place = |row: u32| {
            if args.activation == SWIGLU {
                let gate = self.tile * (TILE / 2) + row / 16 * 8 + row % 8;
                (gate + row / 8 % 2 * width, gate)
            } else {
                (self.tile * TILE + row, self.tile * TILE + row)
            }
        };
        let (first, bound) = place(own);
        self.row = args.w.addr + u64::from(first) * row_bytes;
        let apart = if args.activation == SWIGLU { TOGETHER / 2 } else { TOGETHER };
        self.apart = u64::from(apart) * row_bytes;
        self.live = width.saturating_sub(bound).div_ceil(apart);
        if F::ROOM > 0 {
            let (scaled, bound) = place(thread);
            self.scaled = if bound < width { args.w.addr + u64::from(scaled) * row_bytes } else { 0 };
        }
    }

    /// Asks for the thread's next stage, if there is one; zeros behind the last column and in rows that are not there.
    ///
    /// # Safety
    /// The stage's place is free.
    #[inline(always)]
    pub unsafe fn ask(&mut self) {
        if self.tile < self.args.tiles() {
            // SAFETY: the caller's promise.
            unsafe {
                if self.weighs {
                    self.ask_codes();
                    self.step += Self::SHARES;
                } else {
                    self.ask_tokens();
                    self.step += 1;
                }
            }
            if self.step == self.end {
                self.step = self.first;
                self.tile += thread::grid_dim_x();
                self.find_rows();
            }
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
        let stages = if self.weighs { CODES } else { TOKENS };
        self.fill = if self.fill + 1 == stages { 0 } else { self.fill + 1 };
    }

    /// # Safety
    /// As for [`Rings::ask`]; there is such a stage.
    #[inline(always)]
    unsafe fn ask_codes(&self) {
        let (thread, piece) = (thread::thread_idx_x() % COPIERS, thread::thread_idx_x() % PIECES);
        let unit = self.step / Self::SHARES;
        let first = shared::dynamic::<u8>().address() + self.fill * Self::STAGE_BYTES;
        let live = if unit * PIECES + piece < F::pieces(&self.args) { self.live } else { 0 };
        // The other copies are whole atoms of eight rows behind: the place in their rows stays.
        let to = first + wgmma::place(thread / PIECES, piece);
        let block = unit * (CODE_BYTES + F::scale_bytes(&self.args));
        let mut from = self.row + u64::from(block + F::scale_bytes(&self.args) + piece * 16);
        unroll::<COPIES>(
            #[inline(always)]
            |i| {
                let bytes = if (i as u32) < live { 16 } else { 0 };
                // SAFETY: only pieces within rows that are there are read.
                unsafe { cp_async::copy_16_or_zero(to + i as u32 * TOGETHER * CODE_BYTES, from, bytes) };
                from += self.apart;
            },
        );
        unroll::<2>(
            #[inline(always)]
            |i| {
                if (i as u32) < F::ROOM / 16 {
                    let to = first + TILE * CODE_BYTES + thread * F::ROOM + i as u32 * 16;
                    let there = self.scaled != 0 && i as u32 * 16 < F::scale_bytes(&self.args);
                    // SAFETY: only scales of rows that are there are read.
                    unsafe {
                        let from = self.scaled + u64::from(block + i as u32 * 16);
                        cp_async::copy_16_or_zero(to, from, if there { 16 } else { 0 });
                    }
                }
            },
        );
    }

    /// # Safety
    /// As for [`Rings::ask_codes`].
    #[inline(always)]
    unsafe fn ask_tokens(&self) {
        let (thread, piece) = (thread::thread_idx_x() % COPIERS, thread::thread_idx_x() % PIECES);
        let start = shared::dynamic::<u8>().address() + CODES * Self::STAGE_BYTES;
        let own = start + self.fill * Self::TOKEN_BYTES + wgmma::place(thread / PIECES, piece);
        unroll::<PARTS>(
            #[inline(always)]
            |part| {
                let group = (self.step * PARTS as u32 + part as u32) * PIECES + piece;
                let live = if group < self.args.k / GROUP { self.live } else { 0 };
                let to = own + Self::ROWS * ROW_BYTES * part as u32;
                let mut from = row::at(self.row, group);
                unroll::<{ COPIES / 2 }>(
                    #[inline(always)]
                    |i| {
                        if (i as u32) * TOGETHER < Self::ROWS {
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
    }

    /// Waits for the next step, and asks for another.
    ///
    /// # Safety
    /// The whole block comes here; the products of the step before have ended.
    #[inline(always)]
    pub unsafe fn next(&mut self) -> Stage {
        let half = self.taken % Self::SHARES;
        if self.weighs && half == 0 {
            wait::<CODES>();
        } else if !self.weighs {
            wait::<TOKENS>();
        }
        wgmma::publish();
        // SAFETY: the caller's promise.
        unsafe { sync_threads() };
        if half == 0 {
            self.codes = if self.codes + 1 == CODES { 0 } else { self.codes + 1 };
        }
        self.tokens = if self.tokens + 1 == TOKENS { 0 } else { self.tokens + 1 };
        self.taken = if self.taken + 1 == self.end { self.first } else { self.taken + 1 };
        // SAFETY: behind the barrier nobody uses the stages of the step before, or of the codes before.
        unsafe {
            if !self.weighs || half == 0 {
                self.ask();
            }
        }
        let start = shared::dynamic::<u8>().address();
        let codes = start + self.codes * Self::STAGE_BYTES;
        Stage { codes, tokens: start + CODES * Self::STAGE_BYTES + self.tokens * Self::TOKEN_BYTES, half }
    }
}

/// Waits for the first of all stages that are on their way in a ring of `STAGES`: one is used.
#[inline(always)]
fn wait<const STAGES: u32>() {
    match STAGES {
        4 => cp_async::wait::<2>(),
        3 => cp_async::wait::<1>(),
        _ => cp_async::wait::<0>(),
    }
}

const _: () = assert!(BLOCK == 2 * STEP && PARTS == 2);
