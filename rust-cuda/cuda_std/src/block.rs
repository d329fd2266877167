//! Reductions over a block whose threads lie along x: 32 to 1024 threads, whole warps.
//!
//! Each warp joins its lanes by [`warp::reduce`], one lane leaves the result in shared memory, and behind a barrier every
//! warp joins those results the same way. So every thread ends with the same bits, and the order depends on the number of
//! threads alone.
use crate::barrier::sync_threads;
use crate::shared::Shared;
use crate::thread::{WARP_SIZE, lane_id, warp_id, warps_per_block};
use crate::warp::{self, Lane};
use crate::{math, shared};

/// Words of shared memory that a block reduction needs.
pub const SCRATCH_WORDS: u32 = 32;

/// Joins the values of all threads of the block; `identity` joins with any value to that value.
///
/// Ends behind a barrier: `scratch` can be used again at once.
///
/// # Safety
/// As for [`reduce_once`].
#[inline(always)]
pub unsafe fn reduce<T: Lane + shared::Word>(
    value: T,
    identity: T,
    scratch: Shared<T>,
    join: impl Fn(T, T) -> T + Copy,
) -> T {
    // SAFETY: the caller's promise.
    unsafe {
        let total = reduce_once(value, identity, scratch, join);
        sync_threads();
        total
    }
}

/// [`reduce`] without the last barrier: `scratch` can be used again behind the block's next one.
///
/// # Safety
/// All threads of the block call it together; `scratch` holds [`SCRATCH_WORDS`] words that nothing else uses meanwhile.
#[inline(always)]
pub unsafe fn reduce_once<T: Lane + shared::Word>(
    value: T,
    identity: T,
    scratch: Shared<T>,
    join: impl Fn(T, T) -> T + Copy,
) -> T {
    // SAFETY: whole warps get here together; each writes its own word, and reads are behind the barrier.
    unsafe {
        let joined = warp::reduce::<WARP_SIZE, T>(value, join);
        if lane_id() == 0 {
            scratch.store(warp_id(), joined);
        }
        sync_threads();
        let partial = if lane_id() < warps_per_block() { scratch.load(lane_id()) } else { identity };
        warp::reduce::<WARP_SIZE, T>(partial, join)
    }
}

/// The sum over the block, in every thread, without a last barrier.
///
/// # Safety
/// As for [`reduce_once`].
#[inline(always)]
pub unsafe fn sum_f32_once(value: f32, scratch: Shared<f32>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { reduce_once(value, 0.0, scratch, |a, b| a + b) }
}

/// The sum over the block, in every thread.
///
/// # Safety
/// As for [`reduce`].
#[inline(always)]
pub unsafe fn sum_f32(value: f32, scratch: Shared<f32>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { reduce(value, 0.0, scratch, |a, b| a + b) }
}

/// The largest over the block, in every thread; NaN is passed over.
///
/// # Safety
/// As for [`reduce`].
#[inline(always)]
pub unsafe fn max_f32(value: f32, scratch: Shared<f32>) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { reduce(value, f32::NEG_INFINITY, scratch, math::max) }
}

/// The sum over the block modulo 2³², in every thread.
///
/// # Safety
/// As for [`reduce`].
#[inline(always)]
pub unsafe fn sum_u32(value: u32, scratch: Shared<u32>) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { reduce(value, 0, scratch, u32::wrapping_add) }
}

/// The largest over the block, in every thread.
///
/// # Safety
/// As for [`reduce`].
#[inline(always)]
pub unsafe fn max_u32(value: u32, scratch: Shared<u32>) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { reduce(value, 0, scratch, |a, b| if a > b { a } else { b }) }
}
