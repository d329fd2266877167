//! The products of 16 or more columns in `quant_gemm`, by warpgroups or by warps: the sums lie alike.
use crate::skinny_gemm::multiply::{Sums, Warpgroups, Warps};
use cuda_std::unroll::unroll;
use cuda_std::wgmma::{self, Accumulator};
use cuda_std::{fragment, mma, thread};

/// Who multiplies.
pub trait Multiplier<const TILES: usize> {
    /// Whether products run on while the next operands are made.
    const RUNS_ON: bool;

    /// Starts to add the products of a lane's part of `STEPS` operands of 16 columns each, which begin `first` operands behind the
    /// first columns of the matrix of tokens at shared address `tokens`; with `FRESH`, to zeros instead of `sums`.
    ///
    /// # Safety
    /// The whole block comes here; the tokens have landed, and nobody writes them before the next barrier. No products of this lane
    /// are under way, and until [`Multiplier::end`] nobody touches `sums` and `a`.
    unsafe fn start<const STEPS: usize, const FRESH: bool>(
        sums: &mut Sums<TILES>,
        a: &mut [[u32; 4]; STEPS],
        tokens: u32,
        first: u32,
    );

    /// Waits for those products.
    ///
    /// # Safety
    /// The whole block comes here.
    unsafe fn end<const STEPS: usize>(sums: &mut Sums<TILES>, a: &mut [[u32; 4]; STEPS]);
}

impl<const TILES: usize> Multiplier<TILES> for Warpgroups
where
    Sums<TILES>: Accumulator,
{
    const RUNS_ON: bool = true;

    #[inline(always)]
    unsafe fn start<const STEPS: usize, const FRESH: bool>(
        sums: &mut Sums<TILES>,
        a: &mut [[u32; 4]; STEPS],
        tokens: u32,
        first: u32,
    ) {
        let b = wgmma::describe(tokens, 0);
        // SAFETY: the caller's promise.
        unsafe {
            sums.fence();
            wgmma::hold(a);
            unroll::<STEPS>(
                #[inline(always)]
                |k| {
                    let b = wgmma::along(b, (first + k as u32) * wgmma::K * 2);
                    if FRESH && k == 0 {
                        *sums = Sums::<TILES>::start_columns(a[k], b);
                    } else {
                        sums.add_columns(a[k], b);
                    }
                },
            );
        }
        wgmma::commit();
    }

    #[inline(always)]
    unsafe fn end<const STEPS: usize>(sums: &mut Sums<TILES>, a: &mut [[u32; 4]; STEPS]) {
        // SAFETY: the caller's promise.
        unsafe { sums.wait::<0>() };
        wgmma::hold(a);
    }
}

impl<const TILES: usize> Multiplier<TILES> for Warps {
    const RUNS_ON: bool = false;

    #[inline(always)]
    unsafe fn start<const STEPS: usize, const FRESH: bool>(
        sums: &mut Sums<TILES>,
        a: &mut [[u32; 4]; STEPS],
        tokens: u32,
        first: u32,
    ) {
        let (token, of_token) = fragment::b_source_by_columns(thread::lane_id());
        if FRESH {
            *sums = [[0.0; 4]; TILES];
        }
        unroll::<STEPS>(
            #[inline(always)]
            |k| {
                unroll::<TILES>(
                    #[inline(always)]
                    |tile| {
                        if tile % 2 == 0 {
                            let (token, piece) =
                                (tile as u32 * fragment::N + token, (first + k as u32) * 2 + of_token / 8);
                            // SAFETY: the caller's promise.
                            unsafe {
                                let b = mma::ldmatrix_x4(tokens + wgmma::place(token, piece));
                                sums[tile] = mma::m16n8k16_bf16(a[k], [b[0], b[1]], sums[tile]);
                                sums[tile + 1] = mma::m16n8k16_bf16(a[k], [b[2], b[3]], sums[tile + 1]);
                            }
                        }
                    },
                );
            },
        );
    }

    #[inline(always)]
    unsafe fn end<const STEPS: usize>(_: &mut Sums<TILES>, _: &mut [[u32; 4]; STEPS]) {}
}
