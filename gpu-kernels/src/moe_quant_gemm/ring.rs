//! The way of codes and tokens through shared memory for parts of many choices: a ring of each, for all parts of a block.
use super::parts::{NONE, Part};
use super::{MOST_WIDE, MoeQuantGemm};
use crate::quant_gemm::CODE_BYTES;
use crate::quant_gemm::bits::Codes;
use crate::quant_gemm::ring::{PIECES, Stage, TOGETHER, before};
use crate::row::{self, GROUP};
use crate::skinny_gemm::ring::wait_for;
use crate::skinny_gemm::{DEPTH, ROW_BYTES};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::{array, unroll};
use cuda_std::{cp_async, grid, shared, thread, wgmma};

/// Bytes of a stage of tokens.
const TOKEN_BYTES: u32 = MOST_WIDE * ROW_BYTES;
/// Most pieces of a row of scales that a thread copies.
const MOST_SCALES: usize = 2;

/// The rings of a block for tiles of `TILE` rows of the weight, of `CODES` and `TOKENS` stages: the last warpgroup asks for codes, a
/// thread for pieces of `ROWS` rows, the others for tokens, a thread for pieces of `COPIES` rows. A stage of tokens is 64 columns,
/// which is a step; one of codes is for several.
pub struct Ring<
    'a,
    F,
    const STEPS: usize,
    const TILE: u32,
    const ROWS: usize,
    const COPIES: usize,
    const CODES: u32,
    const TOKENS: u32,
> {
    args: &'a MoeQuantGemm,
    /// The part to ask for next, and the step of it.
    part: Part<F, STEPS, TILE, MOST_WIDE>,
    step: u32,
    /// Whether this thread copies codes.
    weighs: bool,
    /// The addresses of the thread's token rows, and how many of them there are.
    tokens_at: [u64; COPIES],
    live: u32,
    /// The stages of both that are used now, and the step of those.
    codes: u32,
    tokens: u32,
    taken: u32,
}

impl<
    'a,
    F: Codes<STEPS>,
    const STEPS: usize,
    const TILE: u32,
    const ROWS: usize,
    const COPIES: usize,
    const CODES: u32,
    const TOKENS: u32,
