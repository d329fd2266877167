//! `ssm_copy`: copies what sequences keep of a mixer from slots to slots.
//!
//! # Formula
//! For i from 0 to `copies[0] − 1`, one after the other: all that slot `copies[1 + 2·i]` has in the six buffers goes to slot
//! `copies[2 + 2·i]`. So a copy may read what an earlier one wrote.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `copies` | `[1 + 2·copies]` | i32 | how many, then from and to of each |
//! | `state`, `chunk`, `ring_x`, `ring_b`, `ring_dt`, `window` | [`crate::ssm`] | f32, i32, act, act, f32, act | the named slots are written |
//!
//! # Launch
//! A thread owns 16 bytes of a slot, or a head's chunk, and does all copies of them in turn: no copy waits for another block.
//!
//! # Requires
//! `heads` divisible by `groups`; `head_dim` and `state_size` divisible by 8; all but `chunk` and `copies` 16-byte aligned.
//!
//! # Moves
//! For each copy all that a slot has, once in and once out.
//!
//! # Numerics
//! Nothing is computed: exact.
use crate::kernel::{kernel_args, require};
use crate::ssm::{CHUNK, Mixer, WINDOW};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

/// Threads of a block.
const THREADS: u32 = 256;

kernel_args! {
    /// Arguments of `ssm_copy`.
    pub struct SsmCopy {
        /// `[1 + 2·copies]`: how many, then from and to of each.
        pub copies: Ptr<i32>,
        /// `[slots, heads, head_dim, state_size]`, in and out.
        pub state: Ptr<f32>,
        /// `[slots, heads]`, in and out.
        pub chunk: Ptr<i32>,
        /// `[slots, CHUNK, heads·head_dim]`, in and out.
        pub ring_x: Ptr<Act>,
        /// `[slots, 2·CHUNK, groups·state_size]`, in and out.
        pub ring_b: Ptr<Act>,
        /// `[slots, CHUNK, heads]`, in and out.
        pub ring_dt: Ptr<f32>,
        /// `[slots, WINDOW, conv_dim]`, in and out.
        pub window: Ptr<Act>,
        /// Heads.
        pub heads: u32,
        /// Channels of a head.
        pub head_dim: u32,
        /// Groups of heads that share B and C.
        pub groups: u32,
        /// Width of B, of C, and of a row of the state.
        pub state_size: u32,
    }
}

impl SsmCopy {
    /// The mixer's shape.
    pub const fn mixer(&self) -> Mixer {
        Mixer { heads: self.heads, head_dim: self.head_dim, groups: self.groups, state_size: self.state_size }
    }

    /// Groups of 16 bytes that a slot has of `state`, `ring_x`, `ring_b`, `ring_dt` and `window`.
    const fn groups_of_16(&self) -> [u32; 5] {
        let mixer = self.mixer();
        [
            mixer.inner() * self.state_size / 4,
            CHUNK * mixer.inner() / 8,
            2 * CHUNK * mixer.shared() / 8,
            CHUNK * self.heads / 4,
            WINDOW * mixer.conv_dim() / 8,
        ]
    }

    /// Threads that have something to copy.
    const fn pieces(&self) -> u32 {
        let [state, ring_x, ring_b, ring_dt, window] = self.groups_of_16();
        state + ring_x + ring_b + ring_dt + window + self.heads
    }
}

impl Kernel for SsmCopy {
    const NAME: &'static str = "ssm_copy";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.mixer().is_valid() => "heads divisible by groups, head_dim and state_size by 8", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, self.pieces().div_ceil(THREADS), THREADS) }
    }

    fn bytes_moved(&self, shape: &StepShape) -> u64 {
        let groups: u32 = self.groups_of_16().iter().sum();
        shape.sequences.len() as u64 * 2 * (u64::from(groups) * 16 + u64::from(self.heads) * 4)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::SsmCopy;
    use crate::ssm::arithmetic::integer;
    use cuda_std::{global, grid, kernel, thread};

    kernel! {
        /// One piece of the named slots.
        pub fn ssm_copy(args: SsmCopy) {
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let [state, ring_x, ring_b, ring_dt, window] = args.groups_of_16();
            let piece = thread::global_index();
            let Some(piece) = groups(&args, args.state.addr, state, piece) else { return };
            let Some(piece) = groups(&args, args.ring_x.addr, ring_x, piece) else { return };
            let Some(piece) = groups(&args, args.ring_b.addr, ring_b, piece) else { return };
            let Some(piece) = groups(&args, args.ring_dt.addr, ring_dt, piece) else { return };
            let Some(head) = groups(&args, args.window.addr, window, piece) else { return };
            if head < args.heads {
                each(&args, |[from, to]| {
                    let at = |slot: u32| args.chunk.addr + 4 * u64::from(slot * args.heads + head);
                    global::store(at(to), global::load::<u32>(at(from)));
                });
            }
        }
    }

    /// Copies group `piece` of the `count` that a slot has of a buffer; a larger number, less these, is that of a later buffer.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn groups(args: &SsmCopy, address: u64, count: u32, piece: u32) -> Option<u32> {
        if piece >= count {
            return Some(piece - count);
        }
        let at = |slot: u32| address + 16 * (u64::from(slot) * u64::from(count) + u64::from(piece));
        // SAFETY: the caller's promise: the slots are there.
        unsafe { each(args, |[from, to]| global::store(at(to), global::load::<[u32; 4]>(at(from)))) };
        None
    }

    /// Calls `copy([from, to])` for each copy, in their order.
    ///
    /// # Safety
    /// `copies` holds as many pairs as it says.
    #[inline(always)]
    unsafe fn each(args: &SsmCopy, copy: impl Fn([u32; 2])) {
        // SAFETY: the caller's promise.
        unsafe {
            let count = integer(args.copies, 0).cast_unsigned();
            let mut index = 0;
            while index < count {
                copy([1, 2].map(|word| integer(args.copies, word + 2 * index).cast_unsigned()));
                index += 1;
            }
        }
    }
}
