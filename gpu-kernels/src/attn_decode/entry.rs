//! The entry points of `attn_decode`.
use super::split::{KEYS, Scores, Split, clear_pad};
use super::{AttnDecode, WARPS, row_bytes, values_apart};
use crate::SPLIT_TOKENS;
use core::f32::consts::LOG2_E;
use cuda_std::barrier::sync_threads;
use cuda_std::shared::Shared;
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, cp_async, fragment, global, grid, kernel, math, mma, thread, warp};

kernel! {
    /// Heads of 32.
    pub fn attn_decode_32(args: AttnDecode) {
        attend::<32, 2>(&args);
    }

    /// Heads of 64.
    pub fn attn_decode_64(args: AttnDecode) {
        attend::<64, 4>(&args);
    }

    /// Heads of 96.
    pub fn attn_decode_96(args: AttnDecode) {
        attend::<96, 6>(&args);
    }

    /// Heads of 128.
    pub fn attn_decode_128(args: AttnDecode) {
        attend::<128, 8>(&args);
    }

    /// Heads of 192.
    pub fn attn_decode_192(args: AttnDecode) {
        attend::<192, 12>(&args);
    }

    /// Heads of 256.
    pub fn attn_decode_256(args: AttnDecode) {
        attend::<256, 16>(&args);
    }
}

/// Depths of `mma` that a split has.
const DEPTHS: usize = (SPLIT_TOKENS / fragment::K) as usize;

/// `STEPS` depths of `mma` make a head of `DIM`.
///
/// # Safety
/// The kernel's Requires hold.
#[inline(always)]
unsafe fn attend<const DIM: u32, const STEPS: usize>(args: &AttnDecode) {
    const { assert!(STEPS as u32 * fragment::K == DIM) };
    // SAFETY: the split is the same for the whole block, so all its threads come to the barriers.
    unsafe {
        grid::launch_dependents();
        let Some(split) = Split::<DIM>::of_block(args) else {
            grid::wait_for_dependencies();
            return clear_pad::<DIM>(args);
        };
        if args.cos.is_null() {
            // A kernel in front may have stored keys.
            grid::wait_for_dependencies();
        }
        split.copy::<STEPS>(args.k_pool, split.keys());
        if values_apart(DIM) {
            split.copy::<STEPS>(args.v_pool, split.values());
        }
        grid::wait_for_dependencies();
        split.share_rows();
        if values_apart(DIM) {
            split.add_value();
            cp_async::wait::<1>();
        } else {
            cp_async::wait::<0>();
        }
        sync_threads();
        let scores = split.score::<STEPS>();
        split.share_maxima(&scores);
        sync_threads();
        if !values_apart(DIM) {
            split.copy::<STEPS>(args.v_pool, split.values());
            split.add_value();
        }
        split.weigh(&scores);
        cp_async::wait::<0>();
        sync_threads();
        split.sum();
        if split.live.count > 1 {
            sync_threads();
            if split.arrives_last() {
                split.join();
            }
        }
    }
}

impl<const DIM: u32> Split<DIM> {
    /// The warp's scores; of keys that are not live, −∞.
    ///
    /// # Safety
    /// The whole block comes here; queries and keys are there.
    #[inline(always)]
    unsafe fn score<const STEPS: usize>(&self) -> Scores {
        let (row, column) = fragment::a_source(thread::lane_id());
        let queries = self.queries() + row.min(self.group - 1) * row_bytes(DIM) + column * 2;
        let (row, column) = fragment::b_source_by_columns(thread::lane_id());
        let keys = self.keys() + (thread::warp_id() * KEYS + row) * row_bytes(DIM) + column * 2;
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
        unroll::<8>(|i| {
            let score = scores[i / 4][i % 4] * self.args.scale;
            scores[i / 4][i % 4] = if self.lives(own_key(i)) { score } else { f32::NEG_INFINITY };
        });
        scores
    }

