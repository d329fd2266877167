//! `Meeting`: where the ranks of a model, one GPU each, bring what they have and read what the others have brought.
use crate::kernel::kernel_args;
use crate::{Args, Element, Field, Ptr};

/// Most ranks that meet.
pub const MOST_RANKS: usize = 8;
/// Blocks of every launch in which ranks meet.
pub const BLOCKS: u32 = 32;
/// Threads of a block.
pub(crate) const THREADS: u32 = 512;

kernel_args! {
    /// The memory by which ranks meet; the same of every launch, but for `rank`, which differs between them.
    pub struct Meeting {
        /// `[2, capacity]` each, of every rank; null beyond the last.
        pub parts: [Ptr<f32>; MOST_RANKS],
        /// `[32, 8]` each, of every rank; null beyond the last.
        pub flags: [Ptr<i32>; MOST_RANKS],
        /// `[32]`: launches so far.
        pub epochs: Ptr<i32>,
        /// `[1]`: whether to give up.
        pub abort: Ptr<i32>,
        /// `[1]`, written where a wait was ended.
        pub fault: Ptr<i32>,
        /// This rank.
        pub rank: u32,
        /// How many meet.
        pub ranks: u32,
        /// Elements of a half of `parts`.
        pub capacity: u32,
    }
}

impl Field for Meeting {
    fn write(&self, out: &mut [u8]) {
        Args::write(self, out);
    }

    fn resolve(&mut self, resolve: &mut dyn FnMut(u32, u64, Element) -> u64) {
        Args::resolve(self, resolve);
    }
}

impl Meeting {
    /// Whether there are 1 to 8 ranks, this one among them.
    pub(crate) fn has_ranks(&self) -> bool {
        (1..=MOST_RANKS as u32).contains(&self.ranks) && self.rank < self.ranks
    }

    /// Whether parts and flags of every rank are there.
    pub(crate) fn has_memory(&self) -> bool {
        let count = self.ranks as usize;
        self.parts[..count].iter().all(|parts| !parts.is_null())
            && self.flags[..count].iter().all(|flags| !flags.is_null())
    }

    /// Whether `[rows, n]` fit into a half of the parts.
    pub(crate) fn holds(&self, rows: u32, n: u32) -> bool {
        self.capacity.is_multiple_of(4) && u64::from(rows) * u64::from(n) <= u64::from(self.capacity)
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) use entry::Round;

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{MOST_RANKS, Meeting};
    use crate::{Ptr, Role};
    use cuda_std::unroll::unroll;
    use cuda_std::{barrier, global, thread};

    /// Looks at a flag between two looks at the word of the host, which is far away.
    const LOOKS: u32 = 64;

    /// A launch's meeting, as a block sees it.
    #[derive(Clone, Copy)]
    pub struct Round {
        epoch: u32,
        /// Where the half of any rank's parts begins that this epoch uses, bytes.
        pub half: u64,
        /// Where this rank's part goes.
        pub own: u64,
    }

    impl Round {
        /// The next round.
        ///
        /// # Safety
        /// The kernel's Requires hold, and what is in front of it has ended.
        #[inline(always)]
        pub unsafe fn begin(meeting: &Meeting) -> Round {
            // SAFETY: the word is within the epochs.
            let epoch = unsafe { global::load::<u32>(meeting.epochs.addr + block()) }.wrapping_add(1);
            let half = 4 * u64::from(epoch % 2) * u64::from(meeting.capacity);
            Round { epoch, half, own: of_rank(&meeting.parts, meeting.rank) + half }
        }

        /// Behind it the block may read what all ranks' threads of the same number wrote; `false` if the wait was ended.
        ///
        /// # Safety
        /// All threads of the block come, and have written their part.
        #[inline(always)]
        pub unsafe fn meet(self, meeting: &Meeting) -> bool {
            // SAFETY: the caller's promise.
            unsafe {
                barrier::sync_threads();
                !barrier::any_thread(!self.waits(meeting))
            }
        }

        /// Counts the round.
        ///
        /// # Safety
        /// The block reads no part any more.
        #[inline(always)]
        pub unsafe fn end(self, meeting: &Meeting) {
            if thread::thread_idx_x() == 0 {
                // SAFETY: the word is within the epochs.
                unsafe { global::store(meeting.epochs.addr + block(), self.epoch) };
            }
        }

        /// Tells the rank that this thread stands for that this block's part is there, and waits for its part; `false` if the
        /// wait was ended. What the ranks wrote is visible behind the next barrier.
        ///
        /// # Safety
        /// All threads of the block have written their part, in front of a barrier.
        #[inline(always)]
        unsafe fn waits(self, meeting: &Meeting) -> bool {
            let other = thread::thread_idx_x();
            if other >= meeting.ranks {
                return true;
            }
            let row = MOST_RANKS as u64 * block();
            let theirs = of_rank(&meeting.flags, other) + row + 4 * u64::from(meeting.rank);
            let own = of_rank(&meeting.flags, meeting.rank) + row + 4 * u64::from(other);
            // SAFETY: the words are within the flags.
            unsafe {
                global::store_release_system(theirs, self.epoch);
                let mut looks = 0;
                // A rank may be an epoch ahead.
                while (global::load_acquire_system(own).wrapping_sub(self.epoch) as i32) < 0 {
                    looks += 1;
                    if looks % LOOKS == 0 && global::load_volatile::<u32>(meeting.abort.addr) != 0 {
                        global::store_volatile(meeting.fault.addr, other + 1);
                        return false;
                    }
                }
            }
            true
        }
    }

    /// Where the block's word of an array stands, bytes.
    #[inline(always)]
    fn block() -> u64 {
        4 * u64::from(thread::block_idx_x())
    }

    /// The address of what rank `rank` has; the loop is unrolled, for parameters are not indexed by what is not constant.
    #[inline(always)]
    fn of_rank<R: Role>(pointers: &[Ptr<R>; MOST_RANKS], rank: u32) -> u64 {
        let mut found = 0;
        unroll::<MOST_RANKS>(|r| {
            if r as u32 == rank {
                found = pointers[r].addr;
            }
        });
        found
    }
}
