//! The largest distance that a filter keeps, by histograms over eight bits of the distances at a time.
use super::team::Team;
use super::weigh::{Logits, multiply_high, sum_up_to_lane, weight};
use crate::sampling::MAX_DISTANCE;
use cuda_std::{barrier, shared, thread};

/// Bins of a histogram: the values of eight bits.
const BINS: u32 = 256;

shared! {
    fn sample_bins_low() -> [u32; BINS as usize];
    fn sample_bins_high() -> [u32; BINS as usize];
    fn sample_found() -> [u64; 2];
}

/// The smallest distance that at least `count` tokens are within.
///
/// # Safety
/// All threads of the team call it together; the row is written, and `count` is from 1 to the vocabulary.
#[inline(always)]
pub unsafe fn count_within(logits: &Logits, team: &mut Team, count: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { smallest_within(logits, team, MAX_DISTANCE, u64::from(count), |_| 1) }
}

/// The smallest distance within which the weights add up to at least `mass`.
///
/// # Safety
/// All threads of the team call it together; the row is written, and `mass` is from 1 to the sum within `limit`.
#[inline(always)]
pub unsafe fn mass_within(logits: &Logits, team: &mut Team, limit: u32, mass: u64) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { smallest_within(logits, team, limit, mass, weight) }
}

/// The share `top_p · 2⁻³²` of the weights within `limit`, at least 1.
///
/// # Safety
/// All threads of the team call it together; the row is written.
#[inline(always)]
pub unsafe fn top_p_target(logits: &Logits, team: &mut Team, limit: u32, top_p: u32) -> u64 {
    let mut sum = 0;
    // SAFETY: the caller's promise; the bins are cleared, added to and read with barriers between.
    unsafe {
        logits.for_each(|distance| sum += if distance <= limit { weight(distance) } else { 0 });
        clear();
        add(0, sum);
        barrier::sync_threads();
        team.join(1);
        let total = bin(0);
        barrier::sync_threads();
        let share = multiply_high(total, u64::from(top_p) << 32);
        if share > 0 { share } else { 1 }
    }
}

/// The smallest distance `q` with `Σ measure ≥ target` over the tokens within `q`, of those within `limit`.
///
/// # Safety
/// All threads of the team call it together; the row is written, and `target` is from 1 to the sum.
#[inline(always)]
unsafe fn smallest_within(
    logits: &Logits,
    team: &mut Team,
    limit: u32,
    target: u64,
    measure: impl Fn(u32) -> u64 + Copy,
) -> u32 {
    let (mut prefix, mut rest, mut shift) = (0, target, 24);
    while shift > 0 {
        shift -= 8;
        // SAFETY: the caller's promise; between two barriers the bins are cleared, added to by atomics, or
        // read, and what is found is written again two barriers later.
        unsafe {
            clear();
            logits.for_each(|distance| {
                // The bits above are those that are already found.
                if distance <= limit && distance >> shift >> 8 == prefix {
                    add((distance >> shift) % BINS, measure(distance));
                }
            });
            barrier::sync_threads();
            team.join(BINS);
            if thread::warp_id() == 0 {
                find(rest);
            }
            barrier::sync_threads();
            let found = sample_found();
            prefix = prefix << 8 | found.load(0) as u32;
            rest = found.load(1);
        }
    }
    prefix
}

/// Clears the bins, and waits until all are.
///
/// # Safety
/// All threads of the block call it together, behind a barrier after the last use.
#[inline(always)]
unsafe fn clear() {
    let mut index = thread::thread_idx_x();
    while index < BINS {
        // SAFETY: each bin is one thread's.
        unsafe {
            sample_bins_low().store(index, 0);
            sample_bins_high().store(index, 0);
        }
        index += thread::block_dim_x();
    }
    // SAFETY: the caller's promise.
    unsafe { barrier::sync_threads() };
}

/// Adds to a bin. Two words, since the chip adds no 64 bits at once: whoever makes the low one overflow carries.
///
/// # Safety
/// `index` is below [`BINS`], and the bins are cleared.
#[inline(always)]
unsafe fn add(index: u32, value: u64) {
    let low = value as u32;
    // SAFETY: the caller's promise.
    unsafe {
        let old = sample_bins_low().atomic_add(index, low);
        let carry = u32::from(old.wrapping_add(low) < low);
        let high = (value >> 32) as u32 + carry;
        if high > 0 {
            sample_bins_high().atomic_add(index, high);
        }
    }
}

/// # Safety
/// `index` is below [`BINS`], and a barrier is behind the last addition.
#[inline(always)]
pub unsafe fn bin(index: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { u64::from(sample_bins_high().load(index)) << 32 | u64::from(sample_bins_low().load(index)) }
}

/// Puts `value` in the place of a bin.
///
/// # Safety
/// `index` is below [`BINS`], and the bin is this thread's between two barriers.
#[inline(always)]
pub unsafe fn set(index: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        sample_bins_low().store(index, value as u32);
        sample_bins_high().store(index, (value >> 32) as u32);
    }
}

/// Leaves the bin in which the sum over the bins reaches `target`, and how much of `target` falls to that bin.
///
/// # Safety
/// One warp calls it, behind a barrier; the sum over all bins is at least `target`.
#[inline(always)]
unsafe fn find(target: u64) {
    const OWN: u32 = BINS / thread::WARP_SIZE;
    let first = thread::lane_id() * OWN;
    let mut own = 0;
    // SAFETY: the caller's promise; one lane alone finds its share to reach the target.
    unsafe {
        let mut index = 0;
        while index < OWN {
            own += bin(first + index);
            index += 1;
        }
        let end = sum_up_to_lane(own);
        let mut below = end - own;
        if below < target && target <= end {
            let mut index = first;
            while below + bin(index) < target {
                below += bin(index);
                index += 1;
            }
            sample_found().store(0, u64::from(index));
            sample_found().store(1, target - below);
        }
    }
}
