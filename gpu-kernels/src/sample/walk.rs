//! Where a running sum of 64-bit values passes a share of the whole, found by all threads of a block.
use super::weigh::{Range, of_last_lane, sum_up_to_lane};
use cuda_std::{barrier, shared, thread, warp};

shared! {
    fn walk_sums() -> [u64; 32];
}

/// Leaves the sum of `value` over each warp's part of `range`, and waits until all are there.
///
/// # Safety
/// All threads of the block call it together, behind a barrier after the last use of the sums; `value` may be called for
/// every index of `range`.
#[inline(always)]
pub unsafe fn leave_sums(range: Range, value: impl Fn(u32) -> u64) {
    let part = range.part(thread::warp_id(), thread::warps_per_block());
    let mut index = part.start + thread::lane_id();
    let mut own = 0;
    while index < part.end {
        own += value(index);
        index += thread::WARP_SIZE;
    }
    // SAFETY: whole warps get to the collectives together, and each writes its own word.
    unsafe {
        let sum = of_last_lane(sum_up_to_lane(own));
        if thread::lane_id() == 0 {
            walk_sums().store(thread::warp_id(), sum);
        }
        barrier::sync_threads();
    }
}

/// The sum of what [`leave_sums`] left, in every thread.
///
/// # Safety
/// Behind [`leave_sums`].
#[inline(always)]
pub unsafe fn sum_of_block() -> u64 {
    let (mut sum, mut number) = (0, 0);
    while number < thread::warps_per_block() {
        // SAFETY: the sums of all warps are written.
        sum += unsafe { walk_sums().load(number) };
        number += 1;
    }
    sum
}

/// Calls `found` in one thread with the first index of `range` at which the running sum of `value` is above `share`, and with
/// what of `share` is left in front of it.
///
/// # Safety
/// All threads of the block call it together, behind [`leave_sums`] of that range, whose sum is above `share`.
#[inline(always)]
pub unsafe fn first_above(range: Range, share: u64, value: impl Fn(u32) -> u64 + Copy, found: impl FnOnce(u32, u64)) {
    // SAFETY: the caller's promise; a barrier stands between the reads of the sums and the next writes.
    unsafe {
        let (part, rest) = part_of(range, share);
        barrier::sync_threads();
        leave_sums(part, value);
        let (part, rest) = part_of(part, rest);
        if thread::warp_id() == 0 {
            scan(part, rest, value, found);
        }
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
        while number + 1 < thread::warps_per_block() && walk_sums().load(number) <= rest {
            rest -= walk_sums().load(number);
            number += 1;
        }
    }
    (range.part(number, thread::warps_per_block()), rest)
}

/// Calls `found` in one lane with the first index in `range` at which the running sum is above `share`.
///
/// # Safety
/// One warp calls it; the sum over the range is above `share`.
#[inline(always)]
unsafe fn scan(range: Range, share: u64, value: impl Fn(u32) -> u64, found: impl FnOnce(u32, u64)) {
    let (mut start, mut rest) = (range.start, share);
    while start < range.end {
        let index = start + thread::lane_id();
        let own = if index < range.end { value(index) } else { 0 };
        // SAFETY: `start` and `rest` are the same in all lanes, so they stay together.
        unsafe {
            let sum = sum_up_to_lane(own);
            let above = warp::ballot(sum > rest);
            if above != 0 {
                if thread::lane_id() == above.trailing_zeros() {
                    found(index, rest - (sum - own));
                }
                return;
            }
            rest -= of_last_lane(sum);
        }
        start += thread::WARP_SIZE;
    }
}
