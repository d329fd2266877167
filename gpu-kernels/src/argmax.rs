//! `argmax`: greedy choice of the next token.
//!
//! # Formula
//! `sampled[slots[l]] = the lowest i with logits[l, i] = max over i of logits[l, i]`
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `logits` | `[rows, vocab]` | f32 | row-major |
//! | `slots` | `[rows]` | i32 | sequence slot of each row; pads name the scrap slot |
//! | `sampled` | `[*]` | i32 | the named slots are written |
//!
//! # Launch
//! A block owns a row; a thread owns every `threads`-th group of 4 neighbours and carries (value, index).
//!
//! # Requires
//! `vocab` at least 1; logits are numbers; `logits` 16-byte aligned. Two rows with one slot only for pads.
//!
//! # Moves
//! `rows · (vocab · 4 + 8)` bytes.
//!
//! # Numerics
//! Comparisons: exact; the lowest index wins a tie.
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `argmax`.
    pub struct Argmax {
        /// `[rows, vocab]`.
        pub logits: Ptr<f32>,
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[*]`, written at the named slots.
        pub sampled: Ptr<i32>,
        /// Rows of logits.
        pub rows: u32,
        /// Width of a row.
        pub vocab: u32,
    }
}

impl Kernel for Argmax {
    const NAME: &'static str = "argmax";

    fn check(&self) -> Result<(), &'static str> {
        require! { self.rows > 0 && self.vocab > 0 => "at least one row and one token", }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch::linear(Self::NAME, self.rows, 1024)
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (u64::from(self.vocab) * 4 + 8)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::Argmax;
    use cuda_std::{barrier, global, kernel, shared, thread, warp};

    shared! {
        fn argmax_values() -> [f32; 32];
        fn argmax_indices() -> [u32; 32];
    }

    kernel! {
        /// One row per block.
        pub fn argmax(args: Argmax) {
            let row = u64::from(thread::block_idx_x());
            let best = best_of_block(best_of_thread(args.logits.addr + 4 * row * u64::from(args.vocab), args.vocab));
            if thread::thread_idx_x() == 0 {
                let slot: u32 = global::load(args.slots.addr + 4 * row);
                global::store(args.sampled.addr + 4 * u64::from(slot), best.index);
            }
        }
    }

    #[derive(Clone, Copy)]
    struct Best {
        value: f32,
        index: u32,
    }

    impl Best {
        /// Loses against every element, a −∞ too.
        const NONE: Best = Best { value: f32::NEG_INFINITY, index: u32::MAX };

        #[inline(always)]
        fn or(self, other: Best) -> Best {
            let wins = other.value > self.value || (other.value == self.value && other.index < self.index);
            if wins { other } else { self }
        }
    }

    /// The best of this thread's share: quadruples from the first 16-byte boundary on, and single elements on either side.
    ///
    /// # Safety
    /// `row` is the address of `vocab` written floats.
    #[inline(always)]
    unsafe fn best_of_thread(row: u64, vocab: u32) -> Best {
        let misaligned = (row / 4 % 4) as u32;
        let head = if misaligned == 0 { 0 } else { 4 - misaligned };
        let head = if head < vocab { head } else { vocab };
        let quads = (vocab - head) / 4;
        let mut best = Best::NONE;
        let mut quad = thread::thread_idx_x();
        while quad < quads {
            let first = head + 4 * quad;
            // SAFETY: the quadruple is within the row and starts at a 16-byte boundary.
            let values: [f32; 4] = unsafe { global::load(row + 4 * u64::from(first)) };
            best = best.or(Best { value: values[0], index: first });
            best = best.or(Best { value: values[1], index: first + 1 });
            best = best.or(Best { value: values[2], index: first + 2 });
            best = best.or(Best { value: values[3], index: first + 3 });
            quad += thread::block_dim_x();
        }
        // At most three elements before the quadruples and three behind; a thread each.
        let single = thread::thread_idx_x();
        let index = if single < head { single } else { single + 4 * quads };
        if index < vocab {
            // SAFETY: the element is within the row.
            best = best.or(Best { value: unsafe { global::load(row + 4 * u64::from(index)) }, index });
        }
        best
    }

    /// The best of all threads, in every thread.
    ///
    /// # Safety
    /// All threads of the block call it together.
    #[inline(always)]
    unsafe fn best_of_block(best: Best) -> Best {
        let (values, indices) = (argmax_values(), argmax_indices());
        // SAFETY: whole warps get here together; each writes its own words, and reads are behind the barrier.
        unsafe {
            let best = best_of_warp(best);
            if thread::lane_id() == 0 {
                values.store(thread::warp_id(), best.value);
                indices.store(thread::warp_id(), best.index);
            }
            barrier::sync_threads();
            let lane = thread::lane_id();
            let partial = if lane < thread::warps_per_block() {
                Best { value: values.load(lane), index: indices.load(lane) }
            } else {
                Best::NONE
            };
            best_of_warp(partial)
        }
    }

    /// The best of the warp, in every lane.
    ///
    /// # Safety
    /// All 32 lanes call it together.
    #[inline(always)]
    unsafe fn best_of_warp(mut best: Best) -> Best {
        let mut lanes = thread::WARP_SIZE / 2;
        while lanes > 0 {
            // SAFETY: the caller's promise.
            let (value, index) =
                unsafe { (warp::shuffle_xor(best.value, lanes), warp::shuffle_xor(best.index, lanes)) };
            best = best.or(Best { value, index });
            lanes /= 2;
        }
        best
    }
}
