//! The entry points of `moe_route` for more than eight rows: logits on the tensor core.
//!
//! A weight of f32 is split into three bf16: as many bits as it has, but where they end below what a bf16 holds.
use super::choose::choose;
use super::entry::is_last;
use super::{MoeRoute, WARPS, together};
use crate::row::{self, GROUP};
use cuda_std::barrier::sync_threads;
use cuda_std::codes::permute;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{fragment, global, grid, kernel, mma, thread};

/// Groups of eight columns that a warp multiplies at once, one to each of four lanes.
const CHUNK: u32 = 4;
/// Sums of a lane of 16 rows and 8 experts: of the weights' first parts, and of the others.
type Sums = [[f32; 4]; 2];

kernel! {
    /// 16 token rows and 8 experts.
    pub fn moe_route_16(args: MoeRoute) {
        thread::blocks_at_once::<{ WARPS * 32 }, 1>();
        route::<1, 1>(&args);
    }

    /// 32 token rows and 16 experts.
    pub fn moe_route_32(args: MoeRoute) {
        thread::blocks_at_once::<{ WARPS * 32 }, 1>();
        route::<2, 2>(&args);
    }
}

/// The block's tile of `M` sixteens of rows and `N` eights of experts; its last block's choice.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn route<const M: usize, const N: usize>(args: &MoeRoute) {
    grid::launch_dependents();
    let tile = Tile::<M, N>::of_block();
    // SAFETY: the caller's promise; the block's threads come to all barriers.
    unsafe {
        // The router's weights are constant.
        let weights = tile.weights(args, thread::warp_id());
        grid::wait_for_dependencies();
        let sums = tile.sums(args, weights);
        tile.store(args, sums);
        if is_last(args, thread::block_idx_y()) {
            let (live, together) = ((args.rows - tile.row).min(Tile::<M, N>::ROWS), together(args.experts));
            for part in 0..live.div_ceil(together) {
                let done = part * together;
                choose::<WARPS>(args, tile.row + done, (live - done).min(together));
                sync_threads();
            }
        }
    }
}

/// A block's first row and expert.
struct Tile<const M: usize, const N: usize> {
    row: u32,
    expert: u32,
}

impl<const M: usize, const N: usize> Tile<M, N> {
    const ROWS: u32 = M as u32 * fragment::M;
    const EXPERTS: u32 = N as u32 * fragment::N;

    #[inline(always)]
    fn of_block() -> Self {
        Tile { row: thread::block_idx_y() * Self::ROWS, expert: thread::block_idx_x() * Self::EXPERTS }
    }

    /// The lane's group of a chunk; none behind the row.
    #[inline(always)]
    fn group(args: &MoeRoute, chunk: u32) -> Option<u32> {
        let group = chunk * CHUNK + thread::lane_id() % 4;
        (group < args.hidden / GROUP).then_some(group)
    }

