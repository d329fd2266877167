//! The entry points of `moe_quant_gemm`.
use super::MoeQuantGemm;
use super::parts::{Asked, Narrow};
use crate::activation::RELU2;
use crate::quant_gemm::RESIDENT;
use crate::quant_gemm::bits::{Bits8, Codes, E4m3, I8, Int4, Nvfp4};
use crate::quant_gemm::entry::Product;
use crate::quant_gemm::multiply::Multiplier;
use crate::quant_gemm::ring::{PIECES, Rings};
use crate::relu2::entry::relu2_of;
use crate::skinny_gemm::multiply::{Sums, Warpgroups, Warps};
use crate::skinny_gemm::store::exchange;
use crate::skinny_gemm::{THREADS, WARPS};
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, fragment, global, grid, kernel, thread, wgmma};

/// Blocks on a multiprocessor where one needs more registers.
const ALONE: u32 = 1;
/// Entries by the most choices of an expert at a time, eights of those, and how many of them a thread copies; blocks that find room in
/// registers, stages of codes and of tokens, matrices of 64 columns in one of these, operands together, the format, and who
/// multiplies: as `quant_gemm`'s of so many rows, but where two blocks would leave too few registers.
macro_rules! entries {
    ($most:literal $tiles:literal $copies:literal: $($name:ident $resident:ident $codes:literal $tokens:literal $parts:literal $steps:literal $form:ty, $multiplier:ty;)*) => { kernel! {$(
        #[doc = concat!("Up to ", $most, " choices of an expert at a time.")]
        pub fn $name(args: MoeQuantGemm) {
            thread::blocks_at_once::<THREADS, $resident>();
            product::<$form, $tiles, $codes, $tokens, $parts, $steps, $multiplier, $most, $copies>(&args);
        }
    )*} };
}

entries! {
    64 8 4:
    moe_quant_gemm_fp8 RESIDENT 3 3 2 4 Bits8<E4m3, false>, Warps;
    moe_quant_gemm_fp8_grouped RESIDENT 3 3 2 2 Bits8<E4m3, true>, Warps;
    moe_quant_gemm_int8 RESIDENT 3 3 2 4 Bits8<I8, false>, Warps;
    moe_quant_gemm_int8_grouped RESIDENT 3 3 2 2 Bits8<I8, true>, Warps;
    moe_quant_gemm_int4 ALONE 2 3 2 2 Int4<64>, Warps;
    moe_quant_gemm_int4_fine ALONE 2 3 2 2 Int4<32>, Warps;
    moe_quant_gemm_nvfp4 RESIDENT 2 3 2 4 Nvfp4, Warps;
    moe_quant_gemm_wgmma_fp8 RESIDENT 4 3 2 4 Bits8<E4m3, false>, Warpgroups;
    moe_quant_gemm_wgmma_fp8_grouped RESIDENT 4 3 2 2 Bits8<E4m3, true>, Warpgroups;
    moe_quant_gemm_wgmma_int8 RESIDENT 4 3 2 4 Bits8<I8, false>, Warpgroups;
    moe_quant_gemm_wgmma_int8_grouped RESIDENT 4 3 2 2 Bits8<I8, true>, Warpgroups;
    moe_quant_gemm_wgmma_int4 RESIDENT 3 3 2 2 Int4<64>, Warpgroups;
    moe_quant_gemm_wgmma_int4_fine ALONE 3 3 2 2 Int4<32>, Warpgroups;
    moe_quant_gemm_wgmma_nvfp4 RESIDENT 3 3 2 4 Nvfp4, Warpgroups;
}

entries! {
    32 4 2:
    moe_quant_gemm_few_fp8 RESIDENT 4 4 2 4 Bits8<E4m3, false>, Warpgroups;
    moe_quant_gemm_few_fp8_grouped RESIDENT 4 4 2 4 Bits8<E4m3, true>, Warpgroups;
    moe_quant_gemm_few_int8 RESIDENT 4 4 2 4 Bits8<I8, false>, Warpgroups;
    moe_quant_gemm_few_int8_grouped RESIDENT 4 4 2 4 Bits8<I8, true>, Warpgroups;
    moe_quant_gemm_few_int4 RESIDENT 3 3 4 4 Int4<64>, Warpgroups;
    moe_quant_gemm_few_int4_fine RESIDENT 3 3 4 2 Int4<32>, Warpgroups;
    moe_quant_gemm_few_nvfp4 RESIDENT 3 3 4 4 Nvfp4, Warpgroups;
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn product<
    F: Codes<STEPS>,
    const TILES: usize,
    const CODES: u32,
    const TOKENS: u32,
    const PARTS: usize,
    const STEPS: usize,
    M: Multiplier<TILES>,
    const MOST: u32,
    const COPIES: usize,
>(
    args: &MoeQuantGemm,
) {
    grid::wait_for_dependencies();
    // SAFETY: parts and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let mut part = Narrow::<F, STEPS, MOST>::of_block(args);
        let row = thread::thread_idx_x() % wgmma::THREADS / PIECES;
        let asked = Asked::<F, STEPS, MOST, COPIES>::new(args, part, row);
        let mut rings = Rings::<_, F, TILES, CODES, TOKENS, PARTS, STEPS>::new(asked, false);
        while part.is_live() {
            let sixteen = part.rows * WARPS + thread::warp_id();
            let mut product = Product::<TILES>::new(&part.product, sixteen);
            let mut has_more = true;
            while has_more {
                let stage = rings.next();
                product.add::<F, PARTS, STEPS, M>(
                    &part.product,
                    &stage,
                    #[inline(always)]
                    || has_more = rings.ask_behind(),
                );
            }
            let place = [sixteen, part.first, part.product.rows];
            store(args, place, &product.sums_to::<F, STEPS>(&part.product, rings.end()));
            part.advance(args);
        }
    }
}

/// Stores the outputs of a part: of the 16 rows of the weight number `sixteen`, and of `live` choices from place `first` on. Lanes of
/// neighbouring rows of the weight exchange their sums, so that each has two neighbours of a choice.
///
/// # Safety
/// The kernel's Requires hold; the whole warp comes here.
#[inline(always)]
pub unsafe fn store<const TILES: usize>(args: &MoeQuantGemm, [sixteen, first, live]: [u32; 3], sums: &Sums<TILES>) {
    let (row, token) = fragment::c_element(thread::lane_id(), 0);
    let column = sixteen * fragment::M + row / 2 * 2;
    let own = token + row % 2;
    let output = |sum: f32| if args.activation == RELU2 { relu2_of(bf16::round(sum)) } else { sum };
    // All at once: one behind the other, each would be waited for.
    let choices: [u32; TILES] = array(
        #[inline(always)]
        // SAFETY: the place is there.
        |i| unsafe { args.choice(first + (own + i as u32 * fragment::N).min(live - 1)) },
    );
    unroll::<TILES>(
        #[inline(always)]
        |i| {
            let [a, b, c, d] = sums[i];
            // SAFETY: the whole warp is here. Sixteens of columns are there or not.
            unsafe {
                let pairs = [exchange(row, a, b), exchange(row, c, d)];
                if own + (i as u32) * fragment::N < live && column < args.n {
                    let y = args.y.addr + (u64::from(choices[i]) * u64::from(args.n) + u64::from(column)) * 2;
                    global::store(y, bf16::pack(pairs[0].map(output)));
                    // Eight columns on.
                    global::store(y + 16, bf16::pack(pairs[1].map(output)));
                }
            }
        },
    );
}
