//! The entry points of `attn_decode`.
use super::split::{Group, QUAD, Split, lane_group, quad_key, value_share};
use super::{AttnDecode, HEADS_AT_ONCE, Shape};
use crate::{SPLIT_TOKENS, row};
use core::f32::consts::LOG2_E;
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, global, kernel, math, thread, warp};

kernel! {
    /// Heads of 32.
    pub fn attn_decode_32(args: AttnDecode) {
        attend::<32, 1, 4, 4>(&args);
    }

    /// Heads of 64.
    pub fn attn_decode_64(args: AttnDecode) {
        attend::<64, 2, 4, 8>(&args);
    }

    /// Heads of 96.
    pub fn attn_decode_96(args: AttnDecode) {
        attend::<96, 3, 2, 8>(&args);
    }

    /// Heads of 128.
    pub fn attn_decode_128(args: AttnDecode) {
        attend::<128, 4, 2, 8>(&args);
    }

    /// Heads of 192.
    pub fn attn_decode_192(args: AttnDecode) {
        attend::<192, 6, 2, 16>(&args);
    }

    /// Heads of 256.
    pub fn attn_decode_256(args: AttnDecode) {
        attend::<256, 8, 2, 16>(&args);
    }
}

const HEADS: usize = HEADS_AT_ONCE as usize;

/// `PIECES` groups of a key are a lane's, of `QUAD_KEYS` keys; and one group of `VALUE_KEYS` keys' values.
///
/// # Safety
/// The kernel's Requires hold for heads of `DIM`.
#[inline(always)]
unsafe fn attend<const DIM: u32, const PIECES: usize, const QUAD_KEYS: usize, const VALUE_KEYS: usize>(
    args: &AttnDecode,
) {
    const {
        let shape = Shape::of(DIM);
        assert!(shape.quad_keys == QUAD_KEYS as u32 && shape.value_keys == VALUE_KEYS as u32);
        assert!(PIECES as u32 * QUAD * row::GROUP == DIM);
    }
    // SAFETY: the split is the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let Some(split) = Split::<DIM>::of_block(args) else { return };
        let keys: [[Group; PIECES]; QUAD_KEYS] = split.keys();
        let mut head = 0;
        while head < split.group {
            split.score(head, &keys);
            head += HEADS_AT_ONCE;
        }
        // Not earlier: kept beside the keys they leave room for half as many warps, which costs more than it hides.
        let values: [Group; VALUE_KEYS] = split.values();
        sync_threads();
        split.weigh();
        sync_threads();
        head = 0;
        while head < split.group {
            split.sum(head, &values);
            sync_threads();
            split.store(head, SPLIT_TOKENS / VALUE_KEYS as u32);
            sync_threads();
            head += HEADS_AT_ONCE;
        }
    }
}

impl<const DIM: u32> Split<DIM> {
    /// Scores of the `HEADS` query heads from `head` on; of keys that are not live, −∞.
    ///
    /// # Safety
    /// The whole block comes here.
    #[inline(always)]
    unsafe fn score<const PIECES: usize, const QUAD_KEYS: usize>(
        &self,
        head: u32,
        keys: &[[Group; PIECES]; QUAD_KEYS],
    ) {
        let mut dots = [[0.0; QUAD_KEYS]; HEADS];
        unroll::<PIECES>(
            #[inline(always)]
            |p| {
                // SAFETY: heads behind the last are read as the last.
                let q: [[f32; 8]; HEADS] = array(|h| unsafe {
                    let head = (head + h as u32).min(self.group - 1);
                    bf16::unpack_8(global::load(row::at(self.q + u64::from(head * DIM * 2), lane_group(p))))
                });
                unroll::<QUAD_KEYS>(
                    #[inline(always)]
                    |i| {
                        let key = bf16::unpack_8(keys[i][p]);
                        unroll::<HEADS>(|h| dots[h][i] = dot(q[h], key, dots[h][i]));
                    },
                );
            },
        );
        let lane = thread::lane_id() % QUAD;
        let key = thread::warp_id() * QUAD_KEYS as u32 * 8 + quad_key(lane as usize);
        unroll::<HEADS>(
            #[inline(always)]
            |h| {
                let mut own = 0.0;
                unroll::<QUAD_KEYS>(|i| {
                    // SAFETY: the whole warp is here.
                    let dot = unsafe { warp::reduce::<QUAD, f32>(dots[h][i], |a, b| a + b) };
                    own = if lane == i as u32 { dot } else { own };
                });
                let head = head + h as u32;
                if lane < QUAD_KEYS as u32 && head < self.group {
                    let score = if self.lives(key) { own * self.args.scale } else { f32::NEG_INFINITY };
                    // SAFETY: one word per key and head.
                    unsafe { self.scores.store(head * SPLIT_TOKENS + key, score) };
                }
            },
        );
    }

