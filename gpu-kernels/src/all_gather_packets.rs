//! `all_gather_packets`: the columns that the ranks of a model have, as `all_gather`, for GPUs that do not reach each other's memory:
//! each rank sends its own as packets.
//!
//! # Formula
//! `y[t, r · n + j] = x_r[t, j]` for every rank r.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x`, `x_act` | `[rows, n]` | f32, act | this rank's columns; one of them is null |
//! | `y`, `y_f32` | `[rows, ranks · n]` | act, f32 | written: that of the type of x; the other is null |
//! | `meeting` | | | as [`all_reduce`](crate::all_reduce) has it |
//!
//! # Launch
//! Always 32 blocks, as of `all_reduce`, with which it shares the epochs and the packets. A word is a value of `x`, or two neighbours of
//! `x_act`. Each block has a 32nd of the groups of 4 words, the last of which zeros fill up. A thread sends all of its groups first, so
//! that they are on their way together, and then stores the words of all ranks as they come. Where a wait was ended, nothing of that rank
//! and those behind it is stored.
//!
//! # Requires
//! 1 to 8 ranks, which launch the same steps in the same order; for activations `n` even; the words of a part, in whole groups, within
//! `packed`; `ranks · rows · n` below 2³¹; pointers aligned to a word, to 16 bytes where a row is whole groups. A device runs the 32
//! blocks at once.
//!
//! # Moves
//! `rows · n · x · (1 + ranks)` bytes, and `16 · (ranks − 1)` of each word, half of them to other GPUs.
//!
//! # Numerics
//! Exact.
use crate::all_reduce::meeting::{BLOCKS, Meeting, THREADS};
use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape};

