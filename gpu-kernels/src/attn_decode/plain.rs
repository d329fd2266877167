//! The products of `attn_decode` with keys and values of bf16.
use super::WARPS;
use super::score::{DEPTHS, Multiply};
use super::split::{KEYS, Scores, Split};
use crate::cached::Plain;
use cuda_std::unroll::unroll;
use cuda_std::{fragment, mma, thread};

impl Multiply for Plain {
    #[inline(always)]
    unsafe fn multiply<const DIM: u32, const STEPS: usize>(split: &Split<DIM, Plain>) -> Scores {
        let (row, column) = fragment::a_source(thread::lane_id());
        let queries = split.queries() + row.min(split.group - 1) * Split::<DIM, Plain>::QUERY + column * 2;
        let (row, column) = fragment::b_source_by_columns(thread::lane_id());
        let keys = split.keys() + (thread::warp_id() * KEYS + row) * Split::<DIM, Plain>::ROW + column * 2;
        let mut scores = [[0.0; 4]; 2];
        unroll::<STEPS>(
            #[inline(always)]
            |k| {
                let at = k as u32 * fragment::K * 2;
                // SAFETY: the whole warp is here.
                unsafe {
                    let query = mma::ldmatrix_x4(queries + at);
                    let [a, b, c, d] = mma::ldmatrix_x4(keys + at);
                    scores[0] = mma::m16n8k16_bf16(query, [a, b], scores[0]);
                    scores[1] = mma::m16n8k16_bf16(query, [c, d], scores[1]);
                }
            },
        );
        scores
    }

    #[inline(always)]
    unsafe fn sum<const DIM: u32>(split: &Split<DIM, Plain>) {
        // SAFETY: the whole warp is here.
        let weights = unsafe { split.load_weights() };
        let values = split.values() + thread::lane_id() * Split::<DIM, Plain>::ROW;
        let mut column = thread::warp_id() * fragment::N;
        while column < DIM {
            let mut sums = [0.0; 4];
            unroll::<{ DEPTHS / 2 }>(
                #[inline(always)]
                |k| {
                    // Each lane names a key: four matrices, one below the other, are two operands b.
                    let keys = k as u32 * thread::WARP_SIZE;
                    // SAFETY: the whole warp is here.
                    unsafe {
                        let rows = values + keys * Split::<DIM, Plain>::ROW;
                        let [a, b, c, d] = mma::ldmatrix_x4_transposed(rows + column * 2);
                        sums = mma::m16n8k16_bf16(weights[2 * k], [a, b], sums);
                        sums = mma::m16n8k16_bf16(weights[2 * k + 1], [c, d], sums);
                    }
                },
            );
            let own = column + thread::lane_id() % 4 * 2;
            // SAFETY: the elements are this lane's own.
            unsafe {
                split.store(0, own, [sums[0], sums[1]]);
                split.store(1, own, [sums[2], sums[3]]);
            }
            column += WARPS * fragment::N;
        }
        // SAFETY: a pair per head.
        unsafe { split.store_stats() };
    }
}
