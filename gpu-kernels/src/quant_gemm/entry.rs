//! The entry points of `quant_gemm`.
use super::bits::{Bits8, Codes, E4m3, I8, Int4, Nvfp4, Scales};
use super::multiply::Multiplier;
use super::ring::{OfWeight, Rings, Stage};
use super::{QuantGemm, RESIDENT};
use crate::activation::SWIGLU;
use crate::format::NVFP4;
use crate::skinny_gemm::cluster::{Blocks, Cluster};
use crate::skinny_gemm::multiply::{Sums, Warpgroups, Warps};
use crate::skinny_gemm::store::{self, Outputs};
use crate::skinny_gemm::{DEPTH, ROW_BYTES, SUMS, THREADS, WARPS, sums};
use cuda_std::unroll::unroll;
use cuda_std::{cluster, fragment, global, kernel, math, thread, wgmma};

/// Entries by eights of token rows, stages of codes and of tokens, matrices of 64 columns in one of these, operands together, the
/// format, who multiplies, and whether splits are clusters.
macro_rules! entries {
    ($($name:ident $tiles:literal $codes:literal $tokens:literal $parts:literal $steps:literal $form:ty, $multiplier:ty, $clustered:literal;)*) => { kernel! {$(
        #[doc = concat!("Up to ", $tiles, " times eight token rows.")]
        pub fn $name(args: QuantGemm) {
            thread::blocks_at_once::<THREADS, { resident::<$form, $multiplier, $tiles, $steps>() }>();
            product::<$form, $tiles, $codes, $tokens, $parts, $steps, $multiplier, $clustered>(&args);
        }
    )*} };
}

entries! {
    quant_gemm_fp8_32 4 3 3 2 4 Bits8<E4m3, false>, Warps, false;
    quant_gemm_fp8_64 8 3 3 2 4 Bits8<E4m3, false>, Warps, false;
    quant_gemm_fp8_grouped_32 4 3 3 2 4 Bits8<E4m3, true>, Warps, false;
    quant_gemm_fp8_grouped_64 8 3 3 2 2 Bits8<E4m3, true>, Warps, false;
    quant_gemm_int8_32 4 3 3 2 4 Bits8<I8, false>, Warps, false;
    quant_gemm_int8_64 8 3 3 2 4 Bits8<I8, false>, Warps, false;
    quant_gemm_int8_grouped_32 4 3 3 2 4 Bits8<I8, true>, Warps, false;
    quant_gemm_int8_grouped_64 8 3 3 2 2 Bits8<I8, true>, Warps, false;
    quant_gemm_int4_32 4 2 3 2 2 Int4<64>, Warps, false;
    quant_gemm_int4_64 8 2 3 2 2 Int4<64>, Warps, false;
    quant_gemm_int4_fine_32 4 2 3 2 2 Int4<32>, Warps, false;
    quant_gemm_int4_fine_64 8 2 3 2 2 Int4<32>, Warps, false;
    quant_gemm_nvfp4_32 4 2 3 2 4 Nvfp4, Warps, false;
    quant_gemm_nvfp4_64 8 2 3 2 4 Nvfp4, Warps, false;
    quant_gemm_wgmma_fp8_32 4 4 4 2 4 Bits8<E4m3, false>, Warpgroups, false;
    quant_gemm_wgmma_fp8_64 8 4 3 2 4 Bits8<E4m3, false>, Warpgroups, false;
    quant_gemm_wgmma_fp8_grouped_32 4 4 4 2 4 Bits8<E4m3, true>, Warpgroups, false;
    quant_gemm_wgmma_fp8_grouped_64 8 4 3 2 2 Bits8<E4m3, true>, Warpgroups, false;
    quant_gemm_wgmma_int8_32 4 4 4 2 4 Bits8<I8, false>, Warpgroups, false;
    quant_gemm_wgmma_int8_64 8 4 3 2 4 Bits8<I8, false>, Warpgroups, false;
    quant_gemm_wgmma_int8_grouped_32 4 4 4 2 4 Bits8<I8, true>, Warpgroups, false;
    quant_gemm_wgmma_int8_grouped_64 8 4 3 2 2 Bits8<I8, true>, Warpgroups, false;
    quant_gemm_wgmma_int4_32 4 3 3 4 4 Int4<64>, Warpgroups, false;
    quant_gemm_wgmma_int4_64 8 3 3 2 2 Int4<64>, Warpgroups, false;
    quant_gemm_wgmma_int4_fine_32 4 3 3 4 2 Int4<32>, Warpgroups, false;
    quant_gemm_wgmma_int4_fine_64 8 3 3 2 2 Int4<32>, Warpgroups, false;
    quant_gemm_wgmma_nvfp4_32 4 3 3 4 4 Nvfp4, Warpgroups, false;
    quant_gemm_wgmma_nvfp4_64 8 3 3 2 4 Nvfp4, Warpgroups, false;
    quant_gemm_cluster_fp8_32 4 4 4 2 4 Bits8<E4m3, false>, Warpgroups, true;
    quant_gemm_cluster_fp8_64 8 4 3 2 4 Bits8<E4m3, false>, Warpgroups, true;
    quant_gemm_cluster_fp8_grouped_32 4 4 4 2 4 Bits8<E4m3, true>, Warpgroups, true;
    quant_gemm_cluster_fp8_grouped_64 8 4 3 2 2 Bits8<E4m3, true>, Warpgroups, true;
    quant_gemm_cluster_int8_32 4 4 4 2 4 Bits8<I8, false>, Warpgroups, true;
    quant_gemm_cluster_int8_64 8 4 3 2 4 Bits8<I8, false>, Warpgroups, true;
    quant_gemm_cluster_int8_grouped_32 4 4 4 2 4 Bits8<I8, true>, Warpgroups, true;
    quant_gemm_cluster_int8_grouped_64 8 4 3 2 2 Bits8<I8, true>, Warpgroups, true;
    quant_gemm_cluster_int4_32 4 3 3 4 4 Int4<64>, Warpgroups, true;
    quant_gemm_cluster_int4_64 8 3 3 2 2 Int4<64>, Warpgroups, true;
    quant_gemm_cluster_int4_fine_32 4 3 3 4 2 Int4<32>, Warpgroups, true;
    quant_gemm_cluster_int4_fine_64 8 3 3 2 2 Int4<32>, Warpgroups, true;
    quant_gemm_cluster_nvfp4_32 4 3 3 4 4 Nvfp4, Warpgroups, true;
    quant_gemm_cluster_nvfp4_64 8 3 3 2 4 Nvfp4, Warpgroups, true;
}

