//! The way of codes and tokens through shared memory in `quant_gemm`: a ring of each for all tiles of a block.
use core::marker::PhantomData;

use super::bits::Codes;
use super::{CODE_BYTES, QuantGemm};
use crate::activation::SWIGLU;
use crate::format::BLOCK;
use crate::row::{self, GROUP};
use crate::skinny_gemm::cluster::Blocks;
use crate::skinny_gemm::ring::wait_for;
use crate::skinny_gemm::{DEPTH, ROW_BYTES, TILE};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, fragment, grid, shared, thread, wgmma};

/// Pieces of 16 bytes of a row's codes in a stage, and of a matrix's row.
pub const PIECES: u32 = CODE_BYTES / 16;
/// Threads that copy the same, and rows that they copy together.
const COPIERS: u32 = wgmma::THREADS;
pub const TOGETHER: u32 = COPIERS / PIECES;
/// Copies of a thread for a stage of codes.
const COPIES: usize = (TILE / TOGETHER) as usize;
/// Most matrices of tokens in a stage.
const MOST_PARTS: usize = 4;

/// The tiles of a block, one after the other.
pub trait Tiles: Copy {
    /// The product that the tile is of; its token rows are those of the tile.
    fn product(&self) -> &QuantGemm;

    /// Number of the block's split, and how many there are.
    fn split(&self) -> [u32; 2];

    /// Number of the tile among those of the weight; more than there are behind the last.
    fn number(&self) -> u32;

    /// Whether there is a tile.
    fn is_live(&self) -> bool;

    /// Goes on to the next tile.
    ///
    /// # Safety
    /// There is a tile.
    unsafe fn advance(&mut self);

    /// Copies this thread's piece number `group` of each of its token rows, every `TOGETHER`th of `TILES` eights from `first` on, to `to` and
    /// behind it; zeros if it is not `within` the columns, and in rows that are not there.
    ///
    /// # Safety
    /// There is a tile, and room in shared memory.
    unsafe fn copy_tokens<const TILES: usize>(&self, first: u32, group: u32, within: bool, to: u32);
}

/// The tiles of one weight; their splits are clusters, or stand apart.
#[derive(Clone, Copy)]
pub struct OfWeight<const CLUSTERED: bool> {
    args: QuantGemm,
    tile: u32,
}

impl<const CLUSTERED: bool> OfWeight<CLUSTERED> {
    /// The block's tiles.
    #[inline(always)]
    pub fn of_block(args: &QuantGemm) -> Self {
        OfWeight { args: *args, tile: Blocks::<CLUSTERED>::tile() }
    }
}

impl<const CLUSTERED: bool> Tiles for OfWeight<CLUSTERED> {
    #[inline(always)]
    fn split(&self) -> [u32; 2] {
        Blocks::<CLUSTERED>::split()
    }

    #[inline(always)]
    fn product(&self) -> &QuantGemm {
        &self.args
    }

    #[inline(always)]
    fn number(&self) -> u32 {
        self.tile
    }

    #[inline(always)]
    fn is_live(&self) -> bool {
        self.tile < self.args.tiles()
    }

    #[inline(always)]
    unsafe fn advance(&mut self) {
        self.tile += Blocks::<CLUSTERED>::apart();
    }

    #[inline(always)]
    unsafe fn copy_tokens<const TILES: usize>(&self, first: u32, group: u32, within: bool, to: u32) {
        let row_bytes = self.args.k * 2;
        let row = self.args.x.addr + u64::from(first) * u64::from(row_bytes);
        let live = if within { self.args.rows.saturating_sub(first).div_ceil(TOGETHER) } else { 0 };
        let mut from = row::at(row, group);
        unroll::<{ COPIES / 2 }>(
            #[inline(always)]
            |i| {
                if i as u32 * TOGETHER < TILES as u32 * fragment::N {
                    let bytes = if (i as u32) < live { 16 } else { 0 };
                    let to = to + i as u32 * TOGETHER * ROW_BYTES;
                    // SAFETY: only groups within rows that are there are read.
                    unsafe { cp_async::copy_16_or_zero_of_256(to, from, bytes) };
                    from += u64::from(TOGETHER * row_bytes);
                }
            },
        );
    }
}

/// The rings of a block, of `CODES` and `TOKENS` stages, `PARTS` matrices of tokens in each: its first warpgroup asks for codes, the
/// second for tokens.
pub struct Rings<T, F, const TILES: usize, const CODES: u32, const TOKENS: u32, const PARTS: usize, const STEPS: usize>
{
    /// The tile to ask for next.
    tiles: T,
    /// Whether this thread copies codes.
    weighs: bool,
    /// The step to ask for next, the first one of the block and the one behind its last.
    step: u32,
    first: u32,
    end: u32,
    /// The stages of both that are used now.
    codes: u32,
    tokens: u32,
    /// The step of those.
    taken: u32,
    form: PhantomData<F>,
}

