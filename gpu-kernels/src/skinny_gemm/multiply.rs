//! The products of a stage in `skinny_gemm`, by warpgroups or by warps: the sums lie alike.
use super::ring::Stage;
use super::{DEPTH, ROW_BYTES, TILE};
use cuda_std::unroll::unroll;
use cuda_std::wgmma::{self, Accumulator};
use cuda_std::{fragment, mma, thread, warp};

/// 16-column steps of a stage.
const STEPS: usize = (DEPTH / wgmma::K) as usize;
/// Bytes of such a step in a row, in pieces of 16.
const STEP_PIECES: u32 = wgmma::K * 2 / 16;

/// A lane's sums of its warp's 16 rows of the weight with all token rows, as [`fragment::c_element`] says for each eight.
pub type Sums<const TILES: usize> = [[f32; 4]; TILES];

/// Who multiplies.
pub trait Multiplier<const TILES: usize, const PARTS: usize> {
    /// Adds the products of a stage, and meanwhile asks for another.
    ///
    /// # Safety
    /// The whole block comes here; the stage has landed, and nobody writes it before the next barrier.
    unsafe fn add(sums: &mut Sums<TILES>, stage: Stage, ask: impl FnOnce());

    /// Ends the products that are under way.
    ///
    /// # Safety
    /// The whole block comes here.
    unsafe fn end(sums: &mut Sums<TILES>);
}

/// Warpgroups.
pub struct Warpgroups;

impl<const TILES: usize, const PARTS: usize> Multiplier<TILES, PARTS> for Warpgroups
where
    Sums<TILES>: Accumulator,
{
    #[inline(always)]
    unsafe fn add(sums: &mut Sums<TILES>, stage: Stage, ask: impl FnOnce()) {
        // SAFETY: the caller's promise.
        unsafe {
            // The whole warp has the same number; only so does the compiler know it.
            let own = warp::shuffle(thread::thread_idx_x() / wgmma::THREADS, 0);
            let a = wgmma::describe(stage.weights + own * wgmma::M * ROW_BYTES, 0);
            let b = wgmma::describe(stage.tokens, 0);
            sums.fence();
            unroll::<PARTS>(
                #[inline(always)]
                |part| {
                    let [a, b] = [
                        wgmma::along(a, part as u32 * TILE * ROW_BYTES),
                        wgmma::along(b, (part * TILES) as u32 * fragment::N * ROW_BYTES),
                    ];
                    unroll::<STEPS>(
                        #[inline(always)]
                        |k| {
                            let bytes = k as u32 * wgmma::K * 2;
                            sums.add(wgmma::along(a, bytes), wgmma::along(b, bytes));
                        },
                    );
                },
            );
            wgmma::commit();
            ask();
            // Those of the stage before, whose place is filled behind the next barrier.
            sums.wait::<1>();
        }
    }

    #[inline(always)]
    unsafe fn end(sums: &mut Sums<TILES>) {
        // SAFETY: the caller's promise.
        unsafe { sums.wait::<0>() };
    }
}

/// Warps.
pub struct Warps;

impl<const TILES: usize, const PARTS: usize> Multiplier<TILES, PARTS> for Warps {
    #[inline(always)]
    unsafe fn add(sums: &mut Sums<TILES>, stage: Stage, ask: impl FnOnce()) {
        let lane = thread::lane_id();
        let (row, first) = fragment::a_source(lane);
        let weights = thread::warp_id() * fragment::M + row;
        let (token, first_of_token) = fragment::b_source_by_columns(lane);
        ask();
        unroll::<{ 2 * STEPS }>(
            #[inline(always)]
            |k| {
                if k >= PARTS * STEPS {
                    return;
                }
                let (part, k) = ((k / STEPS) as u32, k % STEPS);
                let stage = Stage {
                    weights: stage.weights + part * TILE * ROW_BYTES,
                    tokens: stage.tokens + part * TILES as u32 * fragment::N * ROW_BYTES,
                };
                let piece = k as u32 * STEP_PIECES;
                // SAFETY: the caller's promise.
                let a = unsafe { mma::ldmatrix_x4(stage.weights + wgmma::place(weights, piece + first / 8)) };
                unroll::<TILES>(
                    #[inline(always)]
                    |tile| {
                        if tile % 2 == 0 {
                            let token = tile as u32 * fragment::N + token;
                            // SAFETY: the caller's promise.
                            unsafe {
                                let b =
                                    mma::ldmatrix_x4(stage.tokens + wgmma::place(token, piece + first_of_token / 8));
                                sums[tile] = mma::m16n8k16_bf16(a, [b[0], b[1]], sums[tile]);
                                sums[tile + 1] = mma::m16n8k16_bf16(a, [b[2], b[3]], sums[tile + 1]);
                            }
                        }
                    },
                );
            },
        );
    }

    #[inline(always)]
    unsafe fn end(_: &mut Sums<TILES>) {}
}
