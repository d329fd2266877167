//! The entry points of `quant_gemm`.
use super::bits::{Bits8, Codes, E4m3, I8, Int4, Nvfp4};
use super::multiply::Multiplier;
use super::ring::{Rings, Stage};
use super::{QuantGemm, RESIDENT, STEP};
use crate::activation::SWIGLU;
use crate::format::NVFP4;
use crate::skinny_gemm::multiply::{Sums, Warpgroups, Warps};
use crate::skinny_gemm::store::{self, Outputs};
use crate::skinny_gemm::{DEPTH, ROW_BYTES, SUMS, THREADS, WARPS, sums};
use cuda_std::unroll::unroll;
use cuda_std::{fragment, global, kernel, math, thread, wgmma};

/// Entries by eights of token rows, stages of codes and of tokens, operands together, the format, and who multiplies.
macro_rules! entries {
    ($($name:ident $tiles:literal $codes:literal $tokens:literal $steps:literal $form:ty, $multiplier:ty;)*) => { kernel! {$(
        #[doc = concat!("Up to ", $tiles, " times eight token rows.")]
        pub fn $name(args: QuantGemm) {
            thread::blocks_at_once::<THREADS, RESIDENT>();
            product::<$form, $tiles, $codes, $tokens, $steps, $multiplier>(&args);
        }
    )*} };
}

entries! {
    quant_gemm_fp8_32 4 3 3 4 Bits8<E4m3>, Warps;
    quant_gemm_fp8_64 8 3 3 4 Bits8<E4m3>, Warps;
    quant_gemm_int8_32 4 3 3 4 Bits8<I8>, Warps;
    quant_gemm_int8_64 8 3 3 4 Bits8<I8>, Warps;
    quant_gemm_int4_32 4 2 3 2 Int4, Warps;
    quant_gemm_int4_64 8 2 3 2 Int4, Warps;
    quant_gemm_nvfp4_32 4 2 3 4 Nvfp4, Warps;
    quant_gemm_nvfp4_64 8 2 3 4 Nvfp4, Warps;
    quant_gemm_wgmma_fp8_32 4 4 4 4 Bits8<E4m3>, Warpgroups;
    quant_gemm_wgmma_fp8_64 8 4 3 4 Bits8<E4m3>, Warpgroups;
    quant_gemm_wgmma_int8_32 4 4 4 4 Bits8<I8>, Warpgroups;
    quant_gemm_wgmma_int8_64 8 4 3 4 Bits8<I8>, Warpgroups;
    quant_gemm_wgmma_int4_32 4 4 4 2 Int4, Warpgroups;
    quant_gemm_wgmma_int4_64 8 3 3 2 Int4, Warpgroups;
    quant_gemm_wgmma_nvfp4_32 4 4 4 4 Nvfp4, Warpgroups;
    quant_gemm_wgmma_nvfp4_64 8 3 3 4 Nvfp4, Warpgroups;
}

/// Most units of a step.
const MOST_UNITS: usize = (STEP / 32) as usize;

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn product<
    F: Codes<STEPS>,
    const TILES: usize,
    const CODES: u32,
    const TOKENS: u32,
    const STEPS: usize,
    M: Multiplier<TILES>,
>(
    args: &QuantGemm,
) {
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let mut rings = Rings::<F, TILES, CODES, TOKENS, STEPS>::new(args);
        let mut tile = thread::block_idx_x();
        while tile < args.tiles() {
            let mut product = Product::<TILES>::new(args, tile);
            for step in rings.steps() {
                let stage = rings.next();
                product.add::<F, STEPS, M>(args, &stage, step);
            }
            product.finish::<F, STEPS>(args, tile, rings.steps().end);
            tile += thread::grid_dim_x();
        }
    }
}

/// A lane's sums for a tile.
struct Product<const TILES: usize> {
    /// Its rows of the weight; others where they are not there.
    rows: [u32; 2],
    /// Sums of what the scale of a group or of the row is still to multiply, and of all else.
    part: Sums<TILES>,
    whole: Sums<TILES>,
}

