//! What one rank does where it meets the others: they have come, or they do not and it is told to give up.
use gpu_kernels::Ptr;
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting, Outbox};
use half::bf16;

use crate::device::Memory;

/// Says that this rank is in its next epoch, and returns whether the others have come to it.
///
/// # Panics
/// If a rank has not come and nobody gives up: nobody else runs here.
pub fn meet(meeting: &Meeting, memory: &Memory) -> bool {
    let epoch = begin(meeting, memory);
    let flags = memory.read::<i32>(meeting.flags[meeting.rank as usize], MOST_RANKS).to_vec();
    let late = (0..meeting.ranks as usize).find(|rank| flags[*rank].wrapping_sub(epoch) < 0);
    ended(meeting, memory, late.map_or(Ok(()), Err)).is_some()
}

/// Where the packets of a rank stand in an epoch.
#[derive(Clone, Copy)]
struct Packets {
    epoch: i32,
    ranks: usize,
    packed: usize,
}

impl Packets {
    /// Of the next epoch.
    fn next(memory: &Memory, outbox: &Outbox) -> Packets {
        let epoch = memory.read::<i32>(outbox.epochs, 1)[0].wrapping_add(1);
        Packets { epoch, ranks: outbox.ranks as usize, packed: outbox.packed as usize }
    }

    /// Of four neighbours, two stand in each half of a rank's packets.
    fn place(self, from: usize, i: usize) -> usize {
        let half = if self.epoch % 2 == 0 { 0 } else { self.ranks };
        2 * self.packed * (half + from) + i / 2 % 2 * self.packed + i / 4 * 4 + i % 2 * 2
    }

    /// Integers of all packets of a rank.
    fn words(self) -> usize {
        4 * self.ranks * self.packed
    }

    /// So many words of a rank, if all are of this epoch.
    fn come(self, come: &[i32], from: usize, count: usize) -> Option<Vec<u32>> {
        let words = (0..count).map(|i| &come[self.place(from, i)..][..2]);
        words.map(|packet| (packet[1] == self.epoch).then_some(packet[0] as u32)).collect()
    }

    fn send(self, memory: &Memory, to: Ptr<i32>, from: usize, words: &[u32]) {
        let mut to = memory.write::<i32>(to, self.words());
        for (i, word) in words.iter().enumerate() {
            to[self.place(from, i)..][..2].copy_from_slice(&[*word as i32, self.epoch]);
        }
    }
}

/// Sends all ranks, this one too, the packets of the next meeting.
pub fn send_ahead(outbox: &Outbox, memory: &Memory, words: &[u32]) {
    let packets = Packets::next(memory, outbox);
    let all = outbox.packets[..outbox.ranks as usize].iter();
    all.for_each(|to| packets.send(memory, *to, outbox.rank as usize, words));
}

/// Values as words that hold one or two of them.
pub fn words(values: &[f32], of_word: u32) -> Vec<u32> {
    match of_word {
        1 => values.iter().map(|value| value.to_bits()).collect(),
        _ => values.chunks(2).map(pair).collect(),
    }
}

/// So many words of each rank, which all have sent ahead; none where a wait was ended.
///
/// # Panics
/// As of [`meet`].
pub fn receive(meeting: &Meeting, memory: &Memory, count: usize) -> Option<Vec<Vec<u32>>> {
    let packets = Packets::next(memory, &meeting.outbox());
    begin(meeting, memory);
    let come = memory.read::<i32>(meeting.packets[meeting.rank as usize], packets.words()).to_vec();
    let from = |from: usize| packets.come(&come, from, count).ok_or(from);
    ended(meeting, memory, (0..meeting.ranks as usize).map(from).collect())
}

/// Sends this rank's part, if it is not sent yet, as packets of one or two values in a word, and returns those of all, of `count`
/// values, in the order of the ranks; none where a wait was ended.
///
/// # Panics
/// As of [`meet`].
pub fn exchange(
    meeting: &Meeting,
    memory: &Memory,
    own: Option<&[f32]>,
    (count, values_of_word): (usize, u32),
) -> Option<Vec<Vec<f32>>> {
    let packets = Packets::next(memory, &meeting.outbox());
    begin(meeting, memory);
    let (ranks, rank) = (meeting.ranks as usize, meeting.rank as usize);
    if let Some(own) = own {
        let words = words(own, values_of_word);
        let others = (0..ranks).filter(|to| *to != rank);
        others.for_each(|to| packets.send(memory, meeting.packets[to], rank, &words));
    }
    let come = memory.read::<i32>(meeting.packets[rank], packets.words()).to_vec();
    let from = |from: usize| {
        if let Some(own) = own.filter(|_| from == rank) {
            return Ok(own.to_vec());
        }
        let words = packets.come(&come, from, count / values_of_word as usize).ok_or(from)?;
        Ok(match values_of_word {
            1 => words.into_iter().map(f32::from_bits).collect(),
            _ => words.into_iter().flat_map(values).collect(),
        })
    };
    ended(meeting, memory, (0..ranks).map(from).collect())
}

/// The first of two neighbours in the low half.
fn pair(values: &[f32]) -> u32 {
    let [low, high] = [values[0], values[1]].map(|value| u32::from(bf16::from_f32(value).to_bits()));
    low | high << 16
}

fn values(word: u32) -> [f32; 2] {
    [word as u16, (word >> 16) as u16].map(|bits| bf16::from_bits(bits).to_f32())
}

/// Tells all ranks that this one is in its next epoch, and counts it.
fn begin(meeting: &Meeting, memory: &Memory) -> i32 {
    let epoch = memory.read::<i32>(meeting.epochs, 1)[0].wrapping_add(1);
    for flags in &meeting.flags[..meeting.ranks as usize] {
        for row in memory.write::<i32>(*flags, BLOCKS as usize * MOST_RANKS).chunks_mut(MOST_RANKS) {
            row[meeting.rank as usize] = epoch;
        }
    }
    memory.write::<i32>(meeting.epochs, BLOCKS as usize).fill(epoch);
    epoch
}

/// What a wait brought; where it was ended, the rank that is late is noted.
fn ended<T>(meeting: &Meeting, memory: &Memory, brought: Result<T, usize>) -> Option<T> {
    if let Err(late) = brought {
        assert_ne!(memory.read::<i32>(meeting.abort, 1)[0], 0, "rank {late} does not come, and nobody gives up");
        memory.write::<i32>(meeting.fault, 1)[0] = late as i32 + 1;
    }
    brought.ok()
}
