//! The multiplication of a chunk by eight warps of a block, on every GPU.
use super::product::{Chunk, Product};
use super::stages::{Source, place};
use super::{DEPTH, STAGE_BYTES, STAGES, TOKENS};
use cuda_std::unroll::{array, unroll};
use cuda_std::{fragment, mma, shared, thread};

/// Tiles of 16 token rows and of 8 weight rows of a warp.
const M_TILES: usize = 2;
const N_TILES: usize = 4;
/// Token rows and weight rows of a warp.
const WARP_ROWS: u32 = M_TILES as u32 * fragment::M;
const WARP_COLUMNS: u32 = N_TILES as u32 * fragment::N;

/// A warp's sums.
type Sums = [[[f32; 4]; N_TILES]; M_TILES];

/// Multiplies a chunk of up to [`TOKENS`] token rows and [`super::COLUMNS`] rows of the weight, and stores the results.
///
/// # Safety
/// The whole block comes here; the kernel's Requires hold.
#[inline(always)]
pub unsafe fn multiply<P: Product>(args: &P, chunk: &Chunk) {
    let (row, column) = (thread::warp_id() % 2 * WARP_ROWS, thread::warp_id() / 2 * WARP_COLUMNS);
    let mut sums = [[[0.0; 4]; N_TILES]; M_TILES];
    let mut slot = 0;
    // SAFETY: the steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let mut source = Source::new(args, chunk);
        unroll::<{ STAGES as usize - 1 }>(
            #[inline(always)]
            |_| source.ask(),
        );
        for _ in 0..args.k().div_ceil(DEPTH) {
            source.wait();
            source.ask();
            if row < chunk.live {
                add(&mut sums, shared::dynamic::<u8>().address() + slot * STAGE_BYTES, row, column);
            }
            slot = if slot + 1 == STAGES { 0 } else { slot + 1 };
        }
        store(args, chunk, &sums, [row, column]);
    }
}

/// Adds a stage's products.
///
/// # Safety
/// The whole warp comes here; the stage has landed.
#[inline(always)]
unsafe fn add(sums: &mut Sums, stage: u32, row: u32, column: u32) {
    let lane = thread::lane_id();
    unroll::<{ (DEPTH / fragment::K) as usize }>(
        #[inline(always)]
        |step| {
            let piece = step as u32 * 2;
            let mut a = [[0; 4]; M_TILES];
            unroll::<M_TILES>(
                #[inline(always)]
                |m| {
                    let (source, first) = fragment::a_source(lane);
                    let row = row + m as u32 * fragment::M + source;
                    // SAFETY: the caller's promise.
                    a[m] = unsafe { mma::ldmatrix_x4(stage + place(row, piece + first / 8)) };
                },
            );
            unroll::<{ N_TILES / 2 }>(
                #[inline(always)]
                |pair| {
                    let (source, first) = fragment::b_source_by_columns(lane);
                    let row = TOKENS + column + pair as u32 * 2 * fragment::N + source;
                    // SAFETY: the caller's promise.
                    let b = unsafe { mma::ldmatrix_x4(stage + place(row, piece + first / 8)) };
                    unroll::<M_TILES>(
                        #[inline(always)]
                        |m| {
                            let [left, right] = [2 * pair, 2 * pair + 1];
                            // SAFETY: the whole warp is here.
                            unsafe {
                                sums[m][left] = mma::m16n8k16_bf16(a[m], [b[0], b[1]], sums[m][left]);
                                sums[m][right] = mma::m16n8k16_bf16(a[m], [b[2], b[3]], sums[m][right]);
                            }
                        },
                    );
                },
            );
        },
    );
}

/// Stores a warp's outputs, two neighbours at a time.
///
/// # Safety
/// The kernel's Requires hold; the warp's place in the chunk is `row` and `column`.
#[inline(always)]
unsafe fn store<P: Product>(args: &P, chunk: &Chunk, sums: &Sums, [row, column]: [u32; 2]) {
    let (own, within) = fragment::c_element(thread::lane_id(), 0);
    let columns = |n: usize| chunk.row + column + n as u32 * fragment::N + within;
    // SAFETY: a column behind the last has no bias.
    let biases: [P::Bias; N_TILES] = array(|n| unsafe { args.bias(columns(n)) });
    unroll::<{ 2 * M_TILES }>(
        #[inline(always)]
        |eight| {
            let (m, half) = (eight / 2, eight % 2);
            let place = row + own + eight as u32 * (fragment::M / 2);
            if place >= chunk.live {
                return;
            }
            // SAFETY: the place is there, and so is its row of the output.
            unsafe {
                let row = args.output_row(chunk.first + place);
                // All at once: one behind the other, each would be waited for.
                let residuals: [u32; N_TILES] = array(
                    #[inline(always)]
                    |n| args.residual(row, columns(n)),
                );
                unroll::<N_TILES>(
                    #[inline(always)]
                    |n| {
                        let sums = [sums[m][n][2 * half], sums[m][n][2 * half + 1]];
                        args.store([row, columns(n)], sums, biases[n], residuals[n]);
                    },
                );
            }
        },
    );
}
