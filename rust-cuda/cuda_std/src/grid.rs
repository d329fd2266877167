//! Across blocks: the barrier of a cooperative grid, and launches that overlap their predecessor.
use crate::barrier::sync_threads;
use crate::global;
use crate::instruction::ptx;
use crate::thread::{block_idx_x, grid_dim_x, thread_idx_x};

const PHASE: u32 = 1 << 31;

/// Waits for all blocks of a grid along x; what any of them wrote before is then visible to all of them.
///
/// `counter` is one word, 0 before its first use and fit for the next at once. Block 0 adds what makes the sum of all
/// arrivals 2³¹, so that the top bit flips exactly when the last block arrives.
///
/// # Safety
/// All threads of all blocks call it together; the whole grid is resident (a cooperative launch); `counter` is used for
/// nothing else.
#[inline(always)]
pub unsafe fn sync(counter: u64) {
    // SAFETY: one thread of each block counts, between two barriers of that block, which order the others' accesses.
    unsafe {
        sync_threads();
        if thread_idx_x() == 0 {
            let arrival = if block_idx_x() == 0 { PHASE - (grid_dim_x() - 1) } else { 1 };
            let before = global::atomic_add(counter, arrival);
            while (before ^ global::load_acquire(counter)) & PHASE == 0 {}
        }
        sync_threads();
    }
}

/// Lets the next kernel of the stream start; its [`wait_for_dependencies`] still waits for this one's end.
///
/// For compute capability 9.0 on. In the PTX it is a comment, which `cuda_builder::promote` makes an instruction.
#[inline(always)]
pub fn launch_dependents() {
    // SAFETY: it touches no memory.
    ptx!("//sm_90: griddepcontrol.launch_dependents;", options(nostack));
}

/// Waits until the kernels that this one depends on have ended and their writes are visible; at once where the launch did
/// not ask for an overlap.
///
/// For compute capability 9.0 on. In the PTX it is a comment, which `cuda_builder::promote` makes an instruction.
#[inline(always)]
pub fn wait_for_dependencies() {
    // SAFETY: it touches no memory.
    ptx!("//sm_90: griddepcontrol.wait;", options(nostack));
}
