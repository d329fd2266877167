//! The bins of a block in shared memory, and the row's in global memory.
use super::BINS;
use cuda_std::{barrier, global, grid, shared, thread};

shared! {
    fn limit_bins_low() -> [u32; BINS as usize];
    fn limit_bins_high() -> [u32; BINS as usize];
}

/// Clears the bins, and waits until all are.
///
/// # Safety
/// All threads of the block call it together, behind a barrier after the last use.
#[inline(always)]
pub unsafe fn clear() {
    // SAFETY: each bin is one thread's.
    unsafe {
        for_own_bins(|index| set(index, 0));
        barrier::sync_threads();
    }
}

/// Adds to a bin. Two words, since the chip adds no 64 bits at once: whoever makes the low one overflow carries.
///
/// # Safety
/// `index` is below [`BINS`], and the bins are cleared.
#[inline(always)]
pub unsafe fn add(index: u32, value: u64) {
    let low = value as u32;
    // SAFETY: the caller's promise.
    unsafe {
        let old = limit_bins_low().atomic_add(index, low);
        let carry = u32::from(old.wrapping_add(low) < low);
        let high = (value >> 32) as u32 + carry;
        if high > 0 {
            limit_bins_high().atomic_add(index, high);
        }
    }
}

/// What is in a bin.
///
/// # Safety
/// `index` is below [`BINS`], and a barrier is behind the last addition.
#[inline(always)]
pub unsafe fn bin(index: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { u64::from(limit_bins_high().load(index)) << 32 | u64::from(limit_bins_low().load(index)) }
}

/// Adds the block's bins to those of the row at `bins`. In the last of `blocks` blocks the block's bins are then the row's,
/// those at `bins` are 0 again, and the answer is true.
///
/// # Safety
/// All threads of the block call it together, behind a barrier after the last addition; `bins` and `counter` are the row's, 0
/// before the first block comes.
#[inline(always)]
pub unsafe fn join(bins: u64, counter: u64, blocks: u32) -> bool {
    // SAFETY: the caller's promise; the count orders the additions before what the last block loads.
    unsafe {
        for_own_bins(|index| {
            let own = bin(index);
            if own > 0 {
                global::add_relaxed(bins + u64::from(8 * index), own);
            }
        });
        barrier::sync_threads();
        if !grid::arrives_last(counter, blocks) {
            return false;
        }
        for_own_bins(|index| {
            let place = bins + u64::from(8 * index);
            set(index, global::load(place));
            global::store(place, 0_u64);
        });
        barrier::sync_threads();
        true
    }
}

/// Puts `value` in the place of a bin.
///
/// # Safety
/// `index` is below [`BINS`], and the bin is this thread's between two barriers.
#[inline(always)]
unsafe fn set(index: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        limit_bins_low().store(index, value as u32);
        limit_bins_high().store(index, (value >> 32) as u32);
    }
}

/// Calls `visit` with every `threads`-th bin, from the thread's own number on.
#[inline(always)]
fn for_own_bins(visit: impl Fn(u32)) {
    let mut index = thread::thread_idx_x();
    while index < BINS {
        visit(index);
        index += thread::block_dim_x();
    }
}