> Ring<'a, F, STEPS, TILE, ROWS, COPIES, CODES, TOKENS>
{
    const STAGE_BYTES: u32 = TILE * (CODE_BYTES + F::ROOM);
    /// Steps that a stage of codes is for.
    const SHARES: u32 = CODE_BYTES * 8 / F::BITS / DEPTH;
    /// Token rows that are copied together.
    const ROWS_TOGETHER: u32 = MOST_WIDE / COPIES as u32;

    /// The rings with their first stages on their way.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here, and the kernel in front has ended.
    #[inline(always)]
    pub unsafe fn new(args: &'a MoeQuantGemm, part: Part<F, STEPS, TILE, MOST_WIDE>) -> Self {
        let weighs = thread::thread_idx_x() >= TILE * 2 - wgmma::THREADS;
        let (codes, tokens) = (CODES - 1, TOKENS - 1);
        let (tokens_at, live) = ([0; COPIES], 0);
        let mut ring = Ring { args, part, step: 0, weighs, tokens_at, live, codes, tokens, taken: 0 };
        grid::launch_dependents();
        // SAFETY: the stages are free.
        unsafe {
            if weighs {
                for stage in 1..CODES {
                    ring.ask(stage - 1);
                }
            } else {
                ring.find_tokens();
                for stage in 2..TOKENS {
                    ring.ask(stage - 2);
                }
            }
        }
        ring
    }

    /// Steps of a part.
    #[inline(always)]
    fn steps(&self) -> u32 {
        self.args.k.div_ceil(DEPTH)
    }

    /// The column behind a part's last step.
    #[inline(always)]
    pub fn end(&self) -> u32 {
        self.steps() * DEPTH
    }

    /// Asks for the thread's next stage, if there is one, at place `fill` of its ring; zeros behind the last column and in rows that
    /// are not there.
    ///
    /// # Safety
    /// The stage's place is free.
    #[inline(always)]
    unsafe fn ask(&mut self, fill: u32) {
        if self.part.is_live() {
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
            if self.step >= self.steps() {
                self.step = 0;
                // SAFETY: there is a part.
                unsafe {
                    self.part.advance(self.args);
                    if !self.weighs {
                        self.find_tokens();
                    }
                }
            }
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
    }

    /// Finds the token rows of the part to ask for.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn find_tokens(&mut self) {
        let row = thread::thread_idx_x() / PIECES;
        let left = self.part.product.rows.min(MOST_WIDE);
        self.live = left.saturating_sub(row).div_ceil(Self::ROWS_TOGETHER);
        // All at once: one behind the other, each would be waited for.
        let choices: [u32; COPIES] = array(
            #[inline(always)]
            |i| {
                let place = row + i as u32 * Self::ROWS_TOGETHER;
                // SAFETY: the place is there.
                if place < left { unsafe { self.args.choice(self.part.first + place) } } else { NONE }
            },
        );
        let row_bytes = u64::from(self.args.k) * 2;
        self.tokens_at = choices.map(
            #[inline(always)]
            |choice| self.args.x.addr + u64::from(self.args.token(choice)) * row_bytes,
        );
    }

    /// # Safety
    /// As for [`Ring::ask`]; there is such a stage.
    #[inline(always)]
    unsafe fn ask_codes(&self, fill: u32) {
        let thread = thread::thread_idx_x_again();
        let (own, piece) = (thread % wgmma::THREADS, thread % PIECES);
        let (args, unit) = (&self.part.product, self.step / Self::SHARES);
        let first = shared::dynamic::<u8>().address() + fill * Self::STAGE_BYTES;
        let of_row = |row: u32| args.w.addr + u64::from(self.part.rows * TILE + row) * u64::from(args.row_bytes);
        let live = |row: u32, apart: u32| args.n.saturating_sub(self.part.rows * TILE + row).div_ceil(apart);
        let rows = if unit * PIECES + piece < F::pieces(args) { live(own / PIECES, TOGETHER) } else { 0 };
        let scales = args.code_bytes + unit * F::ROOM;
        // The other copies are whole atoms of eight rows behind: the place in their rows stays.
        let to = first + wgmma::place(own / PIECES, piece);
        let mut from = of_row(own / PIECES) + u64::from(unit * CODE_BYTES + piece * 16);
        let apart = u64::from(TOGETHER * args.row_bytes);
        unroll::<ROWS>(
            #[inline(always)]
            |i| {
                let bytes = if (i as u32) < rows { 16 } else { 0 };
                // SAFETY: only pieces within rows that are there are read.
                unsafe { cp_async::copy_16_or_zero(to + i as u32 * TOGETHER * CODE_BYTES, from, bytes) };
                from += apart;
            },
        );
        // Rows of scales, a thread's next one as many on as there are threads.
        for turn in 0..TILE.div_ceil(wgmma::THREADS) {
            let row = turn * wgmma::THREADS + own;
            unroll::<MOST_SCALES>(
                #[inline(always)]
                |i| {
                    if (i as u32) < F::ROOM / 16 && row < TILE {
                        let to = first + TILE * CODE_BYTES + row * F::ROOM + i as u32 * 16;
                        let from = of_row(row) + u64::from(scales + i as u32 * 16);
                        // SAFETY: only scales of rows that are there are read.
                        unsafe { cp_async::copy_16_or_zero(to, from, if live(row, 1) > 0 { 16 } else { 0 }) };
                    }
                },
            );
        }
    }

    /// # Safety
    /// As for [`Ring::ask_codes`].
    #[inline(always)]
    unsafe fn ask_tokens(&self, fill: u32) {
        let (row, piece) = (thread::thread_idx_x() / PIECES, thread::thread_idx_x() % PIECES);
        let start = shared::dynamic::<u8>().address() + CODES * Self::STAGE_BYTES;
        let to = start + fill * TOKEN_BYTES + wgmma::place(row, piece);
        let group = self.step * PIECES + piece;
        let live = if group < self.args.k / GROUP { self.live } else { 0 };
        unroll::<COPIES>(
            #[inline(always)]
            |i| {
                let bytes = if (i as u32) < live { 16 } else { 0 };
                let to = to + i as u32 * Self::ROWS_TOGETHER * ROW_BYTES;
                // SAFETY: only groups within rows that are there are read.
                unsafe { cp_async::copy_16_or_zero_of_256(to, row::at(self.tokens_at[i], group), bytes) };
            },
        );
    }

    /// Waits for the next step.
    ///
    /// # Safety
    /// The whole block comes here; of the steps so far, at most the products of the one before are under way.
    #[inline(always)]
    pub unsafe fn next(&mut self) -> Stage {
        let share = self.taken % Self::SHARES;
        if !self.weighs {
            wait_for(TOKENS - 3);
            wgmma::publish();
        } else if share == 0 {
            wait_for(CODES - 2);
        }
        // SAFETY: the caller's promise.
        unsafe { sync_threads() };
        self.tokens = if self.tokens + 1 == TOKENS { 0 } else { self.tokens + 1 };
        if share == 0 {
            self.codes = if self.codes + 1 == CODES { 0 } else { self.codes + 1 };
        }
        let start = shared::dynamic::<u8>().address();
        let codes = start + self.codes * Self::STAGE_BYTES;
        let tokens = start + CODES * Self::STAGE_BYTES + self.tokens * TOKEN_BYTES;
        Stage { codes, scales: codes + TILE * CODE_BYTES, tokens, first: share * DEPTH, column: self.taken * DEPTH }
    }

    /// Asks for another step's, where [`Ring::next`] has come to new codes or tokens. Says whether the part has more steps.
    ///
    /// # Safety
    /// It follows [`Ring::next`].
    #[inline(always)]
    pub unsafe fn ask_behind(&mut self) -> bool {
        let asks = !self.weighs || self.taken % Self::SHARES == 0;
        self.taken = if self.taken + 1 == self.steps() { 0 } else { self.taken + 1 };
        if asks {
            // SAFETY: behind the barrier nobody uses the codes before those of the step, or the tokens before the step before.
            unsafe {
                let stage =
                    if self.weighs { before(self.codes, CODES) } else { before(before(self.tokens, TOKENS), TOKENS) };
                self.ask(stage);
            }
        }
        self.taken != 0
    }
}
