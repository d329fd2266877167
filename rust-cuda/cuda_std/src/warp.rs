//! Shuffles, votes and reductions over the 32 lanes of a warp.
//!
//! All of them are collectives of the whole warp.
use crate::instruction::intrinsics;
use crate::math;

const ALL_LANES: u32 = u32::MAX;

intrinsics! {
    "llvm.nvvm.shfl.sync.idx.i32" fn shfl_idx(mask: u32, value: u32, lane: u32, clamp: u32) -> u32;
    "llvm.nvvm.shfl.sync.up.i32" fn shfl_up(mask: u32, value: u32, delta: u32, clamp: u32) -> u32;
    "llvm.nvvm.shfl.sync.down.i32" fn shfl_down(mask: u32, value: u32, delta: u32, clamp: u32) -> u32;
    "llvm.nvvm.shfl.sync.bfly.i32" fn shfl_bfly(mask: u32, value: u32, lanes: u32, clamp: u32) -> u32;
    "llvm.nvvm.vote.all.sync" fn vote_all(mask: u32, predicate: bool) -> bool;
    "llvm.nvvm.vote.any.sync" fn vote_any(mask: u32, predicate: bool) -> bool;
    "llvm.nvvm.vote.ballot.sync" fn vote_ballot(mask: u32, predicate: bool) -> u32;
    "llvm.nvvm.redux.sync.umax" fn redux_max(value: u32, mask: u32) -> u32;
    "llvm.nvvm.redux.sync.umin" fn redux_min(value: u32, mask: u32) -> u32;
    "llvm.nvvm.bar.warp.sync" fn bar_warp(mask: u32);
}

/// A value of 32 bits that lanes can exchange: `f32`, `u32`, `i32`.
pub trait Lane: Copy {
    /// The 32 bits.
    fn to_lane(self) -> u32;
    /// The value of 32 bits.
    fn from_lane(bits: u32) -> Self;
}

impl Lane for u32 {
    #[inline(always)]
    fn to_lane(self) -> u32 {
        self
    }
    #[inline(always)]
    fn from_lane(bits: u32) -> u32 {
        bits
    }
}

impl Lane for i32 {
    #[inline(always)]
    fn to_lane(self) -> u32 {
        self.cast_unsigned()
    }
    #[inline(always)]
    fn from_lane(bits: u32) -> i32 {
        bits.cast_signed()
    }
}

impl Lane for f32 {
    #[inline(always)]
    fn to_lane(self) -> u32 {
        self.to_bits()
    }
    #[inline(always)]
    fn from_lane(bits: u32) -> f32 {
        f32::from_bits(bits)
    }
}

/// Waits for all lanes; what any of them wrote before is then visible to all of them.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn sync() {
    // SAFETY: the caller's promise.
    unsafe { bar_warp(ALL_LANES) }
}

/// The largest value of all lanes.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn max_u32(value: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { redux_max(value, ALL_LANES) }
}

/// The smallest value of all lanes.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn min_u32(value: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { redux_min(value, ALL_LANES) }
}

/// The value of lane `lane % 32`.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn shuffle<T: Lane>(value: T, lane: u32) -> T {
    // SAFETY: the caller's promise.
    T::from_lane(unsafe { shfl_idx(ALL_LANES, value.to_lane(), lane, 31) })
}

/// The value of the lane `delta` below; the lowest `delta` lanes keep their own.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn shuffle_up<T: Lane>(value: T, delta: u32) -> T {
    // SAFETY: the caller's promise.
    T::from_lane(unsafe { shfl_up(ALL_LANES, value.to_lane(), delta, 0) })
}

/// The value of the lane `delta` above; the highest `delta` lanes keep their own.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn shuffle_down<T: Lane>(value: T, delta: u32) -> T {
    // SAFETY: the caller's promise.
    T::from_lane(unsafe { shfl_down(ALL_LANES, value.to_lane(), delta, 31) })
}

/// The value of the lane whose number differs in the bits of `lanes`.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn shuffle_xor<T: Lane>(value: T, lanes: u32) -> T {
    // SAFETY: the caller's promise.
    T::from_lane(unsafe { shfl_bfly(ALL_LANES, value.to_lane(), lanes, 31) })
}

/// Whether `predicate` holds in every lane.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn all(predicate: bool) -> bool {
    // SAFETY: the caller's promise.
    unsafe { vote_all(ALL_LANES, predicate) }
}

/// Whether `predicate` holds in some lane.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn any(predicate: bool) -> bool {
    // SAFETY: the caller's promise.
    unsafe { vote_any(ALL_LANES, predicate) }
}

/// The lanes in which `predicate` holds, lane 0 in the lowest bit.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn ballot(predicate: bool) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { vote_ballot(ALL_LANES, predicate) }
}

/// Joins each group of `WIDTH` neighbouring lanes by a butterfly: with the lane `WIDTH/2` away first, 1 away last.
///
/// Every lane of a group ends with the same bits if `join` is commutative. `WIDTH` is a power of two up to 32.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn reduce<const WIDTH: u32, T: Lane>(value: T, join: impl Fn(T, T) -> T) -> T {
    const { assert!(WIDTH.is_power_of_two() && WIDTH <= 32) };
    let mut joined = value;
    let mut lanes = WIDTH / 2;
    while lanes > 0 {
        // SAFETY: the caller's promise.
        joined = join(joined, unsafe { shuffle_xor(joined, lanes) });
        lanes /= 2;
    }
    joined
}

/// The sum over the warp, in every lane; summed in [`reduce`]'s order.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn sum_f32(value: f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { reduce::<32, f32>(value, |a, b| a + b) }
}

/// The largest over the warp, in every lane; NaN is passed over.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn max_f32(value: f32) -> f32 {
    // SAFETY: the caller's promise.
    unsafe { reduce::<32, f32>(value, math::max) }
}

/// The sum over the warp modulo 2³², in every lane.
///
/// # Safety
/// All 32 lanes call it together.
#[inline(always)]
pub unsafe fn sum_u32(value: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { reduce::<32, u32>(value, u32::wrapping_add) }
}
