//! The best of what a block's threads hold, one after the other, and sums over a block.
use super::{BEST, THREADS, TOKENS};
use cuda_std::unroll::{array, unroll};
use cuda_std::{barrier, shared, thread, warp};

const WARPS: u32 = THREADS / thread::WARP_SIZE;
const CANDIDATES: u32 = WARPS * BEST;

shared! {
    fn top_values() -> [f32; CANDIDATES as usize];
    fn top_indices() -> [u32; CANDIDATES as usize];
    fn top_sums() -> [f32; WARPS as usize];
}

/// A logit and its token.
#[derive(Clone, Copy)]
pub struct Best {
    pub value: f32,
    pub index: u32,
}

impl Best {
    /// Behind every token, one of −∞ too.
    pub const NONE: Best = Best { value: f32::NEG_INFINITY, index: u32::MAX };

    /// In front of every token.
    const FIRST: Best = Best { value: f32::INFINITY, index: 0 };

    /// Whether it comes behind `other`: it is smaller, or of equals the one with the higher id.
    #[inline(always)]
    fn is_behind(self, other: Best) -> bool {
        self.value < other.value || (self.value == other.value && self.index > other.index)
    }
}

impl Default for Best {
    fn default() -> Best {
        Best::NONE
    }
}

/// What a thread holds.
pub type Own = [Best; (TOKENS / THREADS) as usize];

/// The elements of a thread, by their number.
#[inline(always)]
pub fn own(element: impl Fn(u32) -> Best) -> Own {
    array(
        #[inline(always)]
        |k| element(k as u32),
    )
}

/// Calls `store` in one thread with the rank and the element of the [`BEST`] best of all, in order, and returns the greatest
/// value in every thread.
///
/// # Safety
/// All threads of the block call it together, behind a barrier after the last call.
#[inline(always)]
pub unsafe fn best_of_block(own: &Own, store: impl Fn(u32, Best)) -> f32 {
    let (values, indices) = (top_values(), top_indices());
    // SAFETY: each warp writes its own places, and reads are behind the barrier.
    unsafe {
        let first = thread::warp_id() * BEST;
        select(own, |rank, best| {
            values.store(first + rank, best.value);
            indices.store(first + rank, best.index);
        });
        barrier::sync_threads();
        if thread::warp_id() == 0 {
            let joined: [Best; (CANDIDATES / thread::WARP_SIZE) as usize] = array(
                #[inline(always)]
                |k| {
                    let place = k as u32 * thread::WARP_SIZE + thread::lane_id();
                    Best { value: values.load(place), index: indices.load(place) }
                },
            );
            select(&joined, store);
        }
        let mut greatest = f32::NEG_INFINITY;
        unroll::<{ WARPS as usize }>(|warp| {
            let value = values.load(warp as u32 * BEST);
            greatest = if value > greatest { value } else { greatest };
        });
        greatest
    }
}

/// Calls `store` in one lane with the best of what a warp holds, one after the other: each is the best behind the last.
///
/// # Safety
/// All lanes of a warp call it together.
#[inline(always)]
unsafe fn select<const N: usize>(own: &[Best; N], store: impl Fn(u32, Best)) {
    let (mut last, mut rank) = (Best::FIRST, 0);
    while rank < BEST {
        let mut head = Best::NONE;
        unroll::<N>(
            #[inline(always)]
            |k| {
                let next = own[k].is_behind(last) && head.is_behind(own[k]);
                head = if next { own[k] } else { head };
            },
        );
        // SAFETY: the caller's promise.
        last = unsafe { best_of_warp(head) };
        if thread::lane_id() == 0 {
            store(rank, last);
        }
        rank += 1;
    }
}

/// The best of the warp, in every lane.
///
/// # Safety
/// All lanes of a warp call it together.
#[inline(always)]
unsafe fn best_of_warp(mut best: Best) -> Best {
    let mut lanes = thread::WARP_SIZE / 2;
    while lanes > 0 {
        // SAFETY: the caller's promise.
        let (value, index) = unsafe { (warp::shuffle_xor(best.value, lanes), warp::shuffle_xor(best.index, lanes)) };
        let other = Best { value, index };
        best = if best.is_behind(other) { other } else { best };
        lanes /= 2;
    }
    best
}

/// The sum over all threads, in every thread.
///
/// # Safety
/// All threads of the block call it together, behind a barrier after the last call.
#[inline(always)]
pub unsafe fn sum_of_block(value: f32) -> f32 {
    let sums = top_sums();
    // SAFETY: each warp writes its own place, and reads are behind the barrier.
    unsafe {
        let sum = warp::sum_f32(value);
        if thread::lane_id() == 0 {
            sums.store(thread::warp_id(), sum);
        }
        barrier::sync_threads();
        let mut all = 0.0;
        unroll::<{ WARPS as usize }>(|warp| all += sums.load(warp as u32));
        all
    }
}
