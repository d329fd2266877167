//! The entry points of `ssm_scan` for compute capability 9.0: one warpgroup makes the outputs, two take S along.
mod inputs;
mod numbers;
mod outputs;
mod states;

use super::span::Span;
use super::{SsmScan, WGMMA_NUMBERS, WGMMA_STAGES, WGMMA_THREADS, end};
use crate::ssm::CHUNK;
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::wgmma::{self, Accumulator};
use cuda_std::{grid, kernel, thread, warp};

kernel! {
    /// Heads of 64 channels.
    pub fn ssm_scan_wgmma_64(args: SsmScan) {
        scan::<64, 8>(&args);
    }

    /// Heads of 80 channels.
    pub fn ssm_scan_wgmma_80(args: SsmScan) {
        scan::<80, 10>(&args);
    }
}

/// Bytes of 64 columns of a chunk's operand.
const MATRIX_BYTES: u32 = CHUNK * wgmma::ROW_BYTES;
/// Columns of such a matrix, and pieces of eight of them.
const COLUMNS: u32 = wgmma::ROW_BYTES / 2;
const PIECES: u32 = COLUMNS / 8;

/// Barriers of the block, one after the other in each turn: a chunk's inputs and the state in front of it are there; the
/// outputs have read that state, and are done with the chunk before.
const READY: u32 = 1;
const READ: u32 = 2;
/// One among the outputs' threads: their results are in shared memory.
const STAGED: u32 = 3;

/// Offset of 16 bytes, number `piece` of row `row`, among matrices of `rows` rows and 64 columns.
#[inline(always)]
const fn place(rows: u32, row: u32, piece: u32) -> u32 {
    piece / PIECES * rows * wgmma::ROW_BYTES + wgmma::place(row, piece % PIECES)
}

/// Shared memory.
struct Room {
    /// Two times `[SIZE, dim]`, the high and the low part of S as 16-bit values, `state_part` bytes each.
    state: u32,
    state_part: u32,
    stages: u32,
    stage_bytes: u32,
    /// `[WGMMA_STAGES, WGMMA_NUMBERS, CHUNK]`.
    numbers: Shared<f32>,
    /// `[CHUNK, dim + 8]`: outputs.
    staged: u32,
}

/// Shared addresses of a chunk's inputs.
struct Stage {
    b: u32,
    c: u32,
    x: u32,
    /// `[CHUNK]`: Δ.
    widths: Shared<f32>,
    /// `[CHUNK]`: the sums of Δ·A, as exponents of 2.
    sums: Shared<f32>,
    /// `[CHUNK]`: what a position counts in S behind the chunk.
    factors: Shared<f32>,
}

impl Room {
    #[inline(always)]
    fn new<const DIM: u32>() -> Room {
        let state = shared::dynamic::<u8>().address();
        let state_part = super::wgmma_state_bytes(DIM) / 2;
        let stages = state + 2 * state_part;
        let stage_bytes = super::wgmma_stage_bytes(DIM);
        let numbers = stages + WGMMA_STAGES * stage_bytes;
        let staged = numbers + WGMMA_STAGES * WGMMA_NUMBERS * CHUNK * 4;
        Room { state, state_part, stages, stage_bytes, numbers: Shared::from_address(numbers), staged }
    }

    #[inline(always)]
    fn stage(&self, chunk: u32) -> Stage {
        let at = chunk % WGMMA_STAGES;
        let b = self.stages + at * self.stage_bytes;
        let c = b + 2 * MATRIX_BYTES;
        let widths = self.numbers.offset(at * WGMMA_NUMBERS * CHUNK);
        let [sums, factors] = [widths.offset(CHUNK), widths.offset(2 * CHUNK)];
        Stage { b, c, x: c + 2 * MATRIX_BYTES, widths, sums, factors }
    }
}

/// A number that all lanes of a warp have: only so does the compiler know it, and keep what follows from it once for all.
///
/// # Safety
/// The whole warp calls it.
#[inline(always)]
unsafe fn uniform(number: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { warp::shuffle(number, 0) }
}

/// # Safety
/// The kernel's Requires hold for heads of `DIM` and states of `WGMMA_SIZE`; the whole block comes here.
#[inline(always)]
unsafe fn scan<const DIM: u32, const TILES: usize>(args: &SsmScan)
where
    [[f32; 4]; TILES]: Accumulator,
{
    wgmma::threads_at_most::<WGMMA_THREADS>();
    grid::launch_dependents();
    // SAFETY: the caller's promise; the span is the same for the whole block, and a warpgroup's number for its warps.
    unsafe {
        let span = Span::of_block(args);
        grid::wait_for_dependencies();
        end::fill_pads(args);
        let Some(span) = span else { return };
        let span = span.map(|number| uniform(number));
        let room = Room::new::<DIM>();
        if uniform(thread::thread_idx_x() / wgmma::THREADS) == 0 {
            outputs::run::<DIM, TILES>(args, &span, &room);
        } else {
            states::run::<DIM, TILES>(args, &span, &room);
        }
        sync_threads();
        end::store_tokens(args, &span);
    }
}
