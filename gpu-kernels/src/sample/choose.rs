//! The choice: where the running sum of the weights, in the order of ids, passes a random share of the whole.
use super::team::Team;
use super::weigh::{Logits, Range, of_last_lane, sum_up_to_lane};
use cuda_std::{barrier, global, shared, thread, warp};

shared! {
    fn sample_sums() -> [u64; 32];
}

/// Writes the choice among the tokens within `limit` to `target`.
///
/// # Safety
/// All threads of the team call it together; the row is written, and `limit` is a limit of its own.
#[inline(always)]
pub unsafe fn choose(logits: &Logits, team: &mut Team, limit: u32, random: u64, target: u64) {
    // SAFETY: the caller's promise; the sums are written and read with barriers between.
    unsafe {
        leave_sums(logits, limit, logits.range);
        let mut own = 0;
        let mut number = 0;
        while number < thread::warps_per_block() {
            own += sample_sums().load(number);
            number += 1;
        }
        let Some(share) = team.share_of(own, random) else { return };
        let (part, rest) = part_of(logits.range, share);
        barrier::sync_threads();
        leave_sums(logits, limit, part);
        let (part, rest) = part_of(part, rest);
        if thread::warp_id() == 0 {
            scan(logits, limit, part, rest, target);
        }
    }
}

/// Leaves the weight of each warp's part of `range`, and waits until all are there.
///
/// # Safety
/// As for [`choose`].
#[inline(always)]
unsafe fn leave_sums(logits: &Logits, limit: u32, range: Range) {
    let part = range.part(thread::warp_id(), thread::warps_per_block());
    let mut index = part.start + thread::lane_id();
    let mut own = 0;
    // SAFETY: the indices are below the vocabulary; whole warps get to the collectives together.
    unsafe {
        while index < part.end {
            own += logits.weight(index, limit);
            index += thread::WARP_SIZE;
        }
        let sum = of_last_lane(sum_up_to_lane(own));
        if thread::lane_id() == 0 {
            sample_sums().store(thread::warp_id(), sum);
        }
        barrier::sync_threads();
    }
}

/// The part of `range` in which the running sum passes `share`, and what of `share` is left there.
///
/// # Safety
/// Behind [`leave_sums`] of that range, whose sum is above `share`.
#[inline(always)]
unsafe fn part_of(range: Range, share: u64) -> (Range, u64) {
    let (mut number, mut rest) = (0, share);
    // SAFETY: the sums of all warps are written, and one of them is above what is left when it is reached.
    unsafe {
        while number + 1 < thread::warps_per_block() && sample_sums().load(number) <= rest {
            rest -= sample_sums().load(number);
            number += 1;
        }
    }
    (range.part(number, thread::warps_per_block()), rest)
}

/// Writes the first id in `range` at which the running sum is above `share`.
///
/// # Safety
/// One warp calls it; the sum over the range is above `share`.
#[inline(always)]
unsafe fn scan(logits: &Logits, limit: u32, range: Range, share: u64, target: u64) {
    let (mut start, mut rest) = (range.start, share);
    while start < range.end {
        let index = start + thread::lane_id();
        // SAFETY: the index is below the vocabulary; `start` and `rest` are the same in all lanes, so they stay together.
        unsafe {
            let own = if index < range.end { logits.weight(index, limit) } else { 0 };
            let sum = sum_up_to_lane(own);
            let above = warp::ballot(sum > rest);
            if above != 0 {
                if thread::lane_id() == 0 {
                    global::store(target, start + above.trailing_zeros());
                }
                return;
            }
            rest -= of_last_lane(sum);
        }
        start += thread::WARP_SIZE;
    }
}