kernel_args! {
    /// Arguments of `all_gather_packets`.
    pub struct PacketAllGather {
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

impl Kernel for PacketAllGather {
    const NAME: &'static str = "all_gather_packets";

    fn check(&self) -> Result<(), &'static str> {
        let of_all = u64::from(self.meeting.ranks) * u64::from(self.rows) * u64::from(self.n);
        require! {
            self.meeting.has_ranks() => "1 to 8 ranks, this one among them",
            self.meeting.has_flags() => "flags of every rank",
            self.meeting.has_packets() => "packets of every rank, in multiples of 4",
            self.x.is_null() != self.x_act.is_null() => "either x or x_act",
            self.x.is_null() == self.y_f32.is_null() && self.x_act.is_null() == self.y.is_null() => "a result of the type of x, and no other",
            self.rows > 0 && self.n > 0 => "at least one row and one column",
            self.x_act.is_null() || self.n.is_multiple_of(2) => "an even number of columns of activations",
            self.words().next_multiple_of(4) <= u64::from(self.meeting.packed) => "no more words than there are packets",
            of_all < 1 << 31 => "less than 2³¹ elements",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let groups_of_block = self.groups().div_ceil(BLOCKS).min(THREADS);
        Launch { overlaps: true, ..Launch::linear(Self::NAME, BLOCKS, groups_of_block.next_multiple_of(32)) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let ranks = u64::from(self.meeting.ranks);
        self.words() * (4 * (1 + ranks) + 16 * (ranks - 1))
    }
}

impl PacketAllGather {
    /// Words of 4 bytes of a row of this rank.
    pub fn width(&self) -> u32 {
        if self.x.is_null() { self.n / 2 } else { self.n }
    }

    /// Words of 4 bytes of a part.
    pub fn words(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.width())
    }

    /// Groups of 4 words.
    fn groups(&self) -> u32 {
        (self.rows * self.width()).div_ceil(4)
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::PacketAllGather;
    use crate::all_reduce::meeting::{BLOCKS, Round, THREADS};
    use crate::all_reduce::packets::Packets;
    use core::num::NonZero;
    use cuda_std::unroll::unroll;
    use cuda_std::{barrier, global, grid, kernel, thread};

    kernel! {
        /// Groups of 4 words, which rows are whole numbers of, or not.
        pub fn all_gather_packets(args: PacketAllGather) {
            thread::blocks_at_once::<THREADS, 1>();
            // As in `all_reduce`.
            grid::launch_dependents();
            grid::wait_for_dependencies();
            let round = Round::begin(&args.meeting);
            let packets = Packets::new(&args.meeting, round);
            packets.announce(&args.meeting);
            if args.width() % 4 == 0 {
                exchange::<true>(&args, packets);
            } else {
                exchange::<false>(&args, packets);
            }
            barrier::sync_threads();
            round.end(&args.meeting);
        }
    }

    /// Sends the thread's groups, and stores those of all ranks; a row is `WHOLE` groups, or ends within one.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn exchange<const WHOLE: bool>(args: &PacketAllGather, packets: Packets) {
        let share = args.groups().div_ceil(BLOCKS);
        let start = share * thread::block_idx_x();
        let end = args.groups().min(start + share);
        // SAFETY: the caller's promise; a block's groups are within the part.
        unsafe {
            let mut group = start + thread::thread_idx_x();
            while group < end {
                packets.send(&args.meeting, group, own::<WHOLE>(args, group));
                group += thread::block_dim_x();
            }
            let mut group = start + thread::thread_idx_x();
            while group < end && receive::<WHOLE>(args, packets, group) {
                group += thread::block_dim_x();
            }
        }
    }

    /// A group of this rank's words; zeros behind the last.
    ///
    /// # Safety
    /// As of [`exchange`].
    #[inline(always)]
    unsafe fn own<const WHOLE: bool>(args: &PacketAllGather, group: u32) -> [u32; 4] {
        let x = if args.x.is_null() { args.x_act.addr } else { args.x.addr };
        let at = x + 16 * u64::from(group);
        if WHOLE {
            // SAFETY: the group is within the part.
            return unsafe { global::load(at) };
        }
        let mut words = [0; 4];
        unroll::<4>(
            #[inline(always)]
            |i| {
                if 4 * group + (i as u32) < args.rows * args.width() {
                    // SAFETY: the word is within the part.
                    words[i] = unsafe { global::load(at + 4 * i as u64) };
                }
            },
        );
        words
    }

    /// Stores a group of each rank when it comes; those of the first ranks alone, and false, if a wait was ended.
    ///
    /// # Safety
    /// As of [`exchange`].
    #[inline(always)]
    unsafe fn receive<const WHOLE: bool>(args: &PacketAllGather, packets: Packets, group: u32) -> bool {
        let mut rank = 0;
        // SAFETY: the caller's promise.
        unsafe {
            let own = own::<WHOLE>(args, group);
            while rank < args.meeting.ranks {
                let Some(words) = packets.receive_of_two(&args.meeting, rank, group, Some(own)) else { return false };
                store::<WHOLE>(args, (rank, group), words[0]);
                if rank + 1 < args.meeting.ranks {
                    store::<WHOLE>(args, (rank + 1, group), words[1]);
                }
                rank += 2;
            }
        }
        true
    }

    /// Stores a group of words of a rank.
    ///
    /// # Safety
    /// As of [`exchange`].
    #[inline(always)]
    unsafe fn store<const WHOLE: bool>(args: &PacketAllGather, (rank, group): (u32, u32), words: [u32; 4]) {
        let Some(width) = NonZero::new(args.width()) else { return };
        let y = if args.x.is_null() { args.y.addr } else { args.y_f32.addr };
        let place = |word: u32| {
            let to = (word / width * args.meeting.ranks + rank) * width.get() + word % width;
            y + 4 * u64::from(to)
        };
        if WHOLE {
            // SAFETY: there is room for it.
            return unsafe { global::store(place(4 * group), words) };
        }
        unroll::<4>(
            #[inline(always)]
            |i| {
                let word = 4 * group + i as u32;
                if word < args.rows * width.get() {
                    // SAFETY: there is room for it.
                    unsafe { global::store(place(word), words[i]) };
                }
            },
        );
    }
}
