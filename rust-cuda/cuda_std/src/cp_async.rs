//! Copies of 16 bytes from global to shared memory that run while the thread goes on.
//!
//! Copies are committed in groups; [`wait`] waits until all but the newest few groups of this thread have landed. Other
//! threads see them behind a barrier.
use crate::instruction::ptx;

/// Starts a copy of 16 bytes that leaves L1 alone.
///
/// # Safety
/// Both addresses are 16-byte aligned and live; nobody reads the shared bytes before [`wait`] and a barrier, and nobody
/// writes the global ones.
#[inline(always)]
pub unsafe fn copy_16(shared: u32, global: u64) {
    // SAFETY: the caller's promise.
    ptx!("cp.async.cg.shared.global [{}], [{}], 16;", in(reg32) shared, in(reg64) global, options(nostack));
}

/// As [`copy_16`]; L2 fetches the whole 128 bytes that the warp is about to ask for.
///
/// # Safety
/// As for [`copy_16`].
#[inline(always)]
pub unsafe fn copy_16_ahead(shared: u32, global: u64) {
    // SAFETY: the caller's promise.
    ptx!("cp.async.cg.shared.global.L2::128B [{}], [{}], 16;", in(reg32) shared, in(reg64) global, options(nostack));
}

/// As [`copy_16_ahead`] where `wanted` is not 0, and else nothing: without a branch, since threads that part cost more.
///
/// # Safety
/// As for [`copy_16`], where it is wanted.
#[inline(always)]
pub unsafe fn copy_16_ahead_if(wanted: u32, shared: u32, global: u64) {
    // SAFETY: the caller's promise.
    ptx!("{{ .reg .pred wanted; setp.ne.b32 wanted, {}, 0; \
         @wanted cp.async.cg.shared.global.L2::128B [{}], [{}], 16; }}",
        in(reg32) wanted, in(reg32) shared, in(reg64) global, options(nostack));
}

/// Starts a copy of the first `bytes` of 16 bytes; the others become 0 and are not read. `bytes` 0 reads nothing.
///
/// # Safety
/// As for [`copy_16`], the global side for `bytes` alone; `bytes` is at most 16.
#[inline(always)]
pub unsafe fn copy_16_or_zero(shared: u32, global: u64, bytes: u32) {
    // SAFETY: the caller's promise.
    ptx!("cp.async.cg.shared.global.L2::128B [{}], [{}], 16, {};", in(reg32) shared, in(reg64) global, in(reg32) bytes,
        options(nostack));
}

/// [`copy_16_or_zero`] for rows of which the next 128 bytes are soon asked for too: L2 fetches 256 at once.
///
/// # Safety
/// As for [`copy_16_or_zero`].
#[inline(always)]
pub unsafe fn copy_16_or_zero_of_256(shared: u32, global: u64, bytes: u32) {
    // SAFETY: the caller's promise.
    ptx!("cp.async.cg.shared.global.L2::256B [{}], [{}], 16, {};", in(reg32) shared, in(reg64) global, in(reg32) bytes,
        options(nostack));
}

/// Closes the group of all copies that this thread has started since the last one.
#[inline(always)]
pub fn commit() {
    // SAFETY: it touches no memory.
    ptx!("cp.async.commit_group;", options(nostack));
}

/// Waits until at most `NEWEST` committed groups of this thread are still under way.
#[inline(always)]
pub fn wait<const NEWEST: u32>() {
    // SAFETY: it touches no memory but what the copies' callers promised.
    ptx!("cp.async.wait_group {};", const NEWEST, options(nostack));
}
