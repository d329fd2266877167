//! Scores, weights and sums of the split that a block of `attn_decode` owns.
use super::WARPS;
use super::split::{KEYS, Scores, Split};
use crate::SPLIT_TOKENS;
use crate::cached::Cached;
use core::f32::consts::LOG2_E;
use cuda_std::shared::Shared;
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, fragment, global, math, mma, thread, warp};

/// Depths of `mma` that a split has.
pub const DEPTHS: usize = (SPLIT_TOKENS / fragment::K) as usize;

/// The products of a kind of element.
pub trait Multiply: Cached {
    /// The warp's scores without their factor; `STEPS` depths of `mma` make a head.
    ///
    /// # Safety
    /// The whole block comes here; queries and keys are there.
    unsafe fn multiply<const DIM: u32, const STEPS: usize>(split: &Split<DIM, Self>) -> Scores;

    /// Adds up the weighted values and stores the sums, or the output if the split is alone.
    ///
    /// # Safety
    /// The whole block comes here; behind a barrier, weights and values are there.
    unsafe fn sum<const DIM: u32>(split: &Split<DIM, Self>);
}

impl<const DIM: u32, E: Multiply> Split<DIM, E> {
    /// The warp's scores; of keys that are not live, −∞.
    ///
    /// # Safety
    /// The whole block comes here; queries and keys are there.
    #[inline(always)]
    pub unsafe fn score<const STEPS: usize>(&self) -> Scores {
        // SAFETY: the caller's promise.
        let mut scores = unsafe { E::multiply::<DIM, STEPS>(self) };
        let factor = self.args.scale * E::rest(self.args.k_scale) * E::RAISE;
        unroll::<8>(|i| {
            let score = scores[i / 4][i % 4] * factor;
            scores[i / 4][i % 4] = if self.lives(own_key(i)) { score } else { f32::NEG_INFINITY };
        });
        scores
    }

    /// Leaves the warp's largest score of each head in shared memory.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    pub unsafe fn share_maxima(&self, scores: &Scores) {
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
    pub unsafe fn weigh(&self, scores: &Scores) {
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
                        let row = Shared::<u32>::from_address(self.weights() + head * Self::WEIGHTS);
                        let weights = weights.map(|weight| weight * E::RAISE);
                        row.store(own_key(0) / 2, bf16::pack([weights[0], weights[1]]));
                        row.store(own_key(4) / 2, bf16::pack([weights[2], weights[3]]));
                    }
                }
            },
        );
    }

    /// The rounded weights of the block's heads as operands a of `mma`.
    ///
    /// # Safety
    /// The whole warp comes here; behind a barrier, they are there.
    #[inline(always)]
    pub unsafe fn load_weights(&self) -> [[u32; 4]; DEPTHS] {
        let (row, column) = fragment::a_source(thread::lane_id());
        let weights = self.weights() + row.min(self.group - 1) * Self::WEIGHTS + column * 2;
        // SAFETY: the whole warp is here.
        array(|k| unsafe { mma::ldmatrix_x4(weights + k as u32 * fragment::K * 2) })
    }

    /// Stores two of the lane's sums, those of column `column` and the next, of one of its heads.
    ///
    /// # Safety
    /// The totals are there.
    #[inline(always)]
    pub unsafe fn store(&self, half: usize, column: u32, sums: [f32; 2]) {
        let head = own_head(half);
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
            if self.clustered {
                return self.send(head, column, sums);
            }
            global::store(self.args.partial.addr + (self.at(head) * u64::from(DIM) + u64::from(column)) * 4, sums);
        }
    }

    /// Stores maximum and sum of each head, where the split is not alone and nobody has sent them.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    pub unsafe fn store_stats(&self) {
        let head = thread::thread_idx_x();
        if self.live.count > 1 && head < self.group && !self.clustered {
            // SAFETY: a pair per thread.
            unsafe {
                global::store(self.args.stats.addr + self.at(head) * 8, [self.largest_of(head), self.total_of(head)])
            };
        }
    }
}

impl<const DIM: u32, E: Cached> Split<DIM, E> {
    /// The largest score of a head.
    ///
    /// # Safety
    /// The warps' maxima are there.
    #[inline(always)]
    pub unsafe fn largest_of(&self, head: u32) -> f32 {
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
    pub unsafe fn total_of(&self, head: u32) -> f32 {
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
