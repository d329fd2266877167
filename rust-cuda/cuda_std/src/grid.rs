//! Across blocks: which one of several arrives last, and launches that overlap their predecessor.
use crate::barrier::any_thread;
use crate::global;
use crate::instruction::ptx;
use crate::thread::thread_idx_x;

/// Whether this block is the last of `blocks` to call it, in every thread of the block. What thread 0 of the others wrote
/// before it is then visible, and what their other threads wrote before a barrier in front of it.
///
/// `counter` is one word, 0 before its first use and after the last block's call. The answer goes through the barrier
/// itself: no word of shared memory has to be kept for it.
///
/// # Safety
/// All threads of a block call it together; `blocks` blocks do so for this `counter`, which is used for nothing else
/// meanwhile.
#[inline(always)]
pub unsafe fn arrives_last(counter: u64, blocks: u32) -> bool {
    // SAFETY: one thread counts, and the barrier orders what the last block's threads read behind that.
    unsafe {
        let mut last = false;
        if thread_idx_x() == 0 {
            last = global::atomic_add(counter, 1) + 1 == blocks;
            if last {
                global::store(counter, 0_u32);
            }
        }
        any_thread(last)
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

/// As [`wait_for_dependencies`] in the blocks whose first number is 0, nothing in the others. A grid has not ended before its first
/// block: so at the end of a kernel this makes it end behind what it depends on, and the other blocks make room at once.
#[inline(always)]
pub fn first_block_waits_for_dependencies() {
    // The number is read here: kept from the start in a register, it gave a kernel that was short of them another schedule, 10 % slower.
    // SAFETY: it touches no memory.
    ptx!(
        "//sm_90: {{ .reg .pred first; .reg .u32 block; mov.u32 block, %ctaid.x; setp.eq.u32 first, block, 0; \
         @first griddepcontrol.wait; }}",
        options(nostack)
    );
}
