//! The way of weights and tokens through shared memory to the warpgroups: one ring for all chunks of a block, so
//! that the next chunk's first stages are on their way while the sums of this one are stored.
use super::product::{Chunk, Product, Share};
use super::{DEPTH, RING_ROWS, RING_STAGES, WARPS};
use crate::moe_sort::{NARROW, TILE};
use crate::row::{self, GROUP};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{cp_async, shared, thread, wgmma};

/// Bytes of a stage.
const STAGE_BYTES: u32 = RING_ROWS * wgmma::ROW_BYTES;
/// Pieces of 16 bytes of a row in a stage.
const PIECES: u32 = DEPTH / GROUP;
/// Rows that the block's threads copy together, and copies of a thread for a stage.
const TOGETHER: u32 = WARPS * 32 / PIECES;
const COPIES: usize = (RING_ROWS / TOGETHER) as usize;

pub struct Ring {
    /// What is left to ask for behind the chunk that is asked for.
    share: Share,
    /// Address of each row of the chunk that this thread has a piece of; 0 for none.
    rows: [u64; COPIES],
    /// The thread's next group of columns.
    group: u32,
    /// Whether there is a chunk.
    is_live: bool,
    /// Shared address of the stages to fill and to use next.
    fill: u32,
    take: u32,
}

impl Ring {
    /// A ring for `share`, which asks for all stages but one.
    ///
    /// # Safety
    /// The whole block comes here; the kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn fill<P: Product>(args: &P, share: Share) -> Ring {
        let start = shared::dynamic::<u8>().address();
        let mut ring = Ring { share, rows: [0; COPIES], group: 0, is_live: false, fill: start, take: start };
        // SAFETY: nothing uses the stages yet.
        unsafe {
            ring.next_chunk(args);
            for _ in 1..RING_STAGES {
                ring.ask(args);
            }
        }
        ring
    }

    /// Waits for the next stage; gives its shared address.
    ///
    /// # Safety
    /// The whole block comes here; the products of the stage before have ended.
    #[inline(always)]
    pub unsafe fn next(&mut self) -> u32 {
        cp_async::wait::<{ RING_STAGES - 2 }>();
        wgmma::publish();
        // SAFETY: the caller's promise.
        unsafe { sync_threads() };
        let taken = self.take;
        self.take = behind(taken);
        taken
    }

    /// Asks for the next stage, if there is one; zeros behind the last column and in rows that are not there.
    ///
    /// # Safety
    /// The whole block comes here; the stage's place is free.
    #[inline(always)]
    pub unsafe fn ask<P: Product>(&mut self, args: &P) {
        let groups = args.k() / GROUP;
        if self.is_live {
            let (own, piece) = (thread::thread_idx_x() / PIECES, thread::thread_idx_x() % PIECES);
            // The other copies are whole atoms of eight rows behind: the place in their rows stays.
            let to = self.fill + wgmma::place(own, piece);
            let is_within = self.group < groups;
            unroll::<COPIES>(
                #[inline(always)]
                |i| {
                    let bytes = if is_within && self.rows[i] != 0 { 16 } else { 0 };
                    let to = to + i as u32 * TOGETHER * wgmma::ROW_BYTES;
                    // SAFETY: only groups within rows that are there are read.
                    unsafe { cp_async::copy_16_or_zero_of_256(to, row::at(self.rows[i], self.group), bytes) };
                },
            );
            self.group += PIECES;
            // All threads of a row are behind its end together.
            if self.group - piece >= groups {
                // SAFETY: the caller's promise.
                unsafe { self.next_chunk(args) };
            }
        }
        // Also where nothing is left to ask for: the waits count groups.
        cp_async::commit();
        self.fill = behind(self.fill);
    }

    /// Finds the rows of the next chunk.
    ///
    /// # Safety
    /// The whole block comes here; the kernel's Requires hold.
    #[inline(always)]
    unsafe fn next_chunk<P: Product>(&mut self, args: &P) {
        self.group = thread::thread_idx_x() % PIECES;
        // SAFETY: the caller's promise.
        unsafe {
            let Some(chunk) = self.share.next(args) else {
                self.is_live = false;
                return;
            };
            self.is_live = true;
            unroll::<COPIES>(
                #[inline(always)]
                |i| self.rows[i] = address(args, &chunk, i as u32),
            );
        }
    }
}

/// The stage behind the one at shared address `stage`.
#[inline(always)]
fn behind(stage: u32) -> u32 {
    let (start, next) = (shared::dynamic::<u8>().address(), stage + STAGE_BYTES);
    if next == start + RING_STAGES * STAGE_BYTES { start } else { next }
}

/// Where the thread's row number `i` of a stage comes from; 0 for nowhere.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn address<P: Product>(args: &P, chunk: &Chunk, i: u32) -> u64 {
    let row = thread::thread_idx_x() / PIECES + i * TOGETHER;
    // The rows between depend on the chunk.
    if i * TOGETHER < NARROW || i * TOGETHER < TILE && chunk.is_narrow() {
        let from = chunk.weights + u64::from(row) * u64::from(args.k()) * 2;
        return if row < chunk.rows { from } else { 0 };
    }
    let place = row - chunk.most_rows();
    // SAFETY: the place is there.
    if place < chunk.live { unsafe { args.token(chunk.first + place) } } else { 0 }
}
