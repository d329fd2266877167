//! The warpgroup that makes a chunk's outputs: 16 rows to a warp.
use super::{MATRIX_BYTES, PIECES, READ, READY, Room, STAGED, Stage, place};
use crate::row::GROUP;
use crate::ssm::CHUNK;
use crate::ssm::arithmetic::number;
use crate::ssm_scan::span::Span;
use crate::ssm_scan::{SsmScan, WGMMA_SIZE, WGMMA_THREADS, stride};
use cuda_std::barrier::{arrive_named, sync_named};
use cuda_std::shared::Shared;
use cuda_std::unroll::unroll;
use cuda_std::wgmma::{self, Accumulator};
use cuda_std::{bf16, fragment, global, math, thread};

/// Steps of the tensor core over a chunk's positions, and over the columns of S.
const STEPS: usize = (CHUNK / wgmma::K) as usize;
const DEPTHS: usize = (WGMMA_SIZE / wgmma::K) as usize;
/// Results for a chunk's positions.
const SCORES: usize = (CHUNK / 8) as usize;

/// # Safety
/// The kernel's Requires hold; the block's first warpgroup comes here, and [`super::states::run`] is where the others are;
/// the kernel in front has ended.
#[inline(always)]
pub unsafe fn run<const DIM: u32, const TILES: usize>(args: &SsmScan, span: &Span, room: &Room)
where
    [[f32; 4]; TILES]: Accumulator,
{
    let last = (span.end - 1) / CHUNK;
    // SAFETY: chunks are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let skip = number(args.d, span.head);
        let mut at = span.front;
        if (at + 1) * CHUNK <= span.position {
            // A chunk that S is taken over, and no more.
            sync_named(READY, WGMMA_THREADS);
            arrive_named(READ, WGMMA_THREADS);
            at += 1;
        }
        while at <= last {
            let stage = room.stage(at);
            sync_named(READY, WGMMA_THREADS);
            let mut scores = score(&stage);
            let mut sums = Sums::<TILES>::start(room, &stage);
            scores.wait::<1>();
            // While S meets C.
            let mut weights = weigh(&stage, &scores);
            wgmma::hold(&mut weights);
            sums.0.wait::<0>();
            if at < last {
                arrive_named(READ, WGMMA_THREADS);
            }
            sums.decay(&stage);
            sums.start_x(&stage, &mut weights);
            let x = own_x::<TILES>(&stage);
            sums.finish_x(&mut weights);
            sums.stage::<DIM>(room, &x, skip);
            sync_named(STAGED, wgmma::THREADS);
            store::<DIM>(args, span, room, at);
            at += 1;
        }
    }
}

/// What each position of a chunk counts for the warp's rows: the left operands of a product with x.
type Weights = [[u32; 4]; STEPS];

/// Bytes from the first columns of B or C to those of step `k`.
#[inline(always)]
const fn depth(k: usize) -> u32 {
    k as u32 / 4 * MATRIX_BYTES + k as u32 % 4 * wgmma::K * 2
}

/// Starts C·B of the chunk.
///
/// # Safety
/// The whole warpgroup comes here, behind a barrier that orders the chunk; so for the functions below.
#[inline(always)]
unsafe fn score(stage: &Stage) -> [[f32; 4]; SCORES] {
    let [b, c] = [stage.b, stage.c].map(|matrix| wgmma::describe(matrix, 0));
    // SAFETY: the caller's promise.
    unsafe {
        // Its registers go nowhere: the fence alone is wanted.
        [[0.0; 4]; SCORES].fence();
        let mut scores = <[[f32; 4]; SCORES]>::start(c, b);
        unroll::<DEPTHS>(
            #[inline(always)]
            |k| {
                if k > 0 {
                    scores.add(wgmma::along(c, depth(k)), wgmma::along(b, depth(k)));
                }
            },
        );
        wgmma::commit();
        scores
    }
}

