//! The entry point of `moe_gemm`.
use super::stages::{Source, place};
use super::{CHOICES, COLUMNS, DEPTH, MoeGemm, STAGE_BYTES, STAGES};
use crate::gemv::RELU2;
use crate::moe_sort::TILE;
use crate::relu2::entry::relu2_of;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, fragment, global, grid, kernel, mma, shared, thread};

/// Tiles of 16 choices and of 8 weight rows of a warp.
const M_TILES: usize = 2;
const N_TILES: usize = 4;
/// Choices and weight rows of a warp.
const WARP_ROWS: u32 = M_TILES as u32 * fragment::M;
const WARP_COLUMNS: u32 = N_TILES as u32 * fragment::N;

/// Blocks of a tile.
const PARTS: u32 = TILE / CHOICES;

/// A warp's sums.
type Sums = [[[f32; 4]; N_TILES]; M_TILES];

kernel! {
    /// Up to 64 choices of an expert and 128 rows of its weight.
    pub fn moe_gemm(args: MoeGemm) {
        grid::launch_dependents();
        grid::wait_for_dependencies();
        let (tile, part) = (thread::block_idx_x() / PARTS, thread::block_idx_x() % PARTS * CHOICES);
        let [expert, first, places, _]: [u32; 4] = global::load(args.tiles.addr + 16 * u64::from(tile));
        let held = expert.wrapping_sub(args.first);
        if part >= places || held >= args.held {
            return;
        }
        let (first, live) = (first + part, (places - part).min(CHOICES));
        let mut source = Source::new(&args, held, first, live);
        unroll::<{ STAGES as usize - 1 }>(
            #[inline(always)]
            |_| source.ask(),
        );
        let (row, column) = (thread::warp_id() % 2 * WARP_ROWS, thread::warp_id() / 2 * WARP_COLUMNS);
        let mut sums = [[[0.0; 4]; N_TILES]; M_TILES];
        let mut slot = 0;
        for _ in 0..args.k.div_ceil(DEPTH) {
            source.wait();
            source.ask();
            if row < live {
                multiply(&mut sums, shared::dynamic::<u8>().address() + slot * STAGE_BYTES, row, column);
            }
            slot = if slot + 1 == STAGES { 0 } else { slot + 1 };
        }
        store(&args, &sums, [first, live], [row, thread::block_idx_y() * COLUMNS + column]);
    }
}

/// Adds a stage's products.
///
/// # Safety
/// The whole warp comes here; the stage has landed.
#[inline(always)]
unsafe fn multiply(sums: &mut Sums, stage: u32, row: u32, column: u32) {
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
                    let row = CHOICES + column + pair as u32 * 2 * fragment::N + source;
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
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn store(args: &MoeGemm, sums: &Sums, [first, live]: [u32; 2], [row, column]: [u32; 2]) {
    unroll::<M_TILES>(
        #[inline(always)]
        |m| {
            unroll::<2>(
                #[inline(always)]
                |half| {
                    let (own, within) = fragment::c_element(thread::lane_id(), 2 * half as u32);
                    let place = row + m as u32 * fragment::M + own;
                    if place >= live {
                        return;
                    }
                    // SAFETY: the place is there, and so is its row of the output.
                    unsafe {
                        let choice: u32 = global::load(args.order.addr + 4 * u64::from(first + place));
                        let y = args.y.addr + u64::from(choice) * u64::from(args.n) * 2;
                        unroll::<{ N_TILES / 2 }>(
                            #[inline(always)]
                            |pair| {
                                let column = column + pair as u32 * 2 * fragment::N + within;
                                if column < args.n {
                                    let y = y + u64::from(column) * 2;
                                    let sums = [2 * pair, 2 * pair + 1]
                                        .map(|n| [sums[m][n][2 * half], sums[m][n][2 * half + 1]]);
                                    global::store(y, bf16::pack(activated(args, sums[0])));
                                    global::store(y + u64::from(fragment::N) * 2, bf16::pack(activated(args, sums[1])));
                                }
                            },
                        );
                    }
                },
            );
        },
    );
}

/// What becomes of two sums.
#[inline(always)]
pub fn activated(args: &MoeGemm, pair: [f32; 2]) -> [f32; 2] {
    if args.activation == RELU2 { pair.map(|sum| relu2_of(bf16::round(sum))) } else { pair }
}
