//! `all_gather`: the columns that the ranks of a model have, one GPU each, side by side on all of them.
//!
//! # Formula
//! `y[t, r · n + j] = x_r[t, j]` for every rank r.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x`, `x_act` | `[rows, n]` | f32, act | this rank's columns; one of them is null |
//! | `y`, `y_f32` | `[rows, ranks · n]` | act, f32 | written: the one of the type of x; the other is null |
//! | `meeting` | | | as [`all_reduce`](crate::all_reduce) has it; `parts` hold activations as f32 too |
//!
//! # Launch
//! Always 32 blocks, as of `all_reduce`, with which it shares epochs and parts: a launch of either has ended on a rank before that
//! begins the next. A thread owns every `32 · 512`-th group of 4, or element where `n` does not divide by 4.
//!
//! # Requires
//! 1 to 8 ranks, which launch the same steps in the same order; `rows · n` within `capacity`, which is divisible by 4, and
//! `ranks · rows · n` below 2³¹; for activations `n` divisible by 4; all pointers 16-byte aligned. A device runs the 32 blocks at once.
//!
//! # Moves
//! `rows · n · (x + 4 · (ranks + 1) + ranks · y)` bytes, `4 · (ranks − 1)` of each element from other GPUs.
//!
//! # Numerics
//! Exact: f32 holds every activation.
use crate::all_reduce::meeting::{BLOCKS, Meeting, THREADS};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `all_gather`.
    pub struct OneShotAllGather {
        /// `[rows, n]` or null: this rank's columns.
        pub x: Ptr<f32>,
        /// `[rows, n]` or null: this rank's columns.
        pub x_act: Ptr<Act>,
        /// `[rows, ranks · n]` or null, written.
        pub y: Ptr<Act>,
        /// `[rows, ranks · n]` or null, written.
        pub y_f32: Ptr<f32>,
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
            self.meeting.has_memory() => "parts and flags of every rank",
            self.x.is_null() != self.x_act.is_null() => "either x or x_act",
            self.x.is_null() == self.y_f32.is_null() && self.x_act.is_null() == self.y.is_null() => "a result of the type of x",
            self.rows > 0 && self.n > 0 => "at least one row and one column",
            self.x_act.is_null() || self.n.is_multiple_of(4) => "columns of activations divisible by 4",
            self.meeting.holds(self.rows, self.n) && of_all < 1 << 31 => "rows of parts that hold the columns",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        Launch { overlaps: true, ..Launch::linear(Self::NAME, BLOCKS, THREADS) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let element = if self.x.is_null() { 2 } else { 4 };
        let ranks = u64::from(self.meeting.ranks);
        u64::from(self.rows) * u64::from(self.n) * (element + 4 * (ranks + 1) + ranks * element)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::OneShotAllGather;
    use crate::all_reduce::meeting::{MOST_RANKS, Round};
    use core::num::NonZero;
    use cuda_std::unroll::unroll;
    use cuda_std::{bf16, global, grid, kernel, thread};

    kernel! {
        /// Four neighbours per thread and turn where rows divide so.
        pub fn all_gather(args: OneShotAllGather) {
            // As in `all_reduce`.
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let round = Round::begin(&args.meeting);
            let fours = args.n % 4 == 0;
            let width = if fours { args.n / 4 } else { args.n };
            let Some(width) = NonZero::new(width) else { return };
            let pieces = args.rows * width.get();
            let mut piece = thread::global_index();
            while piece < pieces {
                bring(&args, round, piece, fours);
                piece += thread::grid_threads();
            }
            let mut piece = if round.meet(&args.meeting) { thread::global_index() } else { pieces };
            while piece < pieces {
                let first = piece / width * width.get() * args.meeting.ranks + piece % width;
                take(&args, round, (piece, first, width.get()), fours);
                piece += thread::grid_threads();
            }
            round.end(&args.meeting);
        }
    }

    /// Copies a piece of this rank's columns to its part.
    ///
    /// # Safety
    /// `piece` is within the columns.
    #[inline(always)]
    unsafe fn bring(args: &OneShotAllGather, round: Round, piece: u32, fours: bool) {
        let piece = u64::from(piece);
        // SAFETY: the caller's promise; one of the two is there.
        unsafe {
            if args.x.is_null() {
                let [a, b]: [u32; 2] = global::load(args.x_act.addr + 8 * piece);
                let ([a, b], [c, d]) = (bf16::unpack(a), bf16::unpack(b));
                global::store(round.own + 16 * piece, [a, b, c, d]);
            } else if fours {
                global::store(round.own + 16 * piece, global::load::<[f32; 4]>(args.x.addr + 16 * piece));
            } else {
                global::store(round.own + 4 * piece, global::load::<f32>(args.x.addr + 4 * piece));
            }
        }
    }

    /// Copies a piece of all ranks' parts to where theirs stand in the row, of which rank 0's is the `first`; a rank's row has `width`.
    ///
    /// # Safety
    /// All ranks have written their parts.
    #[inline(always)]
    unsafe fn take(args: &OneShotAllGather, round: Round, (piece, first, width): (u32, u32, u32), fours: bool) {
        let piece = u64::from(piece);
        let to = |rank: usize| u64::from(first + rank as u32 * width);
        let ranks = args.meeting.ranks;
        // SAFETY: the caller's promise.
        unsafe {
            if !fours {
                let mut parts = [0.0f32; MOST_RANKS];
                unroll::<MOST_RANKS>(|r| {
                    if (r as u32) < ranks {
                        parts[r] = global::load(args.meeting.parts[r].addr + round.half + 4 * piece);
                    }
                });
                unroll::<MOST_RANKS>(|r| {
                    if (r as u32) < ranks {
                        global::store(args.y_f32.addr + 4 * to(r), parts[r]);
                    }
                });
                return;
            }
            let mut parts = [[0.0f32; 4]; MOST_RANKS];
            unroll::<MOST_RANKS>(|r| {
                if (r as u32) < ranks {
                    parts[r] = global::load(args.meeting.parts[r].addr + round.half + 16 * piece);
                }
            });
            unroll::<MOST_RANKS>(|r| {
                if (r as u32) < ranks {
                    let [a, b, c, d] = parts[r];
                    if args.y.is_null() {
                        global::store(args.y_f32.addr + 16 * to(r), [a, b, c, d]);
                    } else {
                        global::store(args.y.addr + 8 * to(r), [bf16::pack([a, b]), bf16::pack([c, d])]);
                    }
                }
            });
        }
    }
}
