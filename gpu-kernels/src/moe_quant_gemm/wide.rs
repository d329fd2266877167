//! Parts of up to 128 choices: the products of a step run on while the next one's codes become operands, across the barrier
//! between them.
use super::entry::store;
use super::parts::Part;
use super::ring::Ring;
use super::{MOST_WIDE, MoeQuantGemm};
use crate::quant_gemm::QuantGemm;
use crate::quant_gemm::bits::{Bits8, Codes, E4m3, I8, Int4, Nvfp4, Scales};
use crate::quant_gemm::entry::Product;
use crate::quant_gemm::multiply::Multiplier;
use crate::skinny_gemm::DEPTH;
use crate::skinny_gemm::multiply::{Sums, Warpgroups};
use cuda_std::unroll::unroll;
use cuda_std::{grid, kernel, thread, wgmma};

/// Most units of a step.
const MOST_UNITS: usize = 2;

/// Entries by rows of a tile, of which a thread copies so many of codes and so many of tokens, stages of codes and of tokens,
/// operands together, and the format.
macro_rules! entries {
    ($($name:ident $tile:literal $rows:literal $copies:literal $codes:literal $tokens:literal $steps:literal $form:ty;)*) => { kernel! {$(
        /// Up to 128 choices of an expert at a time.
        pub fn $name(args: MoeQuantGemm) {
            thread::blocks_at_once::<{ 2 * $tile }, 1>();
            product::<$form, $tile, $rows, $copies, $codes, $tokens, $steps>(&args);
        }
    )*} };
}

entries! {
    moe_quant_gemm_wide_fp8 192 12 4 4 7 4 Bits8<E4m3, false>;
    moe_quant_gemm_wide_fp8_grouped 128 8 8 4 7 4 Bits8<E4m3, true>;
    moe_quant_gemm_wide_int8 192 12 4 4 7 4 Bits8<I8, false>;
    moe_quant_gemm_wide_int8_grouped 128 8 8 4 7 4 Bits8<I8, true>;
    moe_quant_gemm_wide_int4 128 8 8 3 8 4 Int4<64>;
    moe_quant_gemm_wide_int4_fine 128 8 8 3 8 2 Int4<32>;
    moe_quant_gemm_wide_nvfp4 192 12 4 3 8 4 Nvfp4;
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn product<
    F: Codes<STEPS>,
    const TILE: u32,
    const ROWS: usize,
    const COPIES: usize,
    const CODES: u32,
    const TOKENS: u32,
    const STEPS: usize,
>(
    args: &MoeQuantGemm,
) {
    grid::wait_for_dependencies();
    // SAFETY: parts and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let mut part = Part::<F, STEPS, TILE, MOST_WIDE>::of_block(args);
        let mut ring = Ring::<F, STEPS, TILE, ROWS, COPIES, CODES, TOKENS>::new(args, part);
        while part.is_live() {
            let sixteen = part.rows * (TILE / 16) + thread::warp_id();
            let place = [sixteen, part.first, part.product.rows];
            match part.product.rows {
                ..=64 => store(args, place, &ring.multiply::<8>(&part)),
                65..=96 => store(args, place, &ring.multiply::<12>(&part)),
                _ => store(args, place, &ring.multiply::<16>(&part)),
            }
            part.advance(args);
        }
    }
}

impl<
    F: Codes<STEPS>,
    const STEPS: usize,
    const TILE: u32,
    const ROWS: usize,
    const COPIES: usize,
    const CODES: u32,
    const TOKENS: u32,
> Ring<'_, F, STEPS, TILE, ROWS, COPIES, CODES, TOKENS>
{
    /// The sums of a part.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole block comes here, and the ring's next steps are the part's.
    #[inline(always)]
    unsafe fn multiply<const TILES: usize>(&mut self, part: &Part<F, STEPS, TILE, MOST_WIDE>) -> Sums<TILES>
    where
        Warpgroups: Multiplier<TILES>,
    {
        let args = &part.product;
        let columns = STEPS as u32 * wgmma::K;
        let units = DEPTH / columns;
        let mut product = Product::<TILES>::new(args, part.rows * (TILE / 16) + thread::warp_id());
        let mut has_more = true;
        // SAFETY: the caller's promise; the operands are held until their products have ended.
        unsafe {
            // Asked for at once: behind the last products they would be waited for. Sums of groups leave no registers for that.
            let of_rows = (F::SCALES == Scales::OfRows).then(|| product.beside(args, self.end()));
            let mut stage = self.next();
            let (mut a, mut scales) = F::operands(args, &stage, 0);
            while has_more {
                unroll::<MOST_UNITS>(
                    #[inline(always)]
                    |unit| {
                        let (first, of_next) = (unit as u32 * columns, (unit as u32 + 1) % units);
                        if first >= DEPTH {
                            return;
                        }
                        product.start::<F, STEPS, Warpgroups>(&mut a, &stage, first);
                        let end = stage.column + first + columns;
                        let ends = ends::<F, STEPS>(args, end);
                        if F::SCALES == Scales::OfGroups && ends {
                            scales = product.beside(args, end);
                        }
                        if of_next == 0 {
                            has_more = self.ask_behind();
                        }
                        let mut next = ([[0; 4]; STEPS], [1.0; 2]);
                        if has_more {
                            if of_next == 0 {
                                stage = self.next();
                            }
                            next = F::operands(args, &stage, of_next);
                        }
                        wgmma::hold(&mut next.0);
                        <Warpgroups as Multiplier<TILES>>::end(&mut product.part, &mut a);
                        if ends {
                            product.close(scales);
                        }
                        (a, scales) = next;
                    },
                );
            }
            let rest = if of_rows.is_some() { of_rows } else { product.rest::<F, STEPS>(args, self.end()) };
            product.sums::<F, STEPS>(rest)
        }
    }
}

/// Whether a group ends in front of column `end`, where units of operands end.
#[inline(always)]
fn ends<F: Codes<STEPS>, const STEPS: usize>(args: &QuantGemm, end: u32) -> bool {
    match F::SCALES {
        Scales::OfRows => false,
        Scales::OfGroups => end & (args.group - 1) == 0,
        Scales::Among(_) => true,
    }
}
