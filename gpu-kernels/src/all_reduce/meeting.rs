//! `Meeting`: how the ranks of a model, one GPU each, wait for each other, and send each other what is little.
use crate::Ptr;
use crate::kernel::kernel_args;

/// Most ranks that meet.
pub const MOST_RANKS: usize = 8;
/// Blocks of every launch in which ranks meet.
pub const BLOCKS: u32 = 32;
/// Threads of a block.
pub(crate) const THREADS: u32 = 512;

kernel_args! {
    /// The memory by which ranks meet; the same of every launch, but for `rank`, which differs between them.
    pub struct Meeting {
        /// `[32, 8]` each, of every rank; null beyond the last.
        pub flags: [Ptr<i32>; MOST_RANKS],
        /// `[2, ranks, 2, packed / 4, 2, 2]` each, of every rank; null beyond the last.
        pub packets: [Ptr<i32>; MOST_RANKS],
        /// `[32]`: launches so far.
        pub epochs: Ptr<i32>,
        /// `[1]`: whether to give up.
        pub abort: Ptr<i32>,
        /// `[1]`, written where a wait was ended, if it was 0.
        pub fault: Ptr<i32>,
        /// This rank.
        pub rank: u32,
        /// How many meet.
        pub ranks: u32,
        /// Words of a rank in a half of `packets`.
        pub packed: u32,
    }
}

kernel_args! {
    /// Where a kernel in front of a meeting sends its results to all ranks, this one too, as packets of that meeting's.
    pub struct Outbox {
        /// As of [`Meeting`]; all null where nothing is sent.
        pub packets: [Ptr<i32>; MOST_RANKS],
        /// As of [`Meeting`].
        pub epochs: Ptr<i32>,
        /// This rank.
        pub rank: u32,
        /// How many there are; 0 where nothing is sent.
        pub ranks: u32,
        /// As of [`Meeting`].
        pub packed: u32,
    }
}

/// Lets args stand as a field of others.
macro_rules! nested {
    ($($name:ident)*) => { $(
        impl $crate::Field for $name {
            fn write(&self, out: &mut [u8]) {
                $crate::Args::write(self, out);
            }

            fn resolve(&mut self, resolve: &mut dyn FnMut(u32, u64, $crate::Element) -> u64) {
                $crate::Args::resolve(self, resolve);
            }
        }
    )* };
}
nested!(Meeting Outbox);

impl Outbox {
    /// Nothing is sent.
    pub const NONE: Outbox =
        Outbox { packets: [Ptr::NULL; MOST_RANKS], epochs: Ptr::NULL, rank: 0, ranks: 0, packed: 0 };

    /// Whether anything is sent.
    pub const fn sends(&self) -> bool {
        self.ranks > 0
    }

    /// Whether so many words can be sent, if anything is.
    pub(crate) fn takes(&self, words: u64) -> bool {
        !self.sends() || words.is_multiple_of(4) && words <= u64::from(self.packed)
    }
}

impl Meeting {
    /// For the kernel in front of this meeting.
    pub fn outbox(&self) -> Outbox {
        let Meeting { packets, epochs, rank, ranks, packed, .. } = *self;
        Outbox { packets, epochs, rank, ranks, packed }
    }

    /// Whether there are 1 to 8 ranks, this one among them.
    pub(crate) fn has_ranks(&self) -> bool {
        (1..=MOST_RANKS as u32).contains(&self.ranks) && self.rank < self.ranks
    }

    /// Whether flags of every rank are there.
    pub(crate) fn has_flags(&self) -> bool {
        self.flags[..self.ranks as usize].iter().all(|flags| !flags.is_null())
    }

    /// Whether packets of every rank are there.
    pub(crate) fn has_packets(&self) -> bool {
        let there = self.packets[..self.ranks as usize].iter().all(|packets| !packets.is_null());
        there && self.packed.is_multiple_of(4)
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) use entry::{LOOKS, Round, block, gives_up, of_rank};

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{BLOCKS, MOST_RANKS, Meeting, Outbox};
    use crate::{Ptr, Role};
    use cuda_std::unroll::unroll;
    use cuda_std::{barrier, global, thread};

    /// Looks at a flag between two looks at the word of the host, which is far away.
    pub const LOOKS: u32 = 64;
    /// A launch's meeting, as a block sees it.
    #[derive(Clone, Copy)]
    pub struct Round {
        pub epoch: u32,
    }

    impl Round {
        /// The next round.
        ///
        /// # Safety
        /// The kernel's Requires hold, and what is in front of it has ended.
        #[inline(always)]
        pub unsafe fn begin(meeting: &Meeting) -> Round {
            // Past the L1 cache: a kernel that begins early may find there what stood in it before.
            // SAFETY: the word is within the epochs.
            let epoch = unsafe { global::load_volatile::<u32>(meeting.epochs.addr + block()) }.wrapping_add(1);
            Round { epoch }
        }