    /// Turns the scores of every head into rounded weights and stores their maximum and their unrounded sum; a warp takes
    /// a head, a lane four keys.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier.
    #[inline(always)]
    unsafe fn weigh(&self) {
        let scores = self.scores.cast::<[f32; 4]>();
        let mut head = thread::warp_id();
        while head < self.group {
            let at = head * thread::WARP_SIZE + thread::lane_id();
            // SAFETY: a warp owns its heads; it is here as a whole.
            unsafe {
                let score = scores.load(at);
                let largest = warp::max_f32(score.into_iter().fold(f32::NEG_INFINITY, math::max));
                let weights = score.map(|score| math::ex2((score - largest) * LOG2_E));
                let sum = warp::sum_f32((weights[0] + weights[1]) + (weights[2] + weights[3]));
                scores.store(at, weights.map(bf16::round));
                if thread::lane_id() == 0 {
                    global::store(self.args.stats.addr + self.at(head) * 8, [largest, sum]);
                }
            }
            head += thread::warps_per_block();
        }
    }

    /// Leaves in shared memory the thread's sums of weighted values for `HEADS` query heads from `head` on.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier.
    #[inline(always)]
    unsafe fn sum<const VALUE_KEYS: usize>(&self, head: u32, values: &[Group; VALUE_KEYS]) {
        let (column, from) = value_share::<DIM, VALUE_KEYS>();
        if from >= SPLIT_TOKENS {
            return;
        }
        let mut sums = [[0.0; 8]; HEADS];
        unroll::<VALUE_KEYS>(
            #[inline(always)]
            |i| {
                let value = bf16::unpack_8(values[i]);
                unroll::<HEADS>(
                    #[inline(always)]
                    |h| {
                        let head = (head + h as u32).min(self.group - 1);
                        // SAFETY: heads behind the last are read as the last.
                        let weight = unsafe { self.scores.load(head * SPLIT_TOKENS + from + i as u32) };
                        unroll::<8>(|e| sums[h][e] = math::fma(weight, value[e], sums[h][e]));
                    },
                );
            },
        );
        unroll::<HEADS>(|h| {
            let [a, b, c, d, e, f, g, i] = sums[h];
            let at = (from / VALUE_KEYS as u32 * HEADS_AT_ONCE + h as u32) * (DIM / 4) + column * 2;
            // SAFETY: eight words per thread and head.
            unsafe {
                self.sums.cast::<[f32; 4]>().store(at, [a, b, c, d]);
                self.sums.cast::<[f32; 4]>().store(at + 1, [e, f, g, i]);
            }
        });
    }

    /// Joins the `parts` sums of `HEADS` query heads from `head` on; a thread stores four elements.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier.
    #[inline(always)]
    unsafe fn store(&self, head: u32, parts: u32) {
        let (h, column) = (thread::thread_idx_x() / (DIM / 4), thread::thread_idx_x() % (DIM / 4));
        let head = head + h;
        if h >= HEADS_AT_ONCE || head >= self.group {
            return;
        }
        let mut sum = [0.0; 4];
        for part in 0..parts {
            // SAFETY: the part is there; all wrote theirs before the barrier.
            let more = unsafe { self.sums.cast::<[f32; 4]>().load((part * HEADS_AT_ONCE + h) * (DIM / 4) + column) };
            sum = core::array::from_fn(|i| sum[i] + more[i]);
        }
        let at = self.at(head) * u64::from(DIM) + u64::from(column * 4);
        // SAFETY: four elements per thread.
        unsafe { global::store(self.args.partial.addr + at * 4, sum) };
    }
}

/// `sum` and the products of eight elements, lowest first.
#[inline(always)]
fn dot(a: [f32; 8], b: [f32; 8], sum: f32) -> f32 {
    let mut sum = sum;
    unroll::<8>(|i| sum = math::fma(a[i], b[i], sum));
    sum
}
