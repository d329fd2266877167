//! The multiplication of a block's chunks by two warpgroups on compute capability 9.0, weights as the rows of their products.
use super::DEPTH;
use super::product::{Chunk, Product, Share};
use super::ring::Ring;
use crate::skinny_gemm::store::exchange;
use cuda_std::unroll::{array, unroll};
use cuda_std::wgmma::{self, Accumulator};
use cuda_std::{fragment, thread, warp};

/// Token rows of a product.
const COLUMNS: u32 = 128;
/// Eights of token rows of a product.
const TILES: usize = (COLUMNS / fragment::N) as usize;

/// Eights whose residuals are on their way together: with more, the sums would leave the registers.
const TOGETHER: usize = 8;

/// The sums of two products: of 128 rows of the weight, or of 256 token rows.
type Sums = [[[f32; 4]; TILES]; 2];

/// Multiplies the block's share of all chunks, and stores the results.
///
/// # Safety
/// The whole block comes here; the kernel's Requires hold.
#[inline(always)]
pub unsafe fn multiply<P: Product>(args: &P) {
    let mut share = Share::of_block();
    // SAFETY: the chunks are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let mut ring = Ring::fill(args, share);
        while let Some(chunk) = share.next(args) {
            let warpgroup = Warpgroup::new(&chunk);
            let sums = warpgroup.multiply(args, &mut ring);
            unroll::<2>(
                #[inline(always)]
                |i| warpgroup.store(args, &chunk, &sums[i], i as u32),
            );
        }
    }
}

/// Where a warpgroup's two products find their rows in a stage: of weights, and of tokens.
struct Warpgroup {
    weights: [u32; 2],
    tokens: [u32; 2],
    /// The first row of tokens.
    corner: u32,
}

impl Warpgroup {
    #[inline(always)]
    fn new(chunk: &Chunk) -> Warpgroup {
        // SAFETY: the whole warp is here. It has the same number; only so does the compiler know it.
        let own = unsafe { warp::shuffle(thread::thread_idx_x() / wgmma::THREADS, 0) };
        let corner = chunk.most_rows();
        if chunk.is_narrow() {
            let first = own * 2 * wgmma::M;
            Warpgroup { weights: [first, first + wgmma::M], tokens: [corner; 2], corner }
        } else {
            Warpgroup { weights: [own * wgmma::M; 2], tokens: [corner, corner + COLUMNS], corner }
        }
    }

    /// The sums over all columns.
    ///
    /// # Safety
    /// Both warpgroups come here; the ring's next stages are the chunk's.
    #[inline(always)]
    unsafe fn multiply<P: Product>(&self, args: &P, ring: &mut Ring) -> Sums {
        let mut sums = [[[0.0; 4]; TILES]; 2];
        for _ in 0..args.k().div_ceil(DEPTH) {
            // SAFETY: the stage has landed, and the products of the one before, whose place is filled now, have ended.
            unsafe {
                let stage = ring.next();
                let describe = |row: u32| wgmma::describe(stage + row * wgmma::ROW_BYTES, 0);
                let (a, b) = (self.weights.map(describe), self.tokens.map(describe));
                let [first, second] = &mut sums;
                second.hold();
                first.fence();
                unroll::<{ (DEPTH / wgmma::K) as usize }>(
                    #[inline(always)]
                    |k| {
                        let bytes = k as u32 * wgmma::K * 2;
                        first.add(wgmma::along(a[0], bytes), wgmma::along(b[0], bytes));
                        second.add(wgmma::along(a[1], bytes), wgmma::along(b[1], bytes));
                    },
                );
                wgmma::commit();
                ring.ask(args);
                first.wait::<0>();
                second.hold();
            }
        }
        sums
    }

    /// Stores the outputs of product `i`. Lanes of neighbouring rows exchange sums, so that each has two neighbours of a
    /// token row.
    ///
    /// # Safety
    /// The kernel's Requires hold; the whole warp comes here.
    #[inline(always)]
    unsafe fn store<P: Product>(&self, args: &P, chunk: &Chunk, sums: &[[f32; 4]; TILES], i: u32) {
        let (weights, tokens) =
            if i == 0 { (self.weights[0], self.tokens[0]) } else { (self.weights[1], self.tokens[1]) };
        let warp_row = weights + thread::warp_id() % 4 * fragment::M;
        let (own, pair) = fragment::c_element(thread::lane_id(), 0);
        let (row, token) = (chunk.row + warp_row + own / 2 * 2, tokens - self.corner + pair + own % 2);
        let columns = [row, row + fragment::M / 2];
        // SAFETY: a column behind the last has neither bias nor residual, and places that are there are asked for; the whole warp
        // is here; what is there is stored.
        unsafe {
            let bias = columns.map(|column| args.bias(column));
            // All at once: one behind the other, each would be waited for.
            let rows: [u32; TILES] = array(
                #[inline(always)]
                |n| args.output_row(chunk.first + (token + n as u32 * fragment::N).min(chunk.live - 1)),
            );
            unroll::<{ TILES / TOGETHER }>(
                #[inline(always)]
                |part| {
                    let residuals: [[u32; 2]; TOGETHER] = array(
                        #[inline(always)]
                        |i| columns.map(|column| args.residual(rows[part * TOGETHER + i], column)),
                    );
                    unroll::<TOGETHER>(
                        #[inline(always)]
                        |i| {
                            let n = part * TOGETHER + i;
                            let [a, b, c, d] = sums[n];
                            let [upper, lower] = [exchange(own, a, b), exchange(own, c, d)];
                            if token + n as u32 * fragment::N < chunk.live {
                                args.store([rows[n], columns[0]], upper, bias[0], residuals[i][0]);
                                args.store([rows[n], columns[1]], lower, bias[1], residuals[i][1]);
                            }
                        },
                    );
                },
            );
        }
    }
}