    /// Leaves the warp's largest score of each head in shared memory.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    unsafe fn share_maxima(&self, scores: &Scores) {
        unroll::<2>(|half| {
            let [a, b, c, d] = of_half(scores, half);
            // SAFETY: the whole warp is here; a word per head and warp.
            unsafe {
                let largest = warp::reduce::<4, f32>(math::max(math::max(a, b), math::max(c, d)), math::max);
                if thread::lane_id() % 4 == 0 {
                    self.maxima().store(own_head(half) * WARPS + thread::warp_id(), largest);
                }
            }
        });
    }

    /// Leaves the rounded weights of the warp's keys in shared memory, and beside them the sums of the unrounded ones.
    ///
    /// # Safety
    /// The whole warp comes here; behind a barrier, the maxima are there.
    #[inline(always)]
    unsafe fn weigh(&self, scores: &Scores) {
        unroll::<2>(
            #[inline(always)]
            |half| {
                let head = own_head(half);
                // SAFETY: the whole warp is here; the words are the lane's own.
                unsafe {
                    let largest = self.largest_of(head);
                    let weights = of_half(scores, half).map(|score| math::ex2_flushed((score - largest) * LOG2_E));
                    let sum = (weights[0] + weights[1]) + (weights[2] + weights[3]);
                    let sum = warp::reduce::<4, f32>(sum, |a, b| a + b);
                    if thread::lane_id() % 4 == 0 {
                        self.totals().store(head * WARPS + thread::warp_id(), sum);
                    }
                    if head < self.group {
                        let row = Shared::<u32>::from_address(self.weights() + head * row_bytes(SPLIT_TOKENS));
                        row.store(own_key(0) / 2, bf16::pack([weights[0], weights[1]]));
                        row.store(own_key(4) / 2, bf16::pack([weights[2], weights[3]]));
                    }
                }
            },
        );
    }

    /// Adds up the weighted values and stores the sums, or the output if the split is alone.
    ///
    /// # Safety
    /// The whole block comes here; behind a barrier, weights and values are there.
    #[inline(always)]
    unsafe fn sum(&self) {
        let (row, column) = fragment::a_source(thread::lane_id());
        let weights = self.weights() + row.min(self.group - 1) * row_bytes(SPLIT_TOKENS) + column * 2;
        // SAFETY: the whole warp is here.
        let weights: [[u32; 4]; DEPTHS] = array(|k| unsafe { mma::ldmatrix_x4(weights + k as u32 * fragment::K * 2) });
        let values = self.values() + thread::lane_id() * row_bytes(DIM);
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
                        let [a, b, c, d] = mma::ldmatrix_x4_transposed(values + keys * row_bytes(DIM) + column * 2);
                        sums = mma::m16n8k16_bf16(weights[2 * k], [a, b], sums);
                        sums = mma::m16n8k16_bf16(weights[2 * k + 1], [c, d], sums);
                    }
                },
            );
            // SAFETY: the elements are this lane's own.
            unsafe {
                self.store(0, column, [sums[0], sums[1]]);
                self.store(1, column, [sums[2], sums[3]]);
            }
            column += WARPS * fragment::N;
        }
        // SAFETY: a pair per head.
        unsafe { self.store_stats() };
    }

    /// Stores the lane's two sums of the eight columns from `column` on.
    ///
    /// # Safety
    /// The totals are there.
    #[inline(always)]
    unsafe fn store(&self, half: usize, column: u32, sums: [f32; 2]) {
        let (head, column) = (own_head(half), column + thread::lane_id() % 4 * 2);
        if head >= self.group {
            return;
        }
        // SAFETY: two elements per lane.
        unsafe {
            if self.live.count == 1 {
                let total = self.total_of(head);
                let pair = bf16::pack(sums.map(|sum| sum / total));
                return global::store(self.out + u64::from(head * DIM + column) * 2, pair);
            }
            global::store(self.args.partial.addr + (self.at(head) * u64::from(DIM) + u64::from(column)) * 4, sums);
        }
    }

    /// Stores maximum and sum of each head, where the split is not alone.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn store_stats(&self) {
        let head = thread::thread_idx_x();
        if self.live.count > 1 && head < self.group {
            // SAFETY: a pair per thread.
            unsafe {
                global::store(self.args.stats.addr + self.at(head) * 8, [self.largest_of(head), self.total_of(head)])
            };
        }
    }

    /// The largest score of a head.
    ///
    /// # Safety
    /// The warps' maxima are there.
    #[inline(always)]
    unsafe fn largest_of(&self, head: u32) -> f32 {
        // SAFETY: the caller's promise.
        let [a, b]: [[f32; 4]; 2] = array(|i| unsafe { self.maxima().cast::<[f32; 4]>().load(head * 2 + i as u32) });
        let pairs: [f32; 4] = array(|i| math::max(a[i], b[i]));
        math::max(math::max(pairs[0], pairs[1]), math::max(pairs[2], pairs[3]))
    }

    /// The sum of a head's weights.
    ///
    /// # Safety
    /// The warps' sums are there.
    #[inline(always)]
    unsafe fn total_of(&self, head: u32) -> f32 {
        // SAFETY: the caller's promise.
        let [a, b]: [[f32; 4]; 2] = array(|i| unsafe { self.totals().cast::<[f32; 4]>().load(head * 2 + i as u32) });
        let pairs: [f32; 4] = array(|i| a[i] + b[i]);
        (pairs[0] + pairs[1]) + (pairs[2] + pairs[3])
    }
}

/// The lane's row among the block's heads: of its scores the first half is one head's, the second another's.
#[inline(always)]
fn own_head(half: usize) -> u32 {
    fragment::c_element(thread::lane_id(), half as u32 * 2).0
}

/// The key of the lane's `i`-th score.
#[inline(always)]
fn own_key(i: usize) -> u32 {
    let (_, column) = fragment::c_element(thread::lane_id(), i as u32 % 4);
    thread::warp_id() * KEYS + i as u32 / 4 * fragment::N + column
}

/// The lane's scores of a head.
#[inline(always)]
fn of_half(scores: &Scores, half: usize) -> [f32; 4] {
    [scores[0][2 * half], scores[0][2 * half + 1], scores[1][2 * half], scores[1][2 * half + 1]]
}
