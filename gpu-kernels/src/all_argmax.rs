//! `all_argmax`: the greedy choice among the columns of all ranks of a model, one GPU each, the same on all of them.
//!
//! # Formula
//! Of what the ranks have sent of row l, value v_r and id i_r: `sampled[slots[l]] = i_r` of the largest v_r, of equal ones the lowest;
//! `faults[slots[l]]` as [`argmax`](crate::argmax) has it, with which `sampled` is 0.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `slots` | `[rows]` | i32 | sequence slot of each row; pads name the scrap slot |
//! | `sampled` | `[*]` | i32 | the named slots are written |
//! | `faults` | `[*]` | i32 | the named slots are written |
//! | `meeting` | | | as [`all_reduce`](crate::all_reduce) has it; four words of each row are sent by the `argmax` in front |
//!
//! # Launch
//! Always 32 blocks, as of `all_reduce`, with which it shares the epochs and the packets. A thread owns every `32 · threads`-th row and
//! looks at its own memory until what every rank has sent of it is there. Only the stores wait for the end of the kernel in front: it
//! starts this one when what is in front of both has ended.
//!
//! # Requires
//! 1 to 8 ranks, which launch the same steps in the same order, each behind an `argmax` that sends; four words of each row within
//! `packed`. Two rows with one slot only for pads. A device runs the 32 blocks at once.
//!
//! # Moves
//! `rows · (32 · ranks + 12)` bytes.
//!
//! # Numerics
//! Comparisons: exact; the lowest index wins a tie.
use crate::all_reduce::meeting::{BLOCKS, Meeting, THREADS};
use crate::argmax::SENT_WORDS;
use crate::kernel::{kernel_args, require};
use crate::{DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `all_argmax`.
    pub struct OneShotAllArgmax {
        /// `[rows]`: sequence slot.
        pub slots: Ptr<i32>,
        /// `[*]`, written at the named slots.
        pub sampled: Ptr<i32>,
        /// `[*]`, written at the named slots.
        pub faults: Ptr<i32>,
        /// Where the ranks meet.
        pub meeting: Meeting,
        /// Rows of logits.
        pub rows: u32,
    }
}

impl Kernel for OneShotAllArgmax {
    const NAME: &'static str = "all_argmax";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.meeting.has_ranks() => "1 to 8 ranks, this one among them",
            self.meeting.has_flags() => "flags of every rank",
            self.meeting.has_packets() => "packets of every rank, in multiples of 4",
            self.rows > 0 => "at least one row",
            u64::from(SENT_WORDS) * u64::from(self.rows) <= u64::from(self.meeting.packed) => "no more words than there are packets",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let threads = self.rows.div_ceil(BLOCKS).next_multiple_of(32).min(THREADS);
        Launch { overlaps: true, ..Launch::linear(Self::NAME, BLOCKS, threads) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * (32 * u64::from(self.meeting.ranks) + 12)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::OneShotAllArgmax;
    use crate::all_reduce::meeting::{BLOCKS, Round, THREADS};
    use crate::all_reduce::packets::Packets;
    use crate::argmax::entry::Best;
    use cuda_std::{barrier, grid, kernel, thread};

    kernel! {
        /// A row per thread.
        pub fn all_argmax(args: OneShotAllArgmax) {
            thread::blocks_at_once::<THREADS, 1>();
            // As in `all_reduce`.
            grid::launch_dependents();
            let round = Round::begin(&args.meeting);
            let packets = Packets::new(&args.meeting, round);
            packets.announce(&args.meeting);
            // Neighbouring rows have blocks of their own.
            let mut row = BLOCKS * thread::thread_idx_x() + thread::block_idx_x();
            while row < args.rows {
                if let Some(best) = best_of_ranks(&args, packets, row) {
                    grid::wait_for_dependencies();
                    best.store(row, [args.slots, args.sampled, args.faults]);
                }
                row += BLOCKS * thread::block_dim_x();
            }
            barrier::sync_threads();
            round.end(&args.meeting);
        }
    }

    /// The best of a row; none if a wait was ended.
    ///
    /// # Safety
    /// The packets have room for it.
    #[inline(always)]
    unsafe fn best_of_ranks(args: &OneShotAllArgmax, packets: Packets, row: u32) -> Option<Best> {
        let (mut best, mut rank) = (Best::NONE, 0);
        while rank < args.meeting.ranks {
            // SAFETY: the caller's promise.
            let told = unsafe { packets.receive_of_two(&args.meeting, rank, row, None)? };
            let of = |which: usize| Best { value: f32::from_bits(told[which][0]), index: told[which][1] };
            best = best.or(of(0));
            if rank + 1 < args.meeting.ranks {
                best = best.or(of(1));
            }
            rank += 2;
        }
        Some(best)
    }
}
