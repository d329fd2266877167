//! `all_reduce_two_shot`: the sum of `all_reduce`, for many rows: each rank sums a share of them and sends it to the others.
//!
//! # Formula
//! As `all_reduce`'s.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x[r]` | `[rows, n]` | act | memory of rank r: its part |
//! | `bias` | `[n]` or null | weight | the same on every rank |
//! | `residual` | `[rows, n]` or null | act | the same on every rank; may be this rank's `y` |
//! | `y[r]` | `[rows, n]` | act | memory of rank r; each rank writes its share in all of them |
//! | `meeting` | | | as [`all_reduce`](crate::all_reduce) has it, without packets |
//!
//! # Launch
//! Always 32 blocks, as of `all_reduce`, with which it shares the epochs. Of the groups of 8 neighbours each rank has a share of
//! equal length, the last ones less; of it a thread owns every `32 · 512`-th. Nothing is copied: blocks of one number meet, so that
//! all parts are there; each reads its groups of all ranks, and stores the result in the memory of all; and they meet again, so
//! that a rank has all shares when its kernel ends, and nobody reads its part any more. Each way between two ranks carries
//! `4 · rows · n / ranks` bytes.
//!
//! # Requires
//! 1 to 8 ranks, which launch the same sums in the same order; `n` divisible by 8, `rows · n` below 2³¹; all pointers 16-byte aligned.
//! No part overlaps a result. A device runs the 32 blocks at once.
//!
//! # Moves
//! `rows · n / ranks · (2 · ranks + residual + 2 · ranks)` bytes, `4 · (ranks − 1)` of each element of the share from other GPUs or to them.
//!
//! # Numerics
//! As `all_reduce`'s of activations, to the bit. c = 1, d = 1.
use crate::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting, THREADS};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};

kernel_args! {
    /// Arguments of `all_reduce_two_shot`.
    pub struct TwoShotAllReduce {
        /// `[rows, n]` each, of every rank; null beyond the last.
        pub x: [Ptr<Act>; MOST_RANKS],
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// `[rows, n]` or null; may be this rank's `y`.
        pub residual: Ptr<Act>,
        /// `[rows, n]` each, of every rank, written; null beyond the last.
        pub y: [Ptr<Act>; MOST_RANKS],
        /// Where the ranks meet.
        pub meeting: Meeting,
        /// Token rows.
        pub rows: u32,
        /// Columns.
        pub n: u32,
    }
}

impl Kernel for TwoShotAllReduce {
    const NAME: &'static str = "all_reduce_two_shot";

    fn check(&self) -> Result<(), &'static str> {
        let there = |pointers: &[Ptr<Act>]| pointers.iter().all(|pointer| !pointer.is_null());
        require! {
            self.meeting.has_ranks() => "1 to 8 ranks, this one among them",
            self.meeting.has_flags() => "flags of every rank",
            there(&self.x[..self.meeting.ranks as usize]) => "a part of every rank",
            there(&self.y[..self.meeting.ranks as usize]) => "a result of every rank",
            self.rows > 0 && self.n > 0 && self.n.is_multiple_of(8) => "at least one row, n divisible by 8",
            u64::from(self.rows) * u64::from(self.n) < 1 << 31 => "less than 2³¹ elements",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, BLOCKS, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let residual = if self.residual.is_null() { 0 } else { 2 };
        8 * u64::from(self.share()) * (4 * u64::from(self.meeting.ranks) + residual)
    }
}

impl TwoShotAllReduce {
    /// Groups of 8 neighbours that a rank sums, at most.
    pub fn share(&self) -> u32 {
        (self.rows * (self.n / 8)).div_ceil(self.meeting.ranks.max(1))
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::TwoShotAllReduce;
    use crate::Ptr;
    use crate::all_reduce::ending::{Addends, Ending, added, store, unpacked};
    use crate::all_reduce::meeting::{BLOCKS, Round, THREADS, of_rank};
    use cuda_std::unroll::unroll;
    use cuda_std::{global, grid, kernel, thread};

    /// Groups of a rank that a thread reads at once: other GPUs are far away.
    const TAKEN: usize = 4;
    /// Groups that all threads read at once.
    const TOGETHER: u32 = TAKEN as u32 * BLOCKS * THREADS;

    kernel! {
        /// Groups of eight neighbours.
        pub fn all_reduce_two_shot(args: TwoShotAllReduce) {
            // As in `all_reduce`.
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let round = Round::begin(&args.meeting);
            if !round.meet(&args.meeting) {
                round.end(&args.meeting);
                return;
            }
            let share = args.share();
            let start = share * args.meeting.rank;
            let end = (args.rows * (args.n / 8)).min(start + share);
            for turn in 0..share.div_ceil(TOGETHER) {
                some(&args, start + turn * TOGETHER + thread::global_index(), end);
            }
            let second = round.next(&args.meeting);
            second.meet(&args.meeting);
            second.end(&args.meeting);
        }
    }

    /// Sums a thread's next groups, from `first` on and below `end`, and stores them in the memory of all ranks.
    ///
    /// # Safety
    /// The kernel's Requires hold, and all parts are there.
    #[inline(always)]
    unsafe fn some(args: &TwoShotAllReduce, first: u32, end: u32) {
        let ending = Ending { bias: args.bias, residual: args.residual, n: args.n };
        let group = |i: usize| first + i as u32 * (BLOCKS * THREADS);
        let (mut sums, mut addends) = ([[0.0f32; 8]; TAKEN], [Addends::default(); TAKEN]);
        for rank in 0..args.meeting.ranks {
            let part = of_rank(&args.x, rank);
            let mut parts = [[0u32; 4]; TAKEN];
            unroll::<TAKEN>(
                #[inline(always)]
                |i| {
                    if group(i) < end {
                        // SAFETY: the caller's promise.
                        unsafe {
                            parts[i] = global::load(part + 16 * u64::from(group(i)));
                            if rank == 0 {
                                addends[i] = ending.addends::<8>(group(i));
                            }
                        }
                    }
                },
            );
            unroll::<TAKEN>(
                #[inline(always)]
                |i| sums[i] = if rank == 0 { unpacked(parts[i]) } else { added(sums[i], unpacked(parts[i])) },
            );
        }
        unroll::<TAKEN>(
            #[inline(always)]
            |i| {
                if group(i) < end {
                    let result = ending.result(sums[i], addends[i]);
                    for rank in 0..args.meeting.ranks {
                        // SAFETY: the caller's promise.
                        unsafe { store::<8>(of_rank(&args.y, rank), group(i), result) };
                    }
                }
            },
        );
    }
}
