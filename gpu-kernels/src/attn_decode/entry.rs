//! The entry points of `attn_decode`.
use super::split::{Group, QUAD, Split, clear_pad, lane_group, quad_key, value_share};
use super::{AttnDecode, HEADS_AT_ONCE, Shape};
use crate::{SPLIT_TOKENS, row};
use core::f32::consts::LOG2_E;
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, global, grid, kernel, math, thread, warp};

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
        assert!(VALUE_KEYS.is_multiple_of(4) && VALUE_KEYS <= 16);
        let shape = Shape::of(DIM);
        assert!(shape.quad_keys == QUAD_KEYS as u32 && shape.value_keys == VALUE_KEYS as u32);
        assert!(PIECES as u32 * QUAD * row::GROUP == DIM);
    }
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
        let mut keys: [[Group; PIECES]; QUAD_KEYS] = split.keys();
        grid::wait_for_dependencies();
        split.share_rows();
        sync_threads();
        split.add_key(&mut keys);
        split.score(&keys);
        // Not earlier: kept beside the keys they leave room for half as many warps, which costs more than it hides.
        let values: [Group; VALUE_KEYS] = split.values();
        sync_threads();
        split.weigh();
        sync_threads();
        split.sum(&values);
        sync_threads();
        split.store(SPLIT_TOKENS / VALUE_KEYS as u32);
        sync_threads();
        if split.live.count > 1 && split.arrives_last() {
            split.join();
        }
    }
}

impl<const DIM: u32> Split<DIM> {
    /// Scores of the query heads; of keys that are not live, −∞.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier.
    #[inline(always)]
    unsafe fn score<const PIECES: usize, const QUAD_KEYS: usize>(&self, keys: &[[Group; PIECES]; QUAD_KEYS]) {
        let mut dots = [[0.0; QUAD_KEYS]; HEADS];
        unroll::<PIECES>(
            #[inline(always)]
            |p| {
                // SAFETY: heads behind the last are read as the last; all are there.
                let q: [[f32; 8]; HEADS] = array(|h| unsafe {
                    let head = (h as u32).min(self.group - 1);
                    bf16::unpack_8(self.rows.cast::<Group>().load(head * (DIM / row::GROUP) + lane_group(p)))
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
                let head = h as u32;
                if lane < QUAD_KEYS as u32 && head < self.group {
                    let score = if self.lives(key) { own * self.args.scale } else { f32::NEG_INFINITY };
                    // SAFETY: one word per key and head.
                    unsafe { self.scores.store(head * SPLIT_TOKENS + key, score) };
                }
            },
        );
    }

    /// Turns the scores of every head into rounded weights and leaves their maximum and their unrounded sum beside them;
    /// a warp takes a head, a lane four keys.
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
                    self.stats.store(head, [largest, sum]);
                }
            }
            head += thread::warps_per_block();
        }
    }

    /// Leaves in shared memory the thread's sums of weighted values for `HEADS` query heads.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier.
    #[inline(always)]
    unsafe fn sum<const VALUE_KEYS: usize>(&self, values: &[Group; VALUE_KEYS]) {
        let (column, from) = value_share::<DIM, VALUE_KEYS>();
        if from >= SPLIT_TOKENS {
            return;
        }
        let mut sums = [[0.0; 8]; HEADS];
        // Four keys at a time, as many as a load brings weights for.
        unroll::<4>(
            #[inline(always)]
            |four| {
                if four * 4 >= VALUE_KEYS {
                    return;
                }
                let weights: [[f32; 4]; HEADS] = array(|h| {
                    let head = (h as u32).min(self.group - 1);
                    let at = (head * SPLIT_TOKENS + from) / 4 + four as u32;
                    // SAFETY: heads behind the last are read as the last.
                    unsafe { self.scores.cast::<[f32; 4]>().load(at) }
                });
                unroll::<4>(
                    #[inline(always)]
                    |i| {
                        let value = bf16::unpack_8(values[four * 4 + i]);
                        unroll::<HEADS>(
                            #[inline(always)]
                            |h| unroll::<8>(|e| sums[h][e] = math::fma(weights[h][i], value[e], sums[h][e])),
                        );
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

    /// Joins the `parts` sums of the query heads; a thread stores four elements, of the output if the split is alone.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier.
    #[inline(always)]
    unsafe fn store(&self, parts: u32) {
        let (head, column) = (thread::thread_idx_x() / (DIM / 4), thread::thread_idx_x() % (DIM / 4));
        if head >= self.group {
            return;
        }
        let mut sum = [0.0; 4];
        for part in 0..parts {
            // SAFETY: the part is there; all wrote theirs before the barrier.
            let more = unsafe { self.sums.cast::<[f32; 4]>().load((part * HEADS_AT_ONCE + head) * (DIM / 4) + column) };
            sum = core::array::from_fn(|i| sum[i] + more[i]);
        }
        // SAFETY: four elements per thread, and a pair per head.
        unsafe {
            let [largest, total] = self.stats.load(head);
            if self.live.count == 1 {
                return self.store_out(head, column, sum.map(|sum| sum / total));
            }
            let at = self.at(head);
            global::store(self.args.partial.addr + (at * u64::from(DIM) + u64::from(column * 4)) * 4, sum);
            if column == 0 {
                global::store(self.args.stats.addr + at * 8, [largest, total]);
            }
        }
    }

    /// Stores four elements of query head `head`, the `column`-th four.
    ///
    /// # Safety
    /// They are the thread's own.
    #[inline(always)]
    pub unsafe fn store_out(&self, head: u32, column: u32, values: [f32; 4]) {
        let pairs = [bf16::pack([values[0], values[1]]), bf16::pack([values[2], values[3]])];
        // SAFETY: within the head, 8-byte aligned.
        unsafe { global::store(self.out + u64::from(head * DIM + column * 4) * 2, pairs) };
    }
}

/// `sum` and the products of eight elements, lowest first.
#[inline(always)]
fn dot(a: [f32; 8], b: [f32; 8], sum: f32) -> f32 {
    let mut sum = sum;
    unroll::<8>(|i| sum = math::fma(a[i], b[i], sum));
    sum
}
