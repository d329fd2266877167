//! The products of `attn_decode` with keys and values of e4m3, which become bf16 in registers.
//!
//! A matrix of `ldmatrix` has eight rows of 16 bytes, here 16 codes. As it is, a lane gets four neighbouring codes of a key: the two
//! pairs of an operand b, if the queries' columns are in the same order. Transposed it gets two neighbouring codes each of two
//! values: the first of both are a pair of one operand b, the second of both one of another, for even and odd columns.
//!
//! The bits of a code at their places in bf16 are 2⁻¹²⁰ times its value. Half of that is in the queries and weights, half in the sums.
use super::WARPS;
use super::score::{DEPTHS, Multiply};
use super::split::{KEYS, Scores, Split};
use crate::cached::{Cached, E4m3};
use cuda_std::unroll::unroll;
use cuda_std::{codes, fragment, mma, thread, warp};

/// Codes of a row of a matrix.
const ROW_CODES: u32 = 16;

impl Multiply for E4m3 {
    #[inline(always)]
    unsafe fn multiply<const DIM: u32, const STEPS: usize>(split: &Split<DIM, E4m3>) -> Scores {
        let lane = thread::lane_id();
        let (row, column) = fragment::a_source(lane);
        let queries = split.queries() + row.min(split.group - 1) * Split::<DIM, E4m3>::QUERY + column * 2;
        // Four matrices: 16 keys, and of them two depths.
        let key = thread::warp_id() * KEYS + lane % 16;
        let keys = split.keys() + key * Split::<DIM, E4m3>::ROW + lane / 16 * ROW_CODES;
        let (mut scores, mut seen) = ([[0.0; 4]; 2], 0);
        unroll::<STEPS>(
            #[inline(always)]
            |k| {
                if k % 2 == 1 {
                    return;
                }
                // SAFETY: the whole warp is here.
                unsafe {
                    let four = mma::ldmatrix_x4(keys + k as u32 * ROW_CODES);
                    unroll::<2>(
                        #[inline(always)]
                        |i| {
                            let query = mma::ldmatrix_x4(queries + (k + i) as u32 * fragment::K * 2);
                            let (low, high) = (four[2 * i], four[2 * i + 1]);
                            seen = codes::note_nan(codes::note_nan(seen, low), high);
                            scores[0] = mma::m16n8k16_bf16(query, codes::e4m3_small(low), scores[0]);
                            scores[1] = mma::m16n8k16_bf16(query, codes::e4m3_small(high), scores[1]);
                        },
                    );
                }
            },
        );
        // SAFETY: the whole warp is here.
        if unsafe { warp::any(codes::has_nan(seen)) } { [[f32::NAN; 4]; 2] } else { scores }
    }

    #[inline(always)]
    unsafe fn sum<const DIM: u32>(split: &Split<DIM, E4m3>) {
        // SAFETY: the whole warp is here.
        let weights = unsafe { split.load_weights() };
        let values = split.values() + thread::lane_id() * Split::<DIM, E4m3>::ROW;
        let mut column = thread::warp_id() * ROW_CODES;
        while column < DIM {
            let (mut even, mut odd, mut seen) = ([0.0; 4], [0.0; 4], 0);
            unroll::<{ DEPTHS / 2 }>(
                #[inline(always)]
                |k| {
                    // SAFETY: the whole warp is here; each lane names a key.
                    unsafe {
                        let rows = values + k as u32 * thread::WARP_SIZE * Split::<DIM, E4m3>::ROW;
                        let four = mma::ldmatrix_x4_transposed(rows + column);
                        unroll::<2>(
                            #[inline(always)]
                            |i| {
                                let (low, high) = (four[2 * i], four[2 * i + 1]);
                                seen = codes::note_nan(codes::note_nan(seen, low), high);
                                let ([a, c], [b, d]) =
                                    (codes::e4m3_small_by_turns(low), codes::e4m3_small_by_turns(high));
                                even = mma::m16n8k16_bf16(weights[2 * k + i], [a, b], even);
                                odd = mma::m16n8k16_bf16(weights[2 * k + i], [c, d], odd);
                            },
                        );
                    }
                },
            );
            // SAFETY: the whole warp is here.
            let is_number = !unsafe { warp::any(codes::has_nan(seen)) };
            let factor = if is_number { split.args.v_scale * E4m3::RAISE } else { f32::NAN };
            let own = column + thread::lane_id() % 4 * 4;
            unroll::<2>(
                #[inline(always)]
                |half| {
                    let [a, b, c, d] = [even[2 * half], odd[2 * half], even[2 * half + 1], odd[2 * half + 1]];
                    // SAFETY: the elements are this lane's own.
                    unsafe {
                        split.store(half, own, [a * factor, b * factor]);
                        split.store(half, own + 2, [c * factor, d * factor]);
                    }
                },
            );
            column += WARPS * ROW_CODES;
        }
        // SAFETY: a pair per head.
        unsafe { split.store_stats() };
    }
}