    /// The lane's group of its experts; of the last one, where there are fewer.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn weights(&self, args: &MoeRoute, chunk: u32) -> [[[u32; 4]; 2]; N] {
        let Some(group) = Self::group(args, chunk) else { return [[[0; 4]; 2]; N] };
        let first = self.expert + thread::lane_id() / 4;
        array(
            #[inline(always)]
            |n| {
                let expert = (first + n as u32 * fragment::N).min(args.experts - 1);
                let row = args.w.addr + u64::from(expert) * u64::from(args.hidden) * 4;
                // SAFETY: the group is within the row.
                unsafe { [global::load(row::at(row, 2 * group)), global::load(row::at(row, 2 * group + 1))] }
            },
        )
    }

    /// The lane's group of its two rows of each sixteen; of the last one, where there are fewer.
    ///
    /// # Safety
    /// The kernel's Requires hold, and the kernel in front has ended.
    #[inline(always)]
    unsafe fn tokens(&self, args: &MoeRoute, chunk: u32) -> [[[u32; 4]; 2]; M] {
        let Some(group) = Self::group(args, chunk) else { return [[[0; 4]; 2]; M] };
        let first = self.row + thread::lane_id() / 4;
        array(
            #[inline(always)]
            |m| {
                [0, fragment::M / 2].map(|below| {
                    let row = (first + m as u32 * fragment::M + below).min(args.rows - 1);
                    let row = args.x.addr + u64::from(row) * u64::from(args.hidden) * 2;
                    // SAFETY: the group is within the row.
                    unsafe { global::load(row::at(row, group)) }
                })
            },
        )
    }

    /// The warp's sums: of every `WARPS`-th chunk, of which the first one's `weights` are there.
    ///
    /// # Safety
    /// As for [`Tile::tokens`]; the whole warp comes here.
    #[inline(always)]
    unsafe fn sums(&self, args: &MoeRoute, weights: [[[u32; 4]; 2]; N]) -> [[Sums; N]; M] {
        let mut sums = [[[[0.0; 4]; 2]; N]; M];
        let mut chunk = thread::warp_id();
        // SAFETY: the caller's promise.
        unsafe {
            let (mut w, mut x) = (weights, self.tokens(args, chunk));
            while chunk * CHUNK < args.hidden / GROUP {
                chunk += WARPS;
                // Those of the next chunk come while these are in use.
                let next = (self.weights(args, chunk), self.tokens(args, chunk));
                multiply(&mut sums, w, x);
                (w, x) = next;
            }
        }
        sums
    }

    /// Adds the warps' sums in their order, and stores the logits.
    ///
    /// # Safety
    /// The whole block comes here.
    #[inline(always)]
    unsafe fn store(&self, args: &MoeRoute, sums: [[Sums; N]; M]) {
        let of_warp =
            |warp: u32| shared::dynamic::<u8>().cast::<f32>().offset(warp * Self::ROWS * Self::EXPERTS) as Shared<f32>;
        let own = of_warp(thread::warp_id());
        // SAFETY: a word for each sum; behind the barrier all are there, and behind the last nobody uses them.
        unsafe {
            unroll::<M>(|m| {
                unroll::<N>(|n| {
                    unroll::<4>(|i| {
                        let (row, expert) = fragment::c_element(thread::lane_id(), i as u32);
                        let (row, expert) = (row + m as u32 * fragment::M, expert + n as u32 * fragment::N);
                        let [firsts, others] = sums[m][n];
                        own.store(row * Self::EXPERTS + expert, firsts[i] + others[i]);
                    });
                });
            });
            sync_threads();
            let mut at = thread::thread_idx_x();
            while at < Self::ROWS * Self::EXPERTS {
                let (row, expert) = (self.row + at / Self::EXPERTS, self.expert + at % Self::EXPERTS);
                let mut sum = of_warp(0).load(at);
                unroll::<{ WARPS as usize - 1 }>(|warp| sum += of_warp(warp as u32 + 1).load(at));
                if row < args.rows && expert < args.experts {
                    global::store(args.logit(row, expert), sum);
                }
                at += WARPS * thread::WARP_SIZE;
            }
        }
    }
}

/// Adds the products of a chunk. The tensor core pairs columns by their place in its operands alone, so each lane gives it its eight
/// neighbours as columns of two products, the same of weights and tokens.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn multiply<const M: usize, const N: usize>(
    sums: &mut [[Sums; N]; M],
    weights: [[[u32; 4]; 2]; N],
    tokens: [[[u32; 4]; 2]; M],
) {
    unroll::<N>(
        #[inline(always)]
        |n| {
            unroll::<2>(
                #[inline(always)]
                |half| {
                    let parts = parts(weights[n][half]);
                    unroll::<M>(
                        #[inline(always)]
                        |m| {
                            let [upper, lower] = tokens[m];
                            let a = [upper[2 * half], lower[2 * half], upper[2 * half + 1], lower[2 * half + 1]];
                            let [firsts, others] = &mut sums[m][n];
                            // SAFETY: the whole warp is here.
                            unsafe {
                                *firsts = mma::m16n8k16_bf16(a, parts[0], *firsts);
                                *others = mma::m16n8k16_bf16(a, parts[1], *others);
                                *others = mma::m16n8k16_bf16(a, parts[2], *others);
                            }
                        },
                    );
                },
            );
        },
    );
}

/// The three parts of four weights, as pairs: the bits that a bf16 holds, those of the rest, and those of what then is left.
#[inline(always)]
fn parts(weights: [u32; 4]) -> [[u32; 2]; 3] {
    const FIRST: u32 = 0xffff_0000;
    let mut rest = weights;
    array(
        #[inline(always)]
        |_| {
            let own = rest;
            rest = own.map(|bits| (f32::from_bits(bits) - f32::from_bits(bits & FIRST)).to_bits());
            [permute::<0x7632>(own[0], own[1]), permute::<0x7632>(own[2], own[3])]
        },
    )
}
