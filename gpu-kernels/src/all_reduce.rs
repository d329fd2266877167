//! `all_reduce`: the sum of what the ranks of a model have, one GPU each, the same on all of them; for few rows, of which each rank
//! sends the others all that it has.
//!
//! # Formula
//! `s[t, j] = (x_0 + x_1 + … + x_(ranks − 1))[t, j] + bias[j]`, in this order; `y = r(s)`, or `y = r(residual + r(s))` where there
//! is a residual; `r` rounds to the activation type.
//!
//! # Arguments
//! | name | shape | dtype | layout |
//! |---|---|---|---|
//! | `x`, `x_act` | `[rows, n]` | f32, act | this rank's part, if the kernel in front has not sent it; not both |
//! | `sent` | | | how many values a word holds of what the kernel in front has sent, 1 or 2; 0 with `x` or `x_act` |
//! | `bias` | `[n]` or null | weight | the same on every rank |
//! | `residual` | `[rows, n]` or null | act | the same on every rank; may be `y` |
//! | `y` | `[rows, n]` | act | written |
//! | `meeting.flags[r]` | `[32, 8]` | i32 | memory of rank r, by block and rank; each rank writes its word in all of them |
//! | `meeting.packets[r]` | `[2, ranks, 2, packed / 4, 2, 2]` | i32 | memory of rank r, or one area of the host's for all; by rank; a word and its epoch; 0 at start |
//! | `meeting.epochs` | `[32]` | i32 | meetings so far, by block; counted on; 0 at start, as the flags |
//! | `meeting.abort` | `[1]` | i32 | pinned memory of the host: other than 0 ends every wait |
//! | `meeting.fault` | `[1]` | i32 | 1 + the rank that was waited for, where a wait was ended and it was 0; else kept |
//!
//! # Launch
//! Always 32 blocks, so that all count the same epochs, of no more threads than there are groups for, 512 at most: so they leave room for
//! the kernel behind, which fetches its weights meanwhile. A word is a value of `x`, or two neighbours of `x_act` (entry
//! `all_reduce_act`). Each block has a 32nd of the groups of 4 words. A thread stores its groups in the memory of every other rank, each
//! word with the epoch beside it in one double word, which is written and read as a whole; then it looks at its own memory until the
//! epochs are there. Twice the bytes, but one way to the other GPU is all that it waits for.
//!
//! Where the part is `sent` (entries `all_reduce_sent` and `all_reduce_act_sent`) the kernel in front sends its words so, to this rank too
//! ([`Outbox`](meeting::Outbox)). Then nothing waits for its end but the store of `y`: it starts this kernel only when what is in front of
//! both has ended.
//!
//! A launch has a group of every rank at least, and begins when the whole one in front has ended. So in epoch e every other rank had begun
//! e − 1, thus ended e − 2: nobody reads the half that it writes. Nothing is reset; the difference of two epochs counts, so they may wrap around.
//!
//! # Requires
//! 1 to 8 ranks, which launch the same sums in the same order; `n` divisible by 4, with words of two values by 8; the words of a part within
//! `packed`; all pointers 16-byte aligned. A device runs the 32 blocks at once.
//!
//! # Moves
//! `rows · n · (x + residual + y)` bytes, without `x` where it is sent, and `16 · (ranks − 1)` of each word, half of them to other GPUs.
//!
//! # Numerics
//! In f32, in the order of the ranks: the same bits on all ranks and in every run. One rounding at the store, of the sum first
//! where there is a residual. c = 1, d = 1.
#[cfg(target_arch = "nvptx64")]
pub(crate) mod ending;
pub mod meeting;
#[cfg(target_arch = "nvptx64")]
pub(crate) mod packets;

use crate::kernel::{kernel_args, require};
use crate::{Act, DeviceInfo, Kernel, Launch, Ptr, StepShape, Weight};
use meeting::{BLOCKS, Meeting, THREADS};

