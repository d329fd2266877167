//! The online softmax of `attn_prefill`, over the fragments of scores that a warp holds.
//!
//! A lane holds two rows of a result of `mma`, eight apart; its quad of lanes shares them.
use super::entry::{KEY_TILES, Scores, Weights};
use core::f32::consts::LOG2_E;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, fragment, math, thread, warp};

/// Sets the scores of keys that a row does not see to −∞: all but itself and those before it, `reach` in all. The lane's
/// first row stands at `position`, its second eight behind; `first` is the first of the keys.
#[inline(always)]
pub fn mask(scores: &mut Scores, position: u32, reach: u32, first: u32) {
    unroll::<KEY_TILES>(
        #[inline(always)]
        |n| {
            unroll::<4>(|i| {
                let (row, column) = fragment::c_element(thread::lane_id() % 4, i as u32);
                let (key, position) = (first + n as u32 * fragment::N + column, position + row);
                // For a key behind the row the difference is 2³¹ or more.
                let sees = position.wrapping_sub(key) < reach;
                scores[n][i] = if sees { scores[n][i] } else { f32::NEG_INFINITY };
            });
        },
    );
}

/// Rounds one pair of weights to where `mma` takes it: two results of `mma` side by side are an operand a of the next.
#[inline(always)]
pub fn round(weights: &mut Weights, n: usize, row: usize, pair: [f32; 2]) {
    weights[n / 2][n % 2 * 2 + row] = bf16::pack(pair);
}

/// What is known of a lane's two rows after the keys so far.
pub struct Softmax {
    /// The factor of the scores, times log₂e.
    factor: f32,
    /// The largest score, times the factor; the same in the whole quad.
    largest: [f32; 2],
    /// This lane's part of the sum of weights.
    sum: [f32; 2],
}

impl Softmax {
    /// Before any key.
    #[inline(always)]
    pub fn new(scale: f32) -> Softmax {
        Softmax { factor: scale * LOG2_E, largest: [f32::NEG_INFINITY; 2], sum: [0.0; 2] }
    }

    /// Turns scores into weights: `put(n, row, pair)` gets those of one of the lane's two rows in the n-th eight columns.
    /// Gives what the rows' outputs so far are to be multiplied by, since the weights are relative to a new maximum.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    pub unsafe fn weigh(&mut self, scores: &Scores, mut put: impl FnMut(usize, usize, [f32; 2])) -> [f32; 2] {
        let mut rescale = [0.0; 2];
        unroll::<2>(
            #[inline(always)]
            |row| {
                let mut largest = scores[0][2 * row];
                unroll::<KEY_TILES>(|n| {
                    largest = math::max(largest, math::max(scores[n][2 * row], scores[n][2 * row + 1]));
                });
                // SAFETY: the whole warp is here.
                let largest = unsafe { warp::reduce::<4, f32>(largest, math::max) };
                let largest = math::max(self.largest[row], largest * self.factor);
                // For a row that has seen no key yet: −∞ less −∞ would be NaN.
                let base = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
                // Exactly 1 where the maximum stands: pages that a row does not see change no bit of it.
                rescale[row] = math::ex2_flushed(self.largest[row] - base);
                let mut sum = 0.0;
                unroll::<KEY_TILES>(
                    #[inline(always)]
                    |n| {
                        let weigh = |score| math::ex2_flushed(math::fma(score, self.factor, -base));
                        let pair = [weigh(scores[n][2 * row]), weigh(scores[n][2 * row + 1])];
                        sum += pair[0] + pair[1];
                        put(n, row, pair);
                    },
                );
                self.sum[row] = math::fma(self.sum[row], rescale[row], sum);
                self.largest[row] = largest;
            },
        );
        rescale
    }

    /// What the rows' outputs are to be multiplied by at the end.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    pub unsafe fn normalizer(&self) -> [f32; 2] {
        // SAFETY: the whole warp is here.
        self.sum.map(|sum| 1.0 / unsafe { warp::reduce::<4, f32>(sum, |a, b| a + b) })
    }
}