/// The lane's rows of the chunk.
#[inline(always)]
fn own_rows() -> [u32; 2] {
    let row = thread::warp_id() * fragment::M + fragment::c_element(thread::lane_id(), 0).0;
    [row, row + 8]
}

/// What each position of the chunk counts for the warp's rows.
#[inline(always)]
unsafe fn weigh(stage: &Stage, scores: &[[f32; 4]; SCORES]) -> Weights {
    let ([row, _], column) = (own_rows(), fragment::c_element(thread::lane_id(), 0).1);
    // SAFETY: the caller's promise.
    let own = own_rows().map(|row| unsafe { stage.sums.load(row) });
    let mut weights = [[0; 4]; STEPS];
    unroll::<SCORES>(
        #[inline(always)]
        |n| {
            let entry = n as u32 * 8 + column;
            // SAFETY: the caller's promise.
            let (sums, widths) = unsafe {
                let pair = |numbers: Shared<f32>| numbers.cast::<[f32; 2]>().load(entry / 2);
                (pair(stage.sums), pair(stage.widths))
            };
            unroll::<2>(
                #[inline(always)]
                |half| {
                    let weight = |i: usize| {
                        let weight = math::ex2_flushed(own[half] - sums[i]) * widths[i] * scores[n][2 * half + i];
                        if entry + i as u32 <= row + 8 * half as u32 { weight } else { 0.0 }
                    };
                    // Of the last eight positions, only the last eight rows see any.
                    if n + 1 < SCORES || half == 1 {
                        weights[n / 2][n % 2 * 2 + half] = bf16::pack([weight(0), weight(1)]);
                    }
                },
            );
        },
    );
    weights
}

/// A chunk's outputs, but for x itself.
struct Sums<const TILES: usize>([[f32; 4]; TILES]);

/// Bytes of the rows of one step of the tensor core.
const NEXT: u32 = wgmma::K * wgmma::ROW_BYTES;

impl<const TILES: usize> Sums<TILES>
where
    [[f32; 4]; TILES]: Accumulator,
{
    /// Starts S·C.
    #[inline(always)]
    unsafe fn start(room: &Room, stage: &Stage) -> Self {
        let next_state = WGMMA_SIZE * wgmma::ROW_BYTES;
        let [high, low] = [room.state, room.state + room.state_part].map(|part| wgmma::describe(part, next_state));
        let c = wgmma::describe(stage.c, 0);
        let mut sums = [[0.0; 4]; TILES];
        // SAFETY: the caller's promise.
        unsafe {
            sums.fence();
            unroll::<DEPTHS>(
                #[inline(always)]
                |k| {
                    let c = wgmma::along(c, depth(k));
                    sums.add_product(c, wgmma::along(high, k as u32 * NEXT));
                    sums.add_product(c, wgmma::along(low, k as u32 * NEXT));
                },
            );
            wgmma::commit();
        }
        Sums(sums)
    }

    /// Makes of S·C what S counts in the outputs.
    #[inline(always)]
    unsafe fn decay(&mut self, stage: &Stage) {
        // SAFETY: the caller's promise.
        unsafe {
            let decays = own_rows().map(
                #[inline(always)]
                |row| math::ex2_flushed(stage.sums.load(row)),
            );
            self.0 = self.0.map(
                #[inline(always)]
                |[a, b, c, d]| [a * decays[0], b * decays[0], c * decays[1], d * decays[1]],
            );
        }
    }

    /// Starts to add the weighed x; the weights belong to the products until [`Sums::finish_x`].
    #[inline(always)]
    unsafe fn start_x(&mut self, stage: &Stage, weights: &mut Weights) {
        let x = wgmma::describe(stage.x, MATRIX_BYTES);
        // SAFETY: the caller's promise.
        unsafe {
            wgmma::hold(weights);
            self.0.fence();
            unroll::<STEPS>(
                #[inline(always)]
                |k| self.0.add_rows(weights[k], wgmma::along(x, k as u32 * NEXT)),
            );
            wgmma::commit();
        }
    }

    /// Waits until the weighed x is added.
    #[inline(always)]
    unsafe fn finish_x(&mut self, weights: &mut Weights) {
        // SAFETY: the caller's promise.
        unsafe { self.0.wait::<0>() };
        wgmma::hold(weights);
    }

    /// Leaves the outputs, rounded, in shared memory.
    ///
    /// # Safety
    /// The outputs of the chunk before have been read.
    #[inline(always)]
    unsafe fn stage<const DIM: u32>(&self, room: &Room, x: &[[u32; 2]; TILES], skip: f32) {
        let (row, column) = (own_rows()[0], fragment::c_element(thread::lane_id(), 0).1);
        let to = room.staged + 2 * (row * stride(DIM) + column);
        unroll::<TILES>(
            #[inline(always)]
            |tile| {
                unroll::<2>(
                    #[inline(always)]
                    |half| {
                        let x = bf16::unpack(x[tile][half]);
                        let y = |i: usize| math::fma(skip, x[i], self.0[tile][2 * half + i]);
                        let to = to + 2 * (8 * half as u32 * stride(DIM) + tile as u32 * GROUP);
                        // SAFETY: the words are the lane's own.
                        unsafe { Shared::from_address(to).store(0, bf16::pack([y(0), y(1)])) };
                    },
                );
            },
        );
    }
}