/// Blocks that a multiprocessor has room for in registers: one without warpgroups where sums of groups stand beside sums of all for
/// 64 token rows. Most chips on which that runs have shared memory for one as well.
const fn resident<F: Codes<STEPS>, M: Multiplier<TILES>, const TILES: usize, const STEPS: usize>() -> u32 {
    if M::RUNS_ON || TILES < 8 || matches!(F::SCALES, Scales::OfRows) { RESIDENT } else { 1 }
}

/// Most units of a step.
const MOST_UNITS: usize = 8;

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
    const CLUSTERED: bool,
>(
    args: &QuantGemm,
) {
    let bytes = Rings::<OfWeight<CLUSTERED>, F, TILES, CODES, TOKENS, PARTS, STEPS>::BYTES;
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers; a cluster has one tile.
    unsafe {
        if CLUSTERED {
            cluster::always();
            Cluster::open(bytes, sums(0, args.rows)[1]);
        }
        let tiles = OfWeight::<CLUSTERED>::of_block(args);
        let mut rings = Rings::<_, F, TILES, CODES, TOKENS, PARTS, STEPS>::new(tiles, true);
        let mut tile = Blocks::<CLUSTERED>::tile();
        let is_among = matches!(F::SCALES, Scales::Among(_));
        let is_full = is_among && (!M::RUNS_ON || TILES == 8);
        while tile < with_rows(is_full, args).tiles() {
            let mut product = Product::<TILES>::new(args, tile * WARPS + thread::warp_id());
            let mut has_more = true;
            while has_more {
                let stage = rings.next();
                product.add::<F, PARTS, STEPS, M>(
                    args,
                    &stage,
                    #[inline(always)]
                    || has_more = rings.ask_behind(),
                );
            }
            let args = with_rows(is_full || !is_among, args);
            if CLUSTERED {
                let cluster = Cluster::of(bytes, sums(0, args.rows)[1]);
                return cluster.join(
                    &outputs(&args),
                    (tile * WARPS, None),
                    &product.sums_to::<F, STEPS>(&args, rings.end()),
                );
            }
            product.finish::<F, STEPS, M>(&args, tile, rings.end());
            tile += Blocks::<CLUSTERED>::apart();
        }
    }
}

