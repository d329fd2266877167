//! The entry points of `skinny_gemm`.
use super::multiply::{Multiplier, Warpgroups, Warps};
use super::ring::Ring;
use super::{SkinnyGemm, THREADS, store};
use cuda_std::{kernel, thread};

macro_rules! entries {
    ($($name:ident $tiles:literal $stages:literal $blocks:literal $multiplier:ty;)*) => { kernel! {$(
        #[doc = concat!("Up to ", $tiles, " times eight token rows.")]
        pub fn $name(args: SkinnyGemm) {
            thread::blocks_at_once::<THREADS, $blocks>();
            product::<$tiles, $stages, $multiplier>(&args);
        }
    )*} };
}

entries! {
    skinny_gemm_16 2 5 3 Warps;
    skinny_gemm_32 4 4 3 Warps;
    skinny_gemm_64 8 4 3 Warps;
    skinny_gemm_128 16 3 2 Warps;
    skinny_gemm_wgmma_16 2 6 3 Warpgroups;
    skinny_gemm_wgmma_32 4 5 3 Warpgroups;
    skinny_gemm_wgmma_64 8 4 3 Warpgroups;
    skinny_gemm_wgmma_128 16 3 2 Warpgroups;
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn product<const TILES: usize, const STAGES: u32, M: Multiplier<TILES>>(args: &SkinnyGemm) {
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let mut ring = Ring::<TILES, STAGES>::new(args);
        let mut tile = thread::block_idx_x();
        while tile < args.tiles() {
            let mut sums = [[0.0; 4]; TILES];
            for _ in 0..ring.steps() {
                let stage = ring.next();
                M::add(
                    &mut sums,
                    stage,
                    #[inline(always)]
                    || ring.ask(),
                );
            }
            store::store(args, tile, &sums);
            tile += thread::grid_dim_x();
        }
    }
}
