//! The entry points of `skinny_gemm`.
use super::cluster::{Blocks, Cluster};
use super::multiply::{Multiplier, Sums, Warpgroups, Warps};
use super::ring::Rings;
use super::store::{self, Outputs};
use super::{SkinnyGemm, THREADS, sixteens};
use cuda_std::unroll::unroll;
use cuda_std::{cluster, global, kernel, thread};

/// Entries by eights of token rows, matrices of 64 columns in a stage, stages of weights and of tokens, blocks whose registers a
/// multiprocessor has room for, who multiplies, and whether splits are clusters.
macro_rules! entries {
    ($($name:ident $tiles:literal $parts:literal $weights:literal $tokens:literal $blocks:literal $multiplier:ty, $clustered:literal;)*) => { kernel! {$(
        #[doc = concat!("Up to ", $tiles, " times eight token rows.")]
        pub fn $name(args: SkinnyGemm) {
            thread::blocks_at_once::<THREADS, $blocks>();
            product::<$tiles, $parts, $weights, $tokens, $multiplier, $clustered>(&args);
        }
    )*} };
}

entries! {
    skinny_gemm_16 2 1 4 4 3 Warps, false;
    skinny_gemm_32 4 1 4 4 2 Warps, false;
    skinny_gemm_64 8 1 4 3 2 Warps, false;
    skinny_gemm_wgmma_16 2 2 6 6 2 Warpgroups, false;
    skinny_gemm_wgmma_32 4 2 5 5 2 Warpgroups, false;
    skinny_gemm_wgmma_64 8 2 5 4 2 Warpgroups, false;
    skinny_gemm_cluster_16 2 2 6 6 2 Warpgroups, true;
    skinny_gemm_cluster_32 4 2 5 5 2 Warpgroups, true;
    skinny_gemm_cluster_64 8 2 5 4 2 Warpgroups, true;
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn product<
    const TILES: usize,
    const PARTS: usize,
    const WEIGHTS: u32,
    const TOKENS: u32,
    M: Multiplier<TILES, PARTS>,
    const CLUSTERED: bool,
>(
    args: &SkinnyGemm,
) {
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers; a cluster has one tile.
    unsafe {
        if CLUSTERED {
            cluster::always();
            Cluster::open(Rings::<TILES, PARTS, WEIGHTS, TOKENS, CLUSTERED>::BYTES, TILES as u32);
        }
        let mut rings = Rings::<TILES, PARTS, WEIGHTS, TOKENS, CLUSTERED>::new(args);
        let mut first = Blocks::<CLUSTERED>::tile() * args.height;
        while first < sixteens(args.n) {
            let mut sums = [[0.0; 4]; TILES];
            for _ in 0..rings.steps() {
                let stage = rings.next();
                M::add(
                    &mut sums,
                    stage,
                    #[inline(always)]
                    || rings.ask(),
                );
            }
            M::end(&mut sums);
            if CLUSTERED {
                let cluster = Cluster::of(Rings::<TILES, PARTS, WEIGHTS, TOKENS, CLUSTERED>::BYTES, TILES as u32);
                return cluster.join(&outputs(args), (first, Some(args.height)), &sums);
            }
            finish(args, first, &sums);
            first += Blocks::<CLUSTERED>::apart() * args.height;
        }
    }
}

#[inline(always)]
fn outputs(args: &SkinnyGemm) -> Outputs {
    let SkinnyGemm { bias, residual, y, y_f32, rows, n, activation, .. } = *args;
    Outputs { bias, residual, y, y_f32, rows, n, activation }
}

/// Stores what the tile that begins with sixteen `first` gives.
///
/// # Safety
/// The kernel's Requires hold; the whole warp comes here.
#[inline(always)]
unsafe fn finish<const TILES: usize>(args: &SkinnyGemm, first: u32, sums: &Sums<TILES>) {
    let sixteen = first + thread::warp_id();
    if thread::warp_id() >= args.height || sixteen >= sixteens(args.n) {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        if args.partial.is_null() {
            return store::store(&outputs(args), [sixteen, 0], sums);
        }
        let split = thread::block_idx_y() * sixteens(args.n) + sixteen;
        let first = args.partial.addr + u64::from(split * TILES as u32 * thread::WARP_SIZE + thread::lane_id()) * 16;
        unroll::<TILES>(
            #[inline(always)]
            |i| global::store(first + i as u64 * 512, sums[i]),
        );
    }
}