/// x where the lane's outputs are: asked for while the products run, and in front of the stores.
#[inline(always)]
unsafe fn own_x<const TILES: usize>(stage: &Stage) -> [[u32; 2]; TILES] {
    let (row, column) = (own_rows()[0], fragment::c_element(thread::lane_id(), 0).1);
    let from = stage.x + place(CHUNK, row, 0) + 2 * column;
    let mut x = [[0; 2]; TILES];
    unroll::<TILES>(
        #[inline(always)]
        |tile| {
            let from = further(from, tile as u32 / PIECES, tile as u32 % PIECES);
            // The eighth row behind: its pieces are permuted alike.
            // SAFETY: the caller's promise.
            x[tile] = [0, 8].map(|below| unsafe { Shared::from_address(from + below * wgmma::ROW_BYTES).load(0) });
        },
    );
    x
}

/// The address of the piece that is `matrix` matrices and `piece` pieces, which differ in bits of their own from those of
/// the one at `from`, behind it.
#[inline(always)]
const fn further(from: u32, matrix: u32, piece: u32) -> u32 {
    (from ^ (piece * 16)) + matrix * MATRIX_BYTES
}

/// Stores the chunk's outputs.
#[inline(always)]
unsafe fn store<const DIM: u32>(args: &SsmScan, span: &Span, room: &Room, chunk: u32) {
    const MOST: usize = 6;
    let groups = DIM / GROUP;
    let rows = wgmma::THREADS / groups;
    let (first, group) = (thread::thread_idx_x() / groups, thread::thread_idx_x() % groups);
    let (position, inner) = (chunk * CHUNK + first, u64::from(args.mixer().inner()));
    let from = room.staged + 2 * (first * stride(DIM) + group * GROUP);
    let column = args.y.addr + 2 * u64::from(span.head * DIM + group * GROUP);
    unroll::<MOST>(
        #[inline(always)]
        |share| {
            let further = share as u32 * rows;
            let position = position + further;
            if first < rows && first + further < CHUNK && position >= span.position && position < span.end {
                // SAFETY: they are in shared memory, and the row is the span's.
                unsafe {
                    let from = Shared::<[u32; 4]>::from_address(from + 2 * further * stride(DIM));
                    global::store(column + 2 * u64::from(span.row_at(position)) * inner, from.load(0));
                }
            }
        },
    );
}

const _: () = assert!(6 * (wgmma::THREADS / (80 / GROUP)) >= CHUNK && 6 * (wgmma::THREADS / (64 / GROUP)) >= CHUNK);
