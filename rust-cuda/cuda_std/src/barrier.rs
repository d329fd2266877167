//! Barriers: of the whole block, and of the threads that share a numbered one.
use crate::instruction::intrinsics;

intrinsics! {
    "llvm.nvvm.barrier.cta.sync.aligned.all" fn barrier_all(barrier: u32);
    "llvm.nvvm.barrier.cta.sync.aligned.count" fn barrier_count(barrier: u32, threads: u32);
    "llvm.nvvm.barrier.cta.arrive.aligned.count" fn barrier_arrive(barrier: u32, threads: u32);
    "llvm.nvvm.barrier.cta.red.or.aligned.all" fn barrier_any(barrier: u32, holds: bool) -> bool;
}

/// Waits for all threads of the block; what any of them wrote before is then visible to all of them.
///
/// # Safety
/// Every thread of the block that has not ended comes here, none behind a condition that differs within the block.
#[inline(always)]
pub unsafe fn sync_threads() {
    // SAFETY: the caller's promise.
    unsafe { barrier_all(0) }
}

/// Waits as [`sync_threads`] does, and says whether `holds` is true in any thread of the block.
///
/// # Safety
/// As for [`sync_threads`].
#[inline(always)]
pub unsafe fn any_thread(holds: bool) -> bool {
    // SAFETY: the caller's promise.
    unsafe { barrier_any(0, holds) }
}

/// Waits for `threads` threads at barrier `barrier` of the block's 16; number 0 is [`sync_threads`]'s.
///
/// # Safety
/// `threads` is a multiple of 32, `barrier` below 16; exactly that many threads, in whole warps, come to this barrier.
#[inline(always)]
pub unsafe fn sync_named(barrier: u32, threads: u32) {
    // SAFETY: the caller's promise.
    unsafe { barrier_count(barrier, threads) }
}

/// Counts as arrived at barrier `barrier` without waiting: what a producer does for the consumers in [`sync_named`].
///
/// # Safety
/// As for [`sync_named`]; `threads` counts those that arrive and those that wait.
#[inline(always)]
pub unsafe fn arrive_named(barrier: u32, threads: u32) {
    // SAFETY: the caller's promise.
    unsafe { barrier_arrive(barrier, threads) }
}