#[inline(always)]
fn outputs(args: &QuantGemm) -> Outputs {
    let QuantGemm { bias, residual, y, y_f32, rows, n, activation, .. } = *args;
    Outputs { bias, residual, y, y_f32, rows, n, activation }
}

/// The arguments, if so with rows of the weight and an activation that are read `anew`: what is made of those takes no registers in loops around. Where there are
/// none to spare is what `ptxas` says of spills.
#[inline(always)]
fn with_rows(anew: bool, args: &QuantGemm) -> QuantGemm {
    let read = |number: u32| if anew { thread::anew(number) } else { number };
    QuantGemm { n: read(args.n), activation: read(args.activation), ..*args }
}

/// A lane's sums for a tile.
pub struct Product<const TILES: usize> {
    /// Its rows of the weight; others where they are not there.
    rows: [u32; 2],
    /// Sums of what the scale of a group or of the row is still to multiply, and of all else.
    pub part: Sums<TILES>,
    whole: Sums<TILES>,
}

impl<const TILES: usize> Product<TILES> {
    /// No sums yet of the warp's 16 rows of the weight, number `sixteen`.
    #[inline(always)]
    pub fn new(args: &QuantGemm, sixteen: u32) -> Self {
        let own = thread::lane_id() / 4;
        let rows = if args.activation == SWIGLU {
            let gate = sixteen * (fragment::M / 2) + own;
            [gate, gate + args.n / 2]
        } else {
            let row = sixteen * fragment::M + own;
            [row, row + fragment::M / 2]
        };
        Product { rows: rows.map(|row| row.min(args.n - 1)), part: [[0.0; 4]; TILES], whole: [[0.0; 4]; TILES] }
    }

    /// Adds the products of a step: those of a unit are under way while the next one becomes operands, and those of the first
    /// while others are asked for.
    ///
    /// # Safety
    /// The whole block comes here; the stage has landed.
    #[inline(always)]
    pub unsafe fn add<F: Codes<STEPS>, const PARTS: usize, const STEPS: usize, M: Multiplier<TILES>>(
        &mut self,
        args: &QuantGemm,
        stage: &Stage,
        ask: impl FnOnce(),
    ) {
        let (columns, step_columns) = (STEPS as u32 * wgmma::K, PARTS as u32 * DEPTH);
        // Sums of groups and of all leave no registers for more operands.
        let is_ahead = M::RUNS_ON && (TILES < 8 || F::SCALES == Scales::OfRows);
        // SAFETY: the caller's promise.
        unsafe {
            let with_format_anew = QuantGemm { format: thread::anew(args.format), ..*args };
            let args = if TILES == 8 { &with_format_anew } else { args };
            let (mut a, mut scales) = F::operands(args, stage, 0);
            self.start::<F, STEPS, M>(&mut a, stage, 0);
            ask();
            unroll::<MOST_UNITS>(
                #[inline(always)]
                |unit| {
                    let end = (unit as u32 + 1) * columns;
                    if end > step_columns {
                        return;
                    }
                    let of_all = stage.column + end;
                    let ends = match F::SCALES {
                        Scales::OfRows => false,
                        Scales::OfGroups => of_all & (args.group - 1) == 0,
                        Scales::Among(group) => end % group == 0,
                    };
                    if F::SCALES == Scales::OfGroups && ends {
                        scales = self.beside(args, of_all);
                    }
                    let mut next = (a, scales);
                    if is_ahead && end < step_columns {
                        next = F::operands(args, stage, unit as u32 + 1);
                        wgmma::hold(&mut next.0);
                    }
                    M::end(&mut self.part, &mut a);
                    if ends {
                        self.close(scales);
                    }
                    if end < step_columns {
                        (a, scales) = if is_ahead { next } else { F::operands(args, stage, unit as u32 + 1) };
                        self.start::<F, STEPS, M>(&mut a, stage, end);
                    }
                },
            );
        }
    }

