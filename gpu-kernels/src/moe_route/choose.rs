//! The choice of a row's experts, by one warp.
use super::MoeRoute;
use core::num::NonZero;
use cuda_std::shared::{self, Shared};
use cuda_std::{global, math, thread, warp};

/// A candidate, and how good it is.
#[derive(Clone, Copy)]
struct Best {
    value: f32,
    index: u32,
}

/// Chooses the experts of `row` and stores their numbers and weights.
///
/// # Safety
/// The whole warp comes here; the row's logits are stored.
#[inline(always)]
pub unsafe fn choose(args: &MoeRoute, row: u32) {
    let scores = shared::dynamic::<f32>().offset(thread::warp_id() * args.experts);
    let lane = thread::lane_id();
    let mut chosen = 0;
    // SAFETY: a lane has every 32nd expert, and the warp's scores are its own.
    unsafe {
        for_each_own(0, args.experts, |expert| {
            let bias: f32 = global::load(args.bias.addr + 4 * u64::from(expert));
            scores.store(expert, sigmoid(args, row, expert) + bias);
        });
        warp::sync();
        if args.groups > 1 {
            keep_best_groups(args, scores);
        }
        for choice in 0..args.top_k {
            let best = best_of(scores, args.experts);
            if lane == choice {
                chosen = best;
            }
            warp::sync();
            if lane == 0 {
                scores.store(best, f32::NEG_INFINITY);
            }
            warp::sync();
        }
        // Once for all choices: each lane has its own.
        let weight = weighted(args, sigmoid(args, row, chosen));
        if lane < args.top_k {
            let at = 4 * (u64::from(row) * u64::from(args.top_k) + u64::from(lane));
            global::store(args.ids.addr + at, chosen);
            global::store(args.weights.addr + at, weight);
        }
    }
}

/// What the lane's choice counts.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn weighted(args: &MoeRoute, score: f32) -> f32 {
    if args.normalize == 0 {
        return args.scale * score;
    }
    let mut sum = 0.0;
    for choice in 0..args.top_k {
        // SAFETY: the caller's promise.
        sum += unsafe { warp::shuffle(score, choice) };
    }
    args.scale * (score / (sum + 1e-20))
}

/// # Safety
/// The logit is stored.
#[inline(always)]
unsafe fn sigmoid(args: &MoeRoute, row: u32, expert: u32) -> f32 {
    // SAFETY: the caller's promise.
    let logit: f32 = unsafe { global::load(args.logit(row, expert)) };
    1.0 / (1.0 + math::exp(-logit))
}

/// Leaves −∞ in the place of the scores of all but the best groups.
///
/// # Safety
/// The whole warp comes here; the scores are its own, and written.
#[inline(always)]
unsafe fn keep_best_groups(args: &MoeRoute, scores: Shared<f32>) {
    // A divisor that may be zero would bring a panic, and its message, into the kernel.
    let Some(groups) = NonZero::new(args.groups) else { return };
    let (size, lane) = (args.experts / groups, thread::lane_id());
    let mut own = Best { value: f32::NEG_INFINITY, index: lane };
    let mut kept = 0_u32;
    // SAFETY: a lane writes its own experts alone, and reads those of others behind a barrier.
    unsafe {
        for group in 0..args.groups {
            let [first, second] = two_best(scores, group * size, size);
            if lane == group {
                own.value = first + second;
            }
        }
        for _ in 0..args.top_groups {
            let best = best_of_warp(own);
            kept |= 1 << (best & 31);
            if lane == best {
                own.value = f32::NEG_INFINITY;
            }
        }
        warp::sync();
        for_each_own(0, args.experts, |expert| {
            if kept >> (expert / NonZero::new(size).unwrap_or(NonZero::<u32>::MIN)) & 1 == 0 {
                scores.store(expert, f32::NEG_INFINITY);
            }
        });
        warp::sync();
    }
}

/// Calls `visit` with the lane's share of `count` from `first` on.
#[inline(always)]
fn for_each_own(first: u32, count: u32, mut visit: impl FnMut(u32)) {
    let mut index = thread::lane_id();
    while index < count {
        visit(first + index);
        index += thread::WARP_SIZE;
    }
}

/// The two largest of `count` scores from `first` on, in every lane.
///
/// # Safety
/// The whole warp comes here; the scores are written.
#[inline(always)]
unsafe fn two_best(scores: Shared<f32>, first: u32, count: u32) -> [f32; 2] {
    let join = |[a, b]: [f32; 2], [c, d]: [f32; 2]| [math::max(a, c), math::max(math::min(a, c), math::max(b, d))];
    let mut best = [f32::NEG_INFINITY; 2];
    // SAFETY: the caller's promise.
    unsafe {
        for_each_own(first, count, |index| best = join(best, [scores.load(index), f32::NEG_INFINITY]));
        let mut lanes = thread::WARP_SIZE / 2;
        while lanes > 0 {
            best = join(best, [warp::shuffle_xor(best[0], lanes), warp::shuffle_xor(best[1], lanes)]);
            lanes /= 2;
        }
    }
    best
}

/// The number of the best of `count` scores, in every lane.
///
/// # Safety
/// The whole warp comes here; the scores are written.
#[inline(always)]
unsafe fn best_of(scores: Shared<f32>, count: u32) -> u32 {
    // Where nothing is larger than −∞, as with scores that are no numbers, the first stands for all.
    let mut best = Best { value: f32::NEG_INFINITY, index: 0 };
    // SAFETY: the caller's promise.
    unsafe {
        for_each_own(0, count, |index| {
            let value = scores.load(index);
            best = if value > best.value { Best { value, index } } else { best };
        });
        best_of_warp(best)
    }
}

/// The number of the best of the lanes', in every lane; of equal ones the lowest.
///
/// # Safety
/// The whole warp comes here; no value is no number.
#[inline(always)]
unsafe fn best_of_warp(best: Best) -> u32 {
    // Bits that are ordered as the values are. Of the two zeros, which are equal, 0 makes one.
    let bits = (best.value + 0.0).to_bits();
    let order = bits ^ (bits.cast_signed() >> 31).cast_unsigned() ^ (!bits & 0x8000_0000);
    // SAFETY: the caller's promise.
    unsafe {
        let largest = warp::max_u32(order);
        warp::min_u32(if order == largest { best.index } else { u32::MAX })
    }
}
