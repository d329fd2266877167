//! `Packets`: what ranks send each other in a meeting, word by word.
use super::meeting::{BLOCKS, LOOKS, MOST_RANKS, Meeting, Round, block, gives_up, of_rank};
use cuda_std::unroll::unroll;
use cuda_std::{global, thread};

/// Of threads that wait for packets one after the other looks at the word of the host, so many turns apart: all at once would keep the
/// bus to the host busy for milliseconds.
const TURNS: u32 = 1024;

/// A launch's packets: two words and the epoch beside each, 16 bytes, which whoever waits for them looks at until both
/// epochs are this one. So a word is its own flag: nothing is released, and one way to the other GPU is all that passes.
///
/// They may stand in pinned memory of the host too, which the GPUs of all ranks reach over PCIe. A load or store of the system's scope is
/// atomic there where it has a naturally aligned 8 bytes, as a packet is (CUDA's programming guide, "Atomicity"); that of two packets is
/// two of these to the memory model, and may be torn between them: each has an epoch of its own. What PCIe has no atomics for on many
/// hosts, to read and write as one, none of the kernels of a meeting does.
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

    /// Sends four words to all other ranks.
    ///
    /// # Safety
    /// The packets have room for group `quad`.
    #[inline(always)]
    pub unsafe fn send(self, meeting: &Meeting, quad: u32, words: [u32; 4]) {
        let epoch = u64::from(self.epoch) << 32;
        let [a, b, c, d] = words.map(|word| u64::from(word) | epoch);
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

    /// Waits for group `quad` of four words of rank `from` and of the one behind it, nothing where there is none; none if the wait was
    /// ended. This rank's own are `own`, or were sent as those of the others. Both are looked for together: one behind the other, each look
    /// would be waited for.
    ///
    /// # Safety
    /// As of [`Packets::send`].
    #[inline(always)]
    pub unsafe fn receive_of_two(
        self,
        meeting: &Meeting,
        from: u32,
        quad: u32,
        own: Option<[u32; 4]>,
    ) -> Option<[[u32; 4]; 2]> {
        // In one area of the host's memory each look crosses the bus: to ask the host as often costs little beside them.
        let turns = if meeting.packets[0].addr == meeting.packets[1].addr { 1 } else { TURNS };
        let turn = (BLOCKS * thread::thread_idx_x() + thread::block_idx_x()) & (turns - 1);
        let (mut looks, mut asks) = (0, LOOKS * (turn + 1));
        loop {
            // SAFETY: the caller's promise.
            let found = unsafe { [self.look(meeting, from, quad, own), self.look(meeting, from + 1, quad, own)] };
            let there = found.map(|packets| self.are_of_epoch(packets));
            if there[0] & there[1] {
                return Some(found.map(|packets| packets.map(|packet| packet as u32)));
            }
            looks += 1;
            if looks == asks {
                // SAFETY: the words are those of the host.
                if unsafe { gives_up(meeting, if there[0] { from + 1 } else { from }) } {
                    return None;
                }
                asks += LOOKS * turns;
            }
        }
    }

    /// Four words of a rank, each with its epoch; nothing of this epoch where there is no such rank.
    ///
    /// # Safety
    /// As of [`Packets::send`].
    #[inline(always)]
    unsafe fn look(self, meeting: &Meeting, rank: u32, quad: u32, own: Option<[u32; 4]>) -> [u64; 4] {
        let of_epoch = u64::from(self.epoch) << 32;
        if rank >= meeting.ranks {
            return [of_epoch; 4];
        }
        if let Some(words) = own.filter(|_| rank == meeting.rank) {
            return words.map(|word| u64::from(word) | of_epoch);
        }
        // SAFETY: the caller's promise.
        unsafe {
            let address = self.own + u64::from(rank) * self.apart + 16 * u64::from(quad);
            let [a, b] = global::load_pair_relaxed_system(address);
            let [c, d] = global::load_pair_relaxed_system(address + self.apart / 2);
            [a, b, c, d]
        }
    }

    /// Whether four packets are of this epoch.
    #[inline(always)]
    fn are_of_epoch(self, packets: [u64; 4]) -> bool {
        packets.iter().fold(0, |differs, packet| differs | (packet >> 32) as u32 ^ self.epoch) == 0
    }
}
