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

impl Best {
    #[inline(always)]
    fn or(self, other: Best) -> Best {
        let wins = other.value > self.value || (other.value == self.value && other.index < self.index);
        if wins { other } else { self }
    }
}

/// Chooses the experts of `row` and stores their numbers and weights.
///
/// # Safety
/// The whole warp comes here; the row's logits are stored.
#[inline(always)]
pub unsafe fn choose(args: &MoeRoute, row: u32) {
    let scores = shared::dynamic::<f32>().offset(thread::warp_id() * args.experts);
    let lane = thread::lane_id();
    let mut chosen = (0, 0.0);
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
                chosen = (best.index, sigmoid(args, row, best.index));
            }
            warp::sync();
            if lane == 0 {
                scores.store(best.index, f32::NEG_INFINITY);
            }
            warp::sync();
        }
        let weight = weighted(args, chosen.1);
        if lane < args.top_k {
            let at = 4 * (u64::from(row) * u64::from(args.top_k) + u64::from(lane));
            global::store(args.ids.addr + at, chosen.0);
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
            kept |= 1 << (best.index & 31);
            if lane == best.index {
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

/// The best of `count` scores, in every lane.
///
/// # Safety
/// The whole warp comes here; the scores are written.
#[inline(always)]
unsafe fn best_of(scores: Shared<f32>, count: u32) -> Best {
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

/// The best of the lanes', in every lane.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn best_of_warp(mut best: Best) -> Best {
    let mut lanes = thread::WARP_SIZE / 2;
    while lanes > 0 {
        // SAFETY: the caller's promise.
        let (value, index) = unsafe { (warp::shuffle_xor(best.value, lanes), warp::shuffle_xor(best.index, lanes)) };
        best = best.or(Best { value, index });
        lanes /= 2;
    }
    best
}
