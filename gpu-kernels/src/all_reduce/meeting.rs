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
        /// Elements of a half of `parts`.
        pub capacity: u32,
        /// Elements of a rank in a half of `packets`: as many are sent as packets.
        pub packed: u32,
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

    /// Whether `[rows, n]` are so few that each value is sent with its epoch.
    pub fn sends_packets(&self, rows: u32, n: u32) -> bool {
        u64::from(rows) * u64::from(n) <= u64::from(self.packed)
    }

    /// Whether there is room for packets, where there are any.
    pub(crate) fn has_packets(&self) -> bool {
        let there = self.packets[..self.ranks as usize].iter().all(|packets| !packets.is_null());
        self.packed == 0 || there && self.packed.is_multiple_of(4)
    }
}

#[cfg(target_arch = "nvptx64")]
pub(crate) use entry::{Packets, Round};

#[cfg(target_arch = "nvptx64")]
mod entry {
    use super::{BLOCKS, MOST_RANKS, Meeting};
    use crate::{Ptr, Role};
    use cuda_std::unroll::unroll;
    use cuda_std::{barrier, global, thread};

    /// Looks at a flag between two looks at the word of the host, which is far away.
    const LOOKS: u32 = 64;
    /// Of threads that wait for packets one after the other looks at that word, so many turns apart: all at once would keep the
    /// bus to the host busy for milliseconds.
    const TURNS: u32 = 1024;

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

        /// Where the part of a rank begins that it brings to this round.
        #[inline(always)]
        pub fn parts(self, meeting: &Meeting, rank: u32) -> u64 {
            of_rank(&meeting.parts, rank) + self.half
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
        /// The block reads no part any more, and all its threads have begun.
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
                    if looks % LOOKS == 0 && gives_up(meeting, other) {
                        return false;
                    }
                }
            }
            true
        }
    }

    /// A launch's packets: two values and the epoch beside each, 16 bytes, which whoever waits for them looks at until both
    /// epochs are this one. So a value is its own flag: nothing is released, and one way to the other GPU is all that passes.
    #[derive(Clone, Copy)]
    pub struct Packets {
        epoch: u32,
        /// Where the half begins that this epoch uses, bytes.
        half: u64,
        /// From a rank's packets to the next one's.
        apart: u64,
        /// Where those for this rank begin.
        own: u64,
    }

    impl Packets {
        /// Those of a round.
        #[inline(always)]
        pub fn new(meeting: &Meeting, round: Round) -> Packets {
            let apart = 8 * u64::from(meeting.packed);
            let half = u64::from(round.epoch % 2) * u64::from(meeting.ranks) * apart;
            Packets { epoch: round.epoch, half, apart, own: of_rank(&meeting.packets, meeting.rank) + half }
        }

        /// Says that this rank is there: for the host, which looks who is late.
        ///
        /// # Safety
        /// The flags are there.
        #[inline(always)]
        pub unsafe fn announce(self, meeting: &Meeting) {
            let other = thread::thread_idx_x();
            if other < meeting.ranks {
                let row = MOST_RANKS as u64 * block() + 4 * u64::from(meeting.rank);
                // SAFETY: the word is within the flags.
                unsafe { global::store_volatile(of_rank(&meeting.flags, other) + row, self.epoch) };
            }
        }

        /// Sends four neighbours to all other ranks.
        ///
        /// # Safety
        /// The packets have room for group `quad`.
        #[inline(always)]
        pub unsafe fn send(self, meeting: &Meeting, quad: u32, values: [f32; 4]) {
            let epoch = u64::from(self.epoch) << 32;
            let [a, b, c, d] = values.map(|value| u64::from(value.to_bits()) | epoch);
            unroll::<MOST_RANKS>(|r| {
                if (r as u32) < meeting.ranks && r as u32 != meeting.rank {
                    let own = self.half + u64::from(meeting.rank) * self.apart;
                    let at = meeting.packets[r].addr + own + 16 * u64::from(quad);
                    // SAFETY: the caller's promise.
                    unsafe {
                        global::store_pair_relaxed_system(at, [a, b]);
                        global::store_pair_relaxed_system(at + self.apart / 2, [c, d]);
                    }
                }
            });
        }

        /// Waits for four neighbours of rank `from`, another one; none if the wait was ended.
        ///
        /// # Safety
        /// As of [`Packets::send`].
        #[inline(always)]
        pub unsafe fn receive(self, meeting: &Meeting, from: u32, quad: u32) -> Option<[f32; 4]> {
            let address = self.own + u64::from(from) * self.apart + 16 * u64::from(quad);
            let turn = (BLOCKS * thread::thread_idx_x() + thread::block_idx_x()) % TURNS;
            let (mut looks, mut asks) = (0, LOOKS * (turn + 1));
            loop {
                // SAFETY: the caller's promise; the words are those of the host.
                unsafe {
                    let (values, there) = self.look(address);
                    if there {
                        return Some(values);
                    }
                    looks += 1;
                    if looks == asks {
                        if gives_up(meeting, from) {
                            return None;
                        }
                        asks += LOOKS * TURNS;
                    }
                }
            }
        }

        /// Four neighbours, whose packets begin at `address`, and whether they are of this epoch.
        ///
        /// # Safety
        /// There is room for them.
        #[inline(always)]
        unsafe fn look(self, address: u64) -> ([f32; 4], bool) {
            // SAFETY: the caller's promise.
            let [[a, b], [c, d]] =
                unsafe { [address, address + self.apart / 2].map(|at| global::load_pair_relaxed_system(at)) };
            let words = [a, b, c, d];
            let differs = words.iter().fold(0, |differs, word| differs | (word >> 32) as u32 ^ self.epoch);
            (words.map(|word| f32::from_bits(word as u32)), differs == 0)
        }
    }

    /// Whether the host ends the wait for rank `other`; the first that a rank waited for in vain is kept.
    ///
    /// # Safety
    /// The words of the host are there.
    #[inline(always)]
    unsafe fn gives_up(meeting: &Meeting, other: u32) -> bool {
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
