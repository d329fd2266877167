//! The way of tokens and weights through shared memory to the warps.
use super::product::{Chunk, Product};
use super::{COLUMNS, DEPTH, STAGE_BYTES, STAGES, TOKENS, WARPS};
use crate::row::{self, GROUP};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, shared, thread};

/// Pieces of 16 bytes of a row in a stage.
const PIECES: u32 = DEPTH / GROUP;
/// Rows that the block's threads copy together.
const TOGETHER: u32 = WARPS * 32 / PIECES;
/// Copies of a thread for the tokens and for the weights of a stage.
const TOKEN_COPIES: usize = (TOKENS / TOGETHER) as usize;
const WEIGHT_COPIES: usize = (COLUMNS / TOGETHER) as usize;

/// What a block copies: the rows that this thread has a piece of.
pub struct Source {
    /// Address of each row; 0 for none.
    tokens: [u64; TOKEN_COPIES],
    weights: [u64; WEIGHT_COPIES],
    groups: u32,
    /// The stage to ask for next, and its place in the ring.
    step: u32,
    slot: u32,
}

impl Source {
    /// The rows of the block's chunk.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn new<P: Product>(args: &P, chunk: &Chunk) -> Source {
        let own = thread::thread_idx_x() / PIECES;
        let row_bytes = u64::from(args.k()) * 2;
        let mut source = Source {
            tokens: [0; TOKEN_COPIES],
            weights: [0; WEIGHT_COPIES],
            groups: args.k() / GROUP,
            step: 0,
            slot: 0,
        };
        unroll::<TOKEN_COPIES>(
            #[inline(always)]
            |i| {
                let place = own + i as u32 * TOGETHER;
                if place < chunk.live {
                    // SAFETY: the place is there.
                    source.tokens[i] = unsafe { args.token(chunk.first + place) };
                }
            },
        );
        unroll::<WEIGHT_COPIES>(
            #[inline(always)]
            |i| {
                let row = own + i as u32 * TOGETHER;
                if row < chunk.rows {
                    source.weights[i] = chunk.weights + u64::from(row) * row_bytes;
                }
            },
        );
        source
    }

    /// Asks for the next stage; zeros behind the last column and in rows that are not there.
    ///
    /// # Safety
    /// The whole block comes here; the stage's place in the ring is free.
    #[inline(always)]
    pub unsafe fn ask(&mut self) {
        let own = thread::thread_idx_x() / PIECES;
        let piece = thread::thread_idx_x() % PIECES;
        let group = self.step * PIECES + piece;
        let stage = shared::dynamic::<u8>().address() + self.slot * STAGE_BYTES;
        let within = group < self.groups;
        let copy = |row: u32, from: u64| {
            let live = within && from != 0;
            // SAFETY: only groups within live rows are read.
            unsafe {
                cp_async::copy_16_or_zero(stage + place(row, piece), row::at(from, group), if live { 16 } else { 0 })
            };
        };
        if self.step != self.groups.div_ceil(PIECES) {
            self.step += 1;
            unroll::<TOKEN_COPIES>(
                #[inline(always)]
                |i| copy(own + i as u32 * TOGETHER, self.tokens[i]),
            );
            unroll::<WEIGHT_COPIES>(
                #[inline(always)]
                |i| copy(TOKENS + own + i as u32 * TOGETHER, self.weights[i]),
            );
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
        self.slot = if self.slot + 1 == STAGES { 0 } else { self.slot + 1 };
    }

    /// Waits for stage `slot` of the ring.
    ///
    /// # Safety
    /// The whole block comes here, done with the stage before.
    #[inline(always)]
    pub unsafe fn wait(&self) {
        cp_async::wait::<{ STAGES - 2 }>();
        // SAFETY: the caller's promise.
        unsafe { sync_threads() };
    }
}

/// Where a row's piece stands in a stage: pieces change places by row, so that the eight rows that `ldmatrix` reads together lie
/// in different banks.
#[inline(always)]
pub fn place(row: u32, piece: u32) -> u32 {
    (row * PIECES + (piece ^ (row % PIECES))) * 16
}