/// Shared addresses of the codes of a step, or of those that they are a part of, of the scales behind them, and of its tokens.
#[derive(Clone, Copy)]
pub struct Stage {
    pub codes: u32,
    pub scales: u32,
    pub tokens: u32,
    /// The step's first column among those of the codes, and among all.
    pub first: u32,
    pub column: u32,
}

impl<
    T: Tiles,
    F: Codes<STEPS>,
    const TILES: usize,
    const CODES: u32,
    const TOKENS: u32,
    const PARTS: usize,
    const STEPS: usize,
> Rings<T, F, TILES, CODES, TOKENS, PARTS, STEPS>
{
    /// Columns of a step: of tokens in a stage.
    pub const STEP: u32 = PARTS as u32 * DEPTH;
    /// Token rows, and the bytes of a stage of them, and of codes with their scales.
    const ROWS: u32 = TILES as u32 * 8;
    const TOKEN_BYTES: u32 = Self::ROWS * ROW_BYTES * PARTS as u32;
    const STAGE_BYTES: u32 = TILE * (CODE_BYTES + F::ROOM);
    /// Bytes of both rings.
    pub const BYTES: u32 = CODES * Self::STAGE_BYTES + TOKENS * Self::TOKEN_BYTES;
    /// Steps that a stage of codes is for.
    const SHARES: u32 = CODE_BYTES * 8 / F::BITS / Self::STEP;

    /// The rings with their first stages on their way, if so with tokens behind the wait for the kernel in front.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here. Without `waits` the kernel in front has ended.
    #[inline(always)]
    pub unsafe fn new(tiles: T, waits: bool) -> Self {
        let (units, [split, splits]) = (tiles.product().k.div_ceil(Self::STEP * Self::SHARES), tiles.split());
        let of_split = |split: u32| units * split / splits * Self::SHARES;
        let (first, end) = (of_split(split), of_split(split + 1));
        let weighs = thread::thread_idx_x() < COPIERS;
        let (step, taken, codes, tokens, form) = (first, first, CODES - 1, TOKENS - 1, PhantomData);
        let mut rings = Rings { tiles, weighs, step, first, end, codes, tokens, taken, form };
        grid::launch_dependents();
        // SAFETY: the stages are free; codes are constant, and tokens are read behind the wait.
        unsafe {
            if weighs {
                // Tokens come behind all that is asked for: so what is used last is not, until what is used first has landed.
                for stage in 1..CODES {
                    if waits && CODES > 2 && stage == CODES - 1 {
                        wait_for(CODES - 3);
                    }
                    rings.ask(stage - 1);
                }
            }
            if waits {
                grid::wait_for_dependencies();
            }
            if !weighs {
                for stage in 1..TOKENS {
                    rings.ask(stage - 1);
                }
            }
        }
        rings
    }

    /// The column behind the block's last step.
    #[inline(always)]
    pub fn end(&self) -> u32 {
        self.end * Self::STEP
    }

    /// Asks for the thread's next stage, if there is one, at place `fill` of its ring; zeros behind the last column and in rows that
    /// are not there.
    ///
    /// # Safety
    /// The stage's place is free.
    #[inline(always)]
    unsafe fn ask(&mut self, fill: u32) {
        if self.tiles.is_live() {
            // SAFETY: the caller's promise.
            unsafe {
                if self.weighs {
                    self.ask_codes(fill);
                    self.step += Self::SHARES;
                } else {
                    self.ask_tokens(fill);
                    self.step += 1;
                }
            }
            if self.step == self.end {
                self.step = self.first;
                // SAFETY: there is a tile.
                unsafe { self.tiles.advance() };
            }
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
    }

    /// Of the tile's row `row`, the address of the weight's row, and how many there are from there on that are `apart` rows from each
    /// other. With gates a tile has eight of them, and behind them the eight that stand beside them.
    #[inline(always)]
    fn codes_of(&self, row: u32, apart: u32) -> (u64, u32) {
        let (args, tile) = (self.tiles.product(), self.tiles.number());
        let width = args.width();
        let (first, bound) = if args.activation == SWIGLU {
            let gate = tile * (TILE / 2) + row / 16 * 8 + row % 8;
            (gate + row / 8 % 2 * width, gate)
        } else {
            (tile * TILE + row, tile * TILE + row)
        };
        let at = args.w.addr + u64::from(first) * u64::from(args.row_bytes);
        (at, width.saturating_sub(bound).div_ceil(apart))
    }

    /// # Safety
    /// As for [`Rings::ask`]; there is such a stage.
    #[inline(always)]
    unsafe fn ask_codes(&self, fill: u32) {
        let (thread, piece) = (thread::thread_idx_x() % COPIERS, thread::thread_idx_x() % PIECES);
        let unit = self.step / Self::SHARES;
        let first = shared::dynamic::<u8>().address() + fill * Self::STAGE_BYTES;
        let args = self.tiles.product();
        let apart = if args.activation == SWIGLU { TOGETHER / 2 } else { TOGETHER };
        // First, so that what they take of registers is free again.
        if F::ROOM > 0 {
            let scales = args.code_bytes + unit * F::ROOM;
            let (row, live) = self.codes_of(thread, 1);
            unroll::<2>(
                #[inline(always)]
                |i| {
                    if (i as u32) < F::ROOM / 16 {
                        let to = first + TILE * CODE_BYTES + thread * F::ROOM + i as u32 * 16;
                        // SAFETY: only scales of rows that are there are read.
                        unsafe {
                            let from = row + u64::from(scales + i as u32 * 16);
                            cp_async::copy_16_or_zero(to, from, if live > 0 { 16 } else { 0 });
                        }
                    }
                },
            );
        }
        let (row, live) = self.codes_of(thread / PIECES, apart);
        let live = if unit * PIECES + piece < F::pieces(args) { live } else { 0 };
        // The other copies are whole atoms of eight rows behind: the place in their rows stays.
        let to = first + wgmma::place(thread / PIECES, piece);
        let mut from = row + u64::from(unit * CODE_BYTES + piece * 16);
        let apart = u64::from(apart * args.row_bytes);
        unroll::<COPIES>(
            #[inline(always)]
            |i| {
                let bytes = if (i as u32) < live { 16 } else { 0 };
                // SAFETY: only pieces within rows that are there are read.
                unsafe { cp_async::copy_16_or_zero(to + i as u32 * TOGETHER * CODE_BYTES, from, bytes) };
                from += apart;
            },
        );
    }

    /// # Safety
    /// As for [`Rings::ask_codes`].
    #[inline(always)]
    unsafe fn ask_tokens(&self, fill: u32) {
        let (thread, piece) = (thread::thread_idx_x() % COPIERS, thread::thread_idx_x() % PIECES);
        let first = thread / PIECES;
        let start = shared::dynamic::<u8>().address() + CODES * Self::STAGE_BYTES;
        let own = start + fill * Self::TOKEN_BYTES + wgmma::place(first, piece);
        unroll::<MOST_PARTS>(
            #[inline(always)]
            |part| {
                if part < PARTS {
                    let group = (self.step * PARTS as u32 + part as u32) * PIECES + piece;
                    let within = group < self.tiles.product().k / GROUP;
                    let to = own + Self::ROWS * ROW_BYTES * part as u32;
                    // SAFETY: the caller's promise.
                    unsafe { self.tiles.copy_tokens::<TILES>(first, group, within, to) };
                }
            },
        );
    }

    /// Waits for the next step.
    ///
    /// # Safety
    /// The whole block comes here; the products of the step before have ended.
    #[inline(always)]
    pub unsafe fn next(&mut self) -> Stage {
        let share = self.share();
        if self.weighs && share == 0 {
            wait_for(CODES - 2);
        } else if !self.weighs {
            wait_for(TOKENS - 2);
            wgmma::publish();
        }
        // SAFETY: the caller's promise.
        unsafe { sync_threads() };
        self.tokens = if self.tokens + 1 == TOKENS { 0 } else { self.tokens + 1 };
        if Self::SHARES == 1 && CODES == TOKENS {
            self.codes = self.tokens;
        } else if share == 0 {
            self.codes = if self.codes + 1 == CODES { 0 } else { self.codes + 1 };
        }
        let start = shared::dynamic::<u8>().address();
        let codes = start + self.codes * Self::STAGE_BYTES;
        let tokens = start + CODES * Self::STAGE_BYTES + self.tokens * Self::TOKEN_BYTES;
        let scales = codes + TILE * CODE_BYTES;
        Stage { codes, scales, tokens, first: share * Self::STEP, column: self.taken * Self::STEP }
    }

    /// Asks for another step's, where [`Rings::next`] has come to new codes or tokens. Says whether the tile has more steps.
    ///
    /// # Safety
    /// It follows [`Rings::next`].
    #[inline(always)]
    pub unsafe fn ask_behind(&mut self) -> bool {
        let asks = !self.weighs || self.share() == 0;
        self.taken = if self.taken + 1 == self.end { self.first } else { self.taken + 1 };
        if asks {
            // SAFETY: behind the barrier nobody uses the stages of the step before, or of the codes before.
            unsafe { self.ask(if self.weighs { before(self.codes, CODES) } else { before(self.tokens, TOKENS) }) };
        }
        self.taken != self.first
    }

    /// Which part of its codes the step is: all have begun with whole ones.
    #[inline(always)]
    fn share(&self) -> u32 {
        self.taken % Self::SHARES
    }
}

/// The stage in front of stage `stage` in a ring of `stages`.
#[inline(always)]
pub fn before(stage: u32, stages: u32) -> u32 {
    if stage == 0 { stages - 1 } else { stage - 1 }
}

const _: () = assert!(BLOCK == 2 * CODE_BYTES);