    /// Starts the products of a unit that begins with column `first` of its step.
    ///
    /// # Safety
    /// As for [`Multiplier::start`].
    #[inline(always)]
    pub unsafe fn start<F: Codes<STEPS>, const STEPS: usize, M: Multiplier<TILES>>(
        &mut self,
        a: &mut [[u32; 4]; STEPS],
        stage: &Stage,
        first: u32,
    ) {
        let matrix = stage.tokens + first / DEPTH * TILES as u32 * fragment::N * ROW_BYTES;
        let operand = first % DEPTH / wgmma::K;
        // SAFETY: the caller's promise.
        unsafe {
            match F::SCALES {
                // To sums of 0 nothing need be added, and nobody need write them.
                Scales::Among(group) if first % group == 0 => {
                    M::start::<STEPS, true>(&mut self.part, a, matrix, operand);
                }
                _ => M::start::<STEPS, false>(&mut self.part, a, matrix, operand),
            }
        }
    }

    /// The f32 scales beside the codes of the group that ends with column `end`, or of the last.
    ///
    /// # Safety
    /// The kernel's Requires hold; the format has such scales.
    #[inline(always)]
    pub unsafe fn beside(&self, args: &QuantGemm, end: u32) -> [f32; 2] {
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
    pub fn close(&mut self, scales: [f32; 2]) {
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

    /// What is left to multiply sums by whose columns end in front of `end`; nothing where all groups have been closed.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn rest<F: Codes<STEPS>, const STEPS: usize>(&self, args: &QuantGemm, end: u32) -> Option<[f32; 2]> {
        // SAFETY: the caller's promise.
        (!matches!(F::SCALES, Scales::Among(_))).then(|| unsafe { self.beside(args, end) })
    }

    /// The tile's sums, of which [`Product::rest`] is left.
    #[inline(always)]
    pub fn sums<F: Codes<STEPS>, const STEPS: usize>(mut self, rest: Option<[f32; 2]>) -> Sums<TILES> {
        if let Some(scales) = rest {
            self.close(scales);
        }
        unroll::<TILES>(
            #[inline(always)]
            |i| self.whole[i] = self.whole[i].map(|sum| sum * F::REST),
        );
        self.whole
    }

    /// The tile's sums, whose columns end in front of `end`.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    pub unsafe fn sums_to<F: Codes<STEPS>, const STEPS: usize>(self, args: &QuantGemm, end: u32) -> Sums<TILES> {
        // SAFETY: the caller's promise.
        let rest = unsafe { self.rest::<F, STEPS>(args, end) };
        self.sums::<F, STEPS>(rest)
    }

    /// Stores what the tile gives, whose columns end in front of `end`.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole warp comes here.
    #[inline(always)]
    unsafe fn finish<F: Codes<STEPS>, const STEPS: usize, M: Multiplier<TILES>>(
        self,
        args: &QuantGemm,
        tile: u32,
        end: u32,
    ) {
        let sixteen = tile * WARPS + thread::warp_id();
        // SAFETY: the caller's promise.
        unsafe {
            let sums_of_tile = self.sums_to::<F, STEPS>(args, end);
            if args.partial.is_null() {
                return store::store(&outputs(args), [sixteen, 0], &sums_of_tile);
            }
            // Read anew, as in `with_rows`.
            let anew = |number: u32| if M::RUNS_ON { number } else { thread::anew(number) };
            let [sixteens, eights] = sums(thread::anew(args.n), anew(args.rows));
            let own = (anew(thread::block_idx_y()) * sixteens + sixteen) * eights * SUMS as u32 + thread::lane_id() * 4;
            let first = args.partial.addr + u64::from(own) * 4;
            let eights = if sixteen < sixteens { eights } else { 0 };
            unroll::<TILES>(
                #[inline(always)]
                |i| {
                    if (i as u32) < eights {
                        global::store(first + (i * SUMS) as u64 * 4, sums_of_tile[i]);
                    }
                },
            );
        }
    }
}