        /// Behind it the block may read what the blocks of the same number wrote on all ranks, and what their kernels in front wrote;
        /// `false` if the wait was ended.
        ///
        /// # Safety
        /// All threads of the block come.
        #[inline(always)]
        pub unsafe fn meet(self, meeting: &Meeting) -> bool {
            // SAFETY: the caller's promise.
            unsafe {
                barrier::sync_threads();
                !barrier::any_thread(!self.waits(meeting))
            }
        }

        /// The round behind this one in the same launch, which is counted.
        ///
        /// # Safety
        /// As of [`Round::end`].
        #[inline(always)]
        pub unsafe fn next(self, meeting: &Meeting) -> Round {
            // SAFETY: the caller's promise.
            unsafe { self.end(meeting) };
            Round { epoch: self.epoch.wrapping_add(1) }
        }

        /// Counts the round.
        ///
        /// # Safety
        /// All threads of the block have begun, and read nothing of the round any more.
        #[inline(always)]
        pub unsafe fn end(self, meeting: &Meeting) {
            if thread::thread_idx_x() == 0 {
                // SAFETY: the word is within the epochs.
                unsafe { global::store(meeting.epochs.addr + block(), self.epoch) };
            }
        }

        /// Tells the rank that this thread stands for that this block is there, and waits for its block; `false` if the wait was
        /// ended. What the ranks wrote is visible behind the next barrier.
        ///
        /// # Safety
        /// What all threads of the block wrote stands in front of a barrier.
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
                    if looks % LOOKS == 0 && gives_up(meeting, other) {
                        return false;
                    }
                }
            }
            true
        }
    }

    impl Outbox {
        /// The epoch of the next meeting.
        ///
        /// # Safety
        /// The kernel in front has ended.
        #[inline(always)]
        pub unsafe fn epoch(&self) -> u32 {
            // SAFETY: between two launches all blocks' words are the same.
            unsafe { global::load::<u32>(self.epochs.addr) }.wrapping_add(1)
        }

        /// Sends word `index` of this rank's part to all ranks, where [`Packets`](crate::all_reduce::packets::Packets) has it.
        ///
        /// # Safety
        /// The packets have room for it, and the kernel in front has ended.
        #[inline(always)]
        pub unsafe fn send(&self, epoch: u32, index: u32, word: u32) {
            let at = self.place(epoch, index / 2) + 8 * u64::from(index % 2);
            let packet = u64::from(word) | u64::from(epoch) << 32;
            unroll::<MOST_RANKS>(|r| {
                if (r as u32) < self.ranks {
                    // SAFETY: the caller's promise.
                    unsafe { global::store_relaxed_system(self.packets[r].addr + at, packet) };
                }
            });
        }

        /// Sends words `2 · pair` and the next one likewise.
        ///
        /// # Safety
        /// As of [`Outbox::send`].
        #[inline(always)]
        pub unsafe fn send_pair(&self, epoch: u32, pair: u32, words: [u32; 2]) {
            let at = self.place(epoch, pair);
            let packets = words.map(|word| u64::from(word) | u64::from(epoch) << 32);
            unroll::<MOST_RANKS>(|r| {
                if (r as u32) < self.ranks {
                    // SAFETY: the caller's promise.
                    unsafe { global::store_pair_relaxed_system(self.packets[r].addr + at, packets) };
                }
            });
        }

        /// Where two words of this rank's stand in the packets of each, bytes: of four neighbours, two are in each half.
        #[inline(always)]
        fn place(&self, epoch: u32, pair: u32) -> u64 {
            let (apart, own) = (8 * u64::from(self.packed), epoch % 2 * self.ranks + self.rank);
            u64::from(own) * apart + u64::from(pair % 2) * (apart / 2) + 16 * u64::from(pair / 2)
        }
    }

    /// Whether the host ends the wait for rank `other`; the first that a rank waited for in vain is kept.
    ///
    /// # Safety
    /// The words of the host are there.
    #[inline(always)]
    pub unsafe fn gives_up(meeting: &Meeting, other: u32) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            let ended = global::load_volatile::<u32>(meeting.abort.addr) != 0;
            if ended && global::load_volatile::<u32>(meeting.fault.addr) == 0 {
                global::store_volatile(meeting.fault.addr, other + 1);
            }
            ended
        }
    }

    /// Where the block's word of an array stands, bytes.
    #[inline(always)]
    pub fn block() -> u64 {
        4 * u64::from(thread::block_idx_x())
    }

    /// The address of what rank `rank` has; the loop is unrolled, for parameters are not indexed by what is not constant.
    #[inline(always)]
    pub fn of_rank<R: Role>(pointers: &[Ptr<R>; MOST_RANKS], rank: u32) -> u64 {
        let mut found = 0;
        unroll::<MOST_RANKS>(|r| {
            if r as u32 == rank {
                found = pointers[r].addr;
            }
        });
        found
    }
}
