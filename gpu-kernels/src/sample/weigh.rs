//! Distances and weights of a row's tokens, 64-bit sums over lanes, and the random number.
use crate::sampling::MAX_DISTANCE;
use core::num::NonZero;
use cuda_std::{global, thread, warp};

/// A range of ids.
#[derive(Clone, Copy)]
pub struct Range {
    pub start: u32,
    pub end: u32,
}

impl Range {
    /// Part `number` of `count` equal ones; a part is a multiple of 32 long.
    #[inline(always)]
    pub fn part(self, number: u32, count: u32) -> Range {
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let Some(count) = NonZero::new(count) else { return self };
        let length = (self.end - self.start + count.get() - 1) / count;
        let length = length.next_multiple_of(thread::WARP_SIZE);
        let bounded = |at: u32| if at < self.end { at } else { self.end };
        let start = self.start + number * length;
        Range { start: bounded(start), end: bounded(start + length) }
    }
}

/// A row of logits, seen from its best.
#[derive(Clone, Copy)]
pub struct Logits {
    address: u64,
    best: f32,
    inverse_temperature: f32,
}

impl Logits {
    /// Row `row` of `logits`, whose best id is `best`.
    ///
    /// # Safety
    /// The row is within the written matrix, and `best` is below `vocab`.
    #[inline(always)]
    pub unsafe fn new(logits: u64, row: u64, vocab: u32, best: u32, inverse_temperature: f32) -> Logits {
        let address = logits + 4 * row * u64::from(vocab);
        // SAFETY: the caller's promise.
        let best = unsafe { global::load(address + 4 * u64::from(best)) };
        Logits { address, best, inverse_temperature }
    }

    /// The distance of a token.
    ///
    /// # Safety
    /// `index` is below the vocabulary, and the row is written.
    #[inline(always)]
    pub unsafe fn distance(&self, index: u32) -> u32 {
        // SAFETY: the caller's promise.
        let logit: f32 = unsafe { global::load(self.address + 4 * u64::from(index)) };
        let scaled = (self.best - logit) * self.inverse_temperature * (1 << 19) as f32;
        // The conversion saturates.
        let distance = scaled as u32;
        if distance < MAX_DISTANCE { distance } else { MAX_DISTANCE }
    }

    /// The weight of a token; 0 beyond `limit`.
    ///
    /// # Safety
    /// As for [`Logits::distance`].
    #[inline(always)]
    pub unsafe fn weight(&self, index: u32, limit: u32) -> u64 {
        // SAFETY: the caller's promise.
        let distance = unsafe { self.distance(index) };
        if distance <= limit { weight(distance) } else { 0 }
    }

    /// Calls `visit` with the distance of each of this thread's tokens of `range`.
    ///
    /// # Safety
    /// The row is written.
    #[inline(always)]
    pub unsafe fn for_each(&self, range: Range, mut visit: impl FnMut(u32)) {
        let threads = thread::block_dim_x();
        let mut index = range.start + thread::thread_idx_x();
        // SAFETY: the indices are below the vocabulary.
        unsafe {
            // Four loads in flight: few blocks read the whole row.
            while index + 3 * threads < range.end {
                let distances = [
                    self.distance(index),
                    self.distance(index + threads),
                    self.distance(index + 2 * threads),
                    self.distance(index + 3 * threads),
                ];
                visit(distances[0]);
                visit(distances[1]);
                visit(distances[2]);
                visit(distances[3]);
                index += 4 * threads;
            }
            while index < range.end {
                visit(self.distance(index));
                index += threads;
            }
        }
    }
}

/// `trunc(2⁴⁰ · exp(−distance · 2⁻¹⁹))`.
#[inline(always)]
pub fn weight(distance: u32) -> u64 {
    const LOG2_E: f32 = core::f32::consts::LOG2_E / (1 << 19) as f32;
    // 2^-f = 1 + f · (…) for f in 0 .. 1: interpolated at Chebyshev's nodes.
    const COEFFICIENTS: [f32; 6] =
        [-0.693_147_2, 0.240_226_09, -0.055_499_23, 0.009_597_035, -0.001_291_636_8, 0.000_114_919_95];
    let exponent = distance as f32 * LOG2_E;
    let whole = exponent as u32;
    let f = exponent - whole as f32;
    let mut power = COEFFICIENTS[5] * f + COEFFICIENTS[4];
    power = power * f + COEFFICIENTS[3];
    power = power * f + COEFFICIENTS[2];
    power = power * f + COEFFICIENTS[1];
    power = power * f + COEFFICIENTS[0];
    power = power * f + 1.0;
    (power * f32::from_bits((127 + 40 - whole) << 23)) as u64
}

/// The value of the lane `delta` below; lanes without one keep their own.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
unsafe fn shuffle_up(value: u64, delta: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let (low, high) = (value as u32, (value >> 32) as u32);
        u64::from(warp::shuffle_up(high, delta)) << 32 | u64::from(warp::shuffle_up(low, delta))
    }
}

/// The sum over the lanes up to this one.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn sum_up_to_lane(value: u64) -> u64 {
    let mut sum = value;
    let mut delta = 1;
    while delta < thread::WARP_SIZE {
        // SAFETY: the caller's promise.
        let below = unsafe { shuffle_up(sum, delta) };
        sum += if thread::lane_id() >= delta { below } else { 0 };
        delta *= 2;
    }
    sum
}

/// The value of lane 31, in every lane.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn of_last_lane(value: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { of_lane(value, thread::WARP_SIZE - 1) }
}

/// The value of lane `lane`, in every lane.
///
/// # Safety
/// All 32 lanes call it together with the same `lane`, below 32.
#[inline(always)]
pub unsafe fn of_lane(value: u64, lane: u32) -> u64 {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller's promise.
    unsafe { u64::from(warp::shuffle(high, lane)) << 32 | u64::from(warp::shuffle(low, lane)) }
}

/// The high half of a product.
#[inline(always)]
pub fn multiply_high(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// 64 bits of Philox4x32-10.
#[inline(always)]
pub fn random(seed: [u32; 2], position: u32, stream: u32) -> u64 {
    let [mut key_a, mut key_b] = seed;
    let (mut a, mut b, mut c, mut d) = (position, stream, 0_u32, 0_u32);
    let mut round = 0;
    while round < 10 {
        let first = u64::from(a) * 0xD251_1F53;
        let second = u64::from(c) * 0xCD9E_8D57;
        (a, b, c, d) =
            ((second >> 32) as u32 ^ b ^ key_a, second as u32, (first >> 32) as u32 ^ d ^ key_b, first as u32);
        key_a = key_a.wrapping_add(0x9E37_79B9);
        key_b = key_b.wrapping_add(0xBB67_AE85);
        round += 1;
    }
    u64::from(b) << 32 | u64::from(a)
}