impl<const TILES: usize> Product<TILES> {
    #[inline(always)]
    fn new(args: &QuantGemm, tile: u32) -> Self {
        let (sixteen, own) = (tile * WARPS + thread::warp_id(), thread::lane_id() / 4);
        let rows = if args.activation == SWIGLU {
            let gate = sixteen * (fragment::M / 2) + own;
            [gate, gate + args.n / 2]
        } else {
            let row = sixteen * fragment::M + own;
            [row, row + fragment::M / 2]
        };
        Product { rows: rows.map(|row| row.min(args.n - 1)), part: [[0.0; 4]; TILES], whole: [[0.0; 4]; TILES] }
    }

    /// Adds the products of step `step`.
    ///
    /// # Safety
    /// The whole block comes here; the stage has landed.
    #[inline(always)]
    unsafe fn add<F: Codes<STEPS>, const STEPS: usize, M: Multiplier<TILES>>(
        &mut self,
        args: &QuantGemm,
        stage: &Stage,
        step: u32,
    ) {
        let columns = STEPS as u32 * wgmma::K;
        unroll::<MOST_UNITS>(
            #[inline(always)]
            |unit| {
                let first = unit as u32 * columns;
                if first >= STEP {
                    return;
                }
                let end = step * STEP + first + columns;
                let ends = args.group > 0 && end & (args.group - 1) == 0;
                // SAFETY: the caller's promise.
                unsafe {
                    // Asked for before they are needed.
                    let beside = if F::BITS == 8 && ends { self.beside(args, end) } else { [0.0; 2] };
                    let (a, among) = F::operands(args, stage, unit as u32);
                    let matrix = stage.tokens + first / DEPTH * TILES as u32 * fragment::N * ROW_BYTES;
                    M::add(&mut self.part, a, matrix, first % DEPTH / wgmma::K);
                    if (F::BITS == 8 || F::GROUPED) && ends {
                        self.close(if F::GROUPED { among } else { beside });
                    }
                }
            },
        );
    }

    /// The f32 scales beside the codes of the group that ends with column `end`, or of the last.
    ///
    /// # Safety
    /// The kernel's Requires hold; the format has such scales.
    #[inline(always)]
    unsafe fn beside(&self, args: &QuantGemm, end: u32) -> [f32; 2] {
        let last = if end < args.k { end - 1 } else { args.k - 1 };
        let (group, of_row) = match core::num::NonZero::new(args.group) {
            Some(group) if args.format != NVFP4 => (last / group, args.k.div_ceil(group.get())),
            _ => (0, 1),
        };
        self.rows.map(|row| {
            let at = u64::from(row) * u64::from(of_row) + u64::from(group);
            // SAFETY: the caller's promise.
            unsafe { global::load_readonly(args.scales.addr + at * 4) }
        })
    }

    /// Adds the part, each row's multiplied by its scale.
    #[inline(always)]
    fn close(&mut self, scales: [f32; 2]) {
        unroll::<TILES>(
            #[inline(always)]
            |i| {
                unroll::<4>(
                    #[inline(always)]
                    |c| self.whole[i][c] = math::fma(scales[c / 2], self.part[i][c], self.whole[i][c]),
                );
            },
        );
        self.part = [[0.0; 4]; TILES];
    }

    /// Stores what the tile gives.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole warp comes here.
    #[inline(always)]
    unsafe fn finish<F: Codes<STEPS>, const STEPS: usize>(mut self, args: &QuantGemm, tile: u32, end: u32) {
        let sixteen = tile * WARPS + thread::warp_id();
        // SAFETY: the caller's promise.
        unsafe {
            if !F::GROUPED {
                self.close(self.beside(args, end * STEP));
            }
            unroll::<TILES>(
                #[inline(always)]
                |i| self.whole[i] = self.whole[i].map(|sum| sum * F::REST),
            );
            if args.partial.is_null() {
                let QuantGemm { bias, residual, y, y_f32, rows, n, activation, .. } = *args;
                let to = Outputs { bias, residual, y, y_f32, rows, n, activation };
                return store::store(&to, [sixteen, 0], &self.whole);
            }
            let [sixteens, eights] = sums(args.tiles(), args.rows);
            let own = (thread::block_idx_y() * sixteens + sixteen) * eights * SUMS as u32 + thread::lane_id() * 4;
            let first = args.partial.addr + u64::from(own) * 4;
            unroll::<TILES>(
                #[inline(always)]
                |i| {
                    if (i as u32) < eights {
                        global::store(first + (i * SUMS) as u64 * 4, self.whole[i]);
                    }
                },
            );
        }
    }
}