kernel_args! {
    /// Arguments of `all_reduce`.
    pub struct OneShotAllReduce {
        /// `[rows, n]` or null: this rank's part.
        pub x: Ptr<f32>,
        /// `[rows, n]` or null: this rank's part.
        pub x_act: Ptr<Act>,
        /// Values in a word of this rank's part, where the kernel in front has sent it; else 0.
        pub sent: u32,
        /// `[n]` or null.
        pub bias: Ptr<Weight>,
        /// `[rows, n]` or null; may be `y`.
        pub residual: Ptr<Act>,
        /// `[rows, n]`, written.
        pub y: Ptr<Act>,
        /// Where the ranks meet.
        pub meeting: Meeting,
        /// Token rows.
        pub rows: u32,
        /// Columns.
        pub n: u32,
    }
}

impl Kernel for OneShotAllReduce {
    const NAME: &'static str = "all_reduce";

    fn check(&self) -> Result<(), &'static str> {
        require! {
            self.meeting.has_ranks() => "1 to 8 ranks, this one among them",
            self.meeting.has_flags() => "flags of every rank",
            self.x.is_null() || self.x_act.is_null() => "not both x and x_act",
            (self.sent == 0) != (self.x.is_null() && self.x_act.is_null()) => "either x, x_act or a part that is sent",
            self.sent <= 2 => "words of one value or two",
            self.rows > 0 && self.n > 0 && self.n.is_multiple_of(4 * self.values_of_word()) => "at least one row, of whole groups of 4 words",
            self.meeting.has_packets() => "packets of every rank, in multiples of 4",
            self.words() <= u64::from(self.meeting.packed) => "no more words than there are packets",
        }
    }

    fn launch(&self, _: &DeviceInfo) -> Launch {
        let symbol = match (self.sent, self.values_of_word()) {
            (0, 1) => Self::NAME,
            (0, _) => "all_reduce_act",
            (_, 1) => "all_reduce_sent",
            _ => "all_reduce_act_sent",
        };
        let groups_of_block = (self.words() / 4).div_ceil(u64::from(BLOCKS)).min(u64::from(THREADS)) as u32;
        Launch { overlaps: true, ..Launch::linear(symbol, BLOCKS, groups_of_block.max(1).next_multiple_of(32)) }
    }

    fn bytes_moved(&self, _: &StepShape) -> u64 {
        let x = if self.sent > 0 { 0 } else { 4 / u64::from(self.values_of_word()) };
        let residual = if self.residual.is_null() { 0 } else { 2 };
        let elements = u64::from(self.rows) * u64::from(self.n);
        elements * (x + residual + 2) + 16 * self.words() * u64::from(self.meeting.ranks - 1)
    }
}

