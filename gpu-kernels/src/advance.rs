//! `advance`: the inputs of the next decode step, made on the device.
//!
//! # Formula
//! If `fresh[0] ≠ 0` the host has just written the inputs: `fresh[0] = 0` and nothing else happens. Otherwise, for
//! every sequence `s` with `lengths[s] > 0`:
//! `positions[s] = positions[s] + 1; lengths[s] = lengths[s] + 1`.
//! So a decode plan can be replayed without a copy from the host until the batch or a block table changes.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `fresh` | `[1]` | i32 | in and out |
//! | `positions` | `[sequences]` | i32 | in and out |
//! | `lengths` | `[sequences]` | i32 | in and out; 0 marks a pad |
//!
//! # Launch
//! One block; a thread owns the sequences congruent to its index. All threads read `fresh` before a barrier, and thread
//! 0 clears it behind that barrier.
//!
//! # Requires
//! A plan with one row per sequence.
//!
//! # Moves
//! `sequences · 16 + 8` bytes.
//!
//! # Numerics
//! Integers: exact.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `advance`.
    pub struct Advance {
        /// `[1]`: not zero after the host wrote the inputs; cleared.
        pub fresh: Ptr<i32>,
        /// `[sequences]`, in and out.
        pub positions: Ptr<i32>,
        /// `[sequences]`, in and out; 0 marks a pad.
        pub lengths: Ptr<i32>,
        /// Sequences of the bucket.
        pub sequences: u32,
    }
}

impl Kernel for Advance {
    const NAME: &'static str = "advance";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.sequences > 0 => "at least one sequence", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, 1, 256)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.sequences) * 16 + 8
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Advance;
    use cuda_std::{barrier, global, kernel, thread};

    kernel! {
        /// One block for all sequences.
        pub fn advance(args: Advance) {
            let fresh: i32 = global::load(args.fresh.addr);
            barrier::sync_threads();
            if fresh != 0 {
                if thread::thread_idx_x() == 0 {
                    global::store(args.fresh.addr, 0_i32);
                }
                return;
            }
            let mut sequence = thread::thread_idx_x();
            while sequence < args.sequences {
                advance_one(&args, sequence);
                sequence += thread::block_dim_x();
            }
        }
    }

    /// # Safety
    /// `sequence` is one of the bucket's, and this thread's own.
    #[inline(always)]
    unsafe fn advance_one(args: &Advance, sequence: u32) {
        let at = 4 * u64::from(sequence);
        // SAFETY: one element per sequence.
        unsafe {
            let length: i32 = global::load(args.lengths.addr + at);
            if length <= 0 {
                return;
            }
            let position = global::load::<u32>(args.positions.addr + at) + 1;
            global::store(args.positions.addr + at, position);
            global::store(args.lengths.addr + at, length + 1);
        }
    }
}
