//! `all_gather`: the columns that the ranks of a model have, one GPU each, side by side on all of them.
//!
//! # Formula
//! `y[t, r · n + j] = x_r[t, j]` for every rank r.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x`, `x_act` | `[rows, n]` | f32, act | this rank's columns; one of them is null |
//! | `y[r]`, `y_f32[r]` | `[rows, ranks · n]` | act, f32 | memory of rank r, written: those of the type of x; the others are null |
//! | `meeting` | | | as [`all_reduce`](crate::all_reduce) has it, without packets |
//!
//! # Launch
//! Always 32 blocks, as of `all_reduce`, with which it shares the epochs. A row is pieces of 16 bytes, or as large as divide it, of
//! which a thread owns every `32 · 512`-th. Blocks of one number meet, so that nobody reads what stood in y any more; each stores
//! its pieces in the memory of all ranks; and they meet again, so that a rank has all columns when its kernel ends.
//!
//! # Requires
//! 1 to 8 ranks, which launch the same steps in the same order; `ranks · rows · n` below 2³¹; for activations `n` even; all pointers
//! 16-byte aligned. A device runs the 32 blocks at once.
//!
//! # Moves
//! `rows · n · x · (1 + ranks)` bytes, of which `ranks − 1` parts go to other GPUs.
//!
//! # Numerics
//! Exact.
use crate::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting, THREADS};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, Role, StepShape};

kernel_args! {
    /// Arguments of `all_gather`.
    pub struct OneShotAllGather {
        /// `[rows, n]` or null: this rank's columns.
        pub x: Ptr<f32>,
        /// `[rows, n]` or null: this rank's columns.
        pub x_act: Ptr<Act>,
        /// `[rows, ranks · n]` each, of every rank, written; null beyond the last, or all.
        pub y: [Ptr<Act>; MOST_RANKS],
        /// `[rows, ranks · n]` each, of every rank, written; null beyond the last, or all.
        pub y_f32: [Ptr<f32>; MOST_RANKS],
        /// Where the ranks meet.
        pub meeting: Meeting,
        /// Token rows.
        pub rows: u32,
        /// Columns of a rank.
        pub n: u32,
    }
}

impl Kernel for OneShotAllGather {
    const NAME: &'static str = "all_gather";

    fn check(&self) -> Result<(), &'static str> {
        let of_all = u64::from(self.meeting.ranks) * u64::from(self.rows) * u64::from(self.n);
        require! {
            self.meeting.has_ranks() => "1 to 8 ranks, this one among them",
            self.meeting.has_flags() => "flags of every rank",
            self.x.is_null() != self.x_act.is_null() => "either x or x_act",
            self.are_there(&self.y, !self.x_act.is_null()) => "y of every rank where x are activations, and only there",
            self.are_there(&self.y_f32, !self.x.is_null()) => "y_f32 of every rank where x is f32, and only there",
            self.rows > 0 && self.n > 0 => "at least one row and one column",
            self.x_act.is_null() || self.n.is_multiple_of(2) => "an even number of columns of activations",
            of_all < 1 << 31 => "less than 2³¹ elements",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, BLOCKS, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        u64::from(self.rows) * u64::from(self.row_bytes()) * u64::from(1 + self.meeting.ranks)
    }
}

impl OneShotAllGather {
    /// Bytes of a row of this rank.
    fn row_bytes(&self) -> u32 {
        self.n * if self.x.is_null() { 2 } else { 4 }
    }

    /// Whether the pointers of all ranks are there, if they are `wanted`; else none.
    fn are_there<R: Role>(&self, pointers: &[Ptr<R>; MOST_RANKS], wanted: bool) -> bool {
        pointers[..self.meeting.ranks as usize].iter().all(|pointer| pointer.is_null() != wanted)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::OneShotAllGather;
    use crate::all_reduce::meeting::{BLOCKS, Round, THREADS, of_rank};
    use core::num::NonZero;
    use cuda_std::global::{self, Word};
    use cuda_std::unroll::unroll;
    use cuda_std::{grid, kernel, thread};

    /// Pieces that a thread loads before it stores any.
    const TAKEN: usize = 2;
    /// Pieces that all threads load at once.
    const TOGETHER: u32 = TAKEN as u32 * BLOCKS * THREADS;

    kernel! {
        /// The largest pieces that divide a row.
        pub fn all_gather(args: OneShotAllGather) {
            // As in `all_reduce`.
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let round = Round::begin(&args.meeting);
            if round.meet(&args.meeting) {
                if args.row_bytes() % 16 == 0 {
                    send::<[u32; 4]>(&args);
                } else if args.row_bytes() % 8 == 0 {
                    send::<[u32; 2]>(&args);
                } else {
                    send::<u32>(&args);
                }
                let second = round.next(&args.meeting);
                second.meet(&args.meeting);
                second.end(&args.meeting);
            } else {
                round.end(&args.meeting);
            }
        }
    }

    /// Stores the thread's pieces of this rank's columns in the memory of all ranks.
    ///
    /// # Safety
    /// The kernel's Requires hold, and nobody reads the results.
    #[inline(always)]
    unsafe fn send<W: Word + Default>(args: &OneShotAllGather) {
        let size = size_of::<W>() as u64;
        let Some(width) = NonZero::new(args.row_bytes() / size as u32) else { return };
        let pieces = args.rows * width.get();
        let x = if args.x.is_null() { args.x_act.addr } else { args.x.addr };
        for turn in 0..pieces.div_ceil(TOGETHER) {
            let first = thread::global_index() + turn * TOGETHER;
            let mut taken = [W::default(); TAKEN];
            let piece = |i: usize| first + i as u32 * (BLOCKS * THREADS);
            unroll::<TAKEN>(
                #[inline(always)]
                |i| {
                    if piece(i) < pieces {
                        // SAFETY: the piece is one of the columns.
                        taken[i] = unsafe { global::load(x + size * u64::from(piece(i))) };
                    }
                },
            );
            for rank in 0..args.meeting.ranks {
                let y = if args.x.is_null() { of_rank(&args.y, rank) } else { of_rank(&args.y_f32, rank) };
                unroll::<TAKEN>(
                    #[inline(always)]
                    |i| {
                        if piece(i) < pieces {
                            let (row, column) = (piece(i) / width, piece(i) % width);
                            let to = (row * args.meeting.ranks + args.meeting.rank) * width.get() + column;
                            // SAFETY: there is room for it.
                            unsafe { global::store(y + size * u64::from(to), taken[i]) };
                        }
                    },
                );
            }
        }
    }
}
