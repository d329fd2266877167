//! The groups of experts that a row may choose from, by one warp.
use super::choose::{batches, candidate, order, own, score};
use super::{BATCH, MoeRoute};
use core::num::NonZero;
use cuda_std::shared::Shared;
use cuda_std::unroll::unroll;
use cuda_std::{math, thread, warp};

/// A group, and how good it is.
#[derive(Clone, Copy)]
struct Best {
    value: f32,
    index: u32,
}

/// Leaves −∞ in the place of the scores of all but the best groups.
///
/// # Safety
/// The whole warp comes here; the candidates are its own, and stored.
#[inline(always)]
pub unsafe fn keep_best_groups(args: &MoeRoute, list: Shared<u64>) {
    // A divisor that may be zero would bring a panic, and its message, into the kernel.
    let Some(groups) = NonZero::new(args.groups) else { return };
    let (size, lane) = (args.experts / groups, thread::lane_id());
    let mut best_of_lane = Best { value: f32::NEG_INFINITY, index: lane };
    let mut kept = 0_u32;
    // SAFETY: a lane writes its own experts alone, and reads those of others behind a barrier.
    unsafe {
        for group in 0..args.groups {
            let [first, second] = two_best(list, group * size, size);
            if lane == group {
                best_of_lane.value = first + second;
            }
        }
        for _ in 0..args.top_groups {
            let best = best_of_warp(best_of_lane);
            kept |= 1 << (best & 31);
            if lane == best {
                best_of_lane.value = f32::NEG_INFINITY;
            }
        }
        warp::sync();
        for batch in 0..batches(args) {
            let all = own(list, batch);
            unroll::<BATCH>(
                #[inline(always)]
                |i| {
                    let expert = !(all[i] as u32);
                    let group = expert / NonZero::new(size).unwrap_or(NonZero::<u32>::MIN);
                    if all[i] != 0 && kept >> (group & 31) & 1 == 0 {
                        list.store(expert, candidate(f32::NEG_INFINITY, expert));
                    }
                },
            );
        }
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
/// The whole warp comes here; the candidates are stored.
#[inline(always)]
unsafe fn two_best(list: Shared<u64>, first: u32, count: u32) -> [f32; 2] {
    let join = |[a, b]: [f32; 2], [c, d]: [f32; 2]| [math::max(a, c), math::max(math::min(a, c), math::max(b, d))];
    let mut best = [f32::NEG_INFINITY; 2];
    // SAFETY: the caller's promise.
    unsafe {
        for_each_own(first, count, |index| best = join(best, [score(list.load(index)), f32::NEG_INFINITY]));
        let mut lanes = thread::WARP_SIZE / 2;
        while lanes > 0 {
            best = join(best, [warp::shuffle_xor(best[0], lanes), warp::shuffle_xor(best[1], lanes)]);
            lanes /= 2;
        }
    }
    best
}

/// The number of the best of the lanes', in every lane; of equal ones the lowest.
///
/// # Safety
/// The whole warp comes here; no value is no number.
#[inline(always)]
unsafe fn best_of_warp(best: Best) -> u32 {
    let order = order(best.value);
    // SAFETY: the caller's promise.
    unsafe {
        let largest = warp::max_u32(order);
        warp::min_u32(if order == largest { best.index } else { u32::MAX })
    }
}