impl OneShotAllReduce {
    /// Words of 4 bytes of a part.
    pub fn words(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.n) / u64::from(self.values_of_word())
    }

    /// Values that a word holds.
    pub fn values_of_word(&self) -> u32 {
        match self.sent {
            0 if self.x_act.is_null() => 1,
            0 => 2,
            values => values,
        }
    }
}

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::OneShotAllReduce;
    use super::ending::{Addends, Ending, added, store};
    use super::meeting::{BLOCKS, Round, THREADS};
    use super::packets::Packets;
    use cuda_std::unroll::unroll;
    use cuda_std::{barrier, bf16, global, grid, kernel, thread};

    kernel! {
        /// Words of one value.
        pub fn all_reduce(args: OneShotAllReduce) {
            thread::blocks_at_once::<THREADS, 1>();
            run::<4, false>(&args, args.x.addr);
        }

        /// Words of one value, which the kernel in front has sent to all ranks.
        pub fn all_reduce_sent(args: OneShotAllReduce) {
            thread::blocks_at_once::<THREADS, 1>();
            run::<4, true>(&args, 0);
        }

        /// Words of two.
        pub fn all_reduce_act(args: OneShotAllReduce) {
            thread::blocks_at_once::<THREADS, 1>();
            run::<8, false>(&args, args.x_act.addr);
        }

        /// Words of two, which the kernel in front has sent to all ranks.
        pub fn all_reduce_act_sent(args: OneShotAllReduce) {
            thread::blocks_at_once::<THREADS, 1>();
            run::<8, true>(&args, 0);
        }
    }

    /// Sums groups of `N` values, whose 4 words this rank has from `x` on, or has `SENT`.
    ///
    /// # Safety
    /// The kernel's Requires hold.
    #[inline(always)]
    unsafe fn run<const N: usize, const SENT: bool>(args: &OneShotAllReduce, x: u64) {
        // All its blocks have found room: the kernel behind may come, and fetch its weights while this one waits for other GPUs.
        grid::launch_dependents();
        if !SENT {
            grid::wait_for_dependencies();
        }
        // SAFETY: the caller's promise; a block's groups are within the part.
        unsafe {
            let round = Round::begin(&args.meeting);
            let packets = Packets::new(&args.meeting, round);
            packets.announce(&args.meeting);
            let groups = args.rows * (args.n / N as u32);
            let share = groups.div_ceil(BLOCKS);
            let start = share * thread::block_idx_x();
            let end = groups.min(start + share);
            let first = start + thread::thread_idx_x();
            let mut group = first;
            // All of a thread's groups are on their way together.
            while !SENT && group < end {
                packets.send(&args.meeting, group, global::load(x + 16 * u64::from(group)));
                group += thread::block_dim_x();
            }
            let mut group = first;
            while group < end && sum_group::<N, SENT>(args, packets, x, group) {
                group += thread::block_dim_x();
            }
            barrier::sync_threads();
            round.end(&args.meeting);
        }
    }

    /// Waits for a group of all ranks, and stores their sum; false if the wait was ended.
    ///
    /// # Safety
    /// As of [`run`].
    #[inline(always)]
    unsafe fn sum_group<const N: usize, const SENT: bool>(
        args: &OneShotAllReduce,
        packets: Packets,
        x: u64,
        group: u32,
    ) -> bool {
        let ending = Ending { bias: args.bias, residual: args.residual, n: args.n };
        // SAFETY: the caller's promise.
        unsafe {
            // On their way while it waits.
            let addends = ending.addends::<N>(group);
            let own = if SENT { None } else { Some(global::load(x + 16 * u64::from(group))) };
            let Some(sums) = sums::<N>(args, packets, own, group) else { return false };
            if SENT {
                grid::wait_for_dependencies();
            }
            store::<N>(args.y.addr, group, ending.result(sums, addends));
            true
        }
    }

    /// The sums of a group of all ranks, in the order of the ranks, of which this one's words are `own` if they are not sent; none if a
    /// wait was ended.
    ///
    /// # Safety
    /// The packets have room for it.
    #[inline(always)]
    unsafe fn sums<const N: usize>(
        args: &OneShotAllReduce,
        packets: Packets,
        own: Option<[u32; 4]>,
        group: u32,
    ) -> Option<[f32; N]> {
        let (mut sums, mut rank) = ([0.0; N], 0);
        while rank < args.meeting.ranks {
            // SAFETY: the caller's promise.
            let parts = unsafe { packets.receive_of_two(&args.meeting, rank, group, own)? };
            sums = if rank == 0 { values(parts[0]) } else { added(sums, values(parts[0])) };
            if rank + 1 < args.meeting.ranks {
                sums = added(sums, values(parts[1]));
            }
            rank += 2;
        }
        Some(sums)
    }

    /// The values that 4 words hold: 4 or, with two in each, 8.
    #[inline(always)]
    fn values<const N: usize>(words: [u32; 4]) -> [f32; N] {
        let mut values = [0.0; N];
        unroll::<N>(
            #[inline(always)]
            |i| values[i] = if N == 4 { f32::from_bits(words[i]) } else { bf16::unpack(words[i / 2])[i % 2] },
        );
        values
    }
}
