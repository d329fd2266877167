//! Where ranks meet, as the rows of one of them have it: the others have come, or one does not and it is told to give up.
use gpu_kernels::Ptr;
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting, Outbox};

use crate::data::Data;
use crate::oracle::{Want, Written};
use crate::random::Random;

/// Ranks, and which of them a row is of.
pub type Place = (usize, usize);

/// How ranks bring what they have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum By {
    /// As packets, with so many values in a word.
    Packets(usize),
    /// Where it stands. They meet twice.
    Nothing,
}

/// The memory of a meeting of `count` elements, the launches so far, and who does not come.
pub fn meeting(
    data: &mut Data,
    random: &mut Random,
    (ranks, rank): Place,
    (count, launches, missing): (usize, i32, Option<usize>),
    by: By,
) -> Meeting {
    let packed = if let By::Packets(values) = by { count / values + 8 } else { 0 };
    let mut meeting = Meeting {
        flags: [Ptr::NULL; MOST_RANKS],
        packets: [Ptr::NULL; MOST_RANKS],
        epochs: data.integers("epochs", vec![launches; BLOCKS as usize]),
        abort: data.integers("abort", vec![i32::from(missing.is_some())]),
        fault: data.integers("fault", vec![0]),
        rank: rank as u32,
        ranks: ranks as u32,
        packed: packed as u32,
    };
    let come = if by == By::Nothing { launches.wrapping_add(1) } else { launches };
    for other in 0..ranks {
        meeting.flags[other] = data.integers("flags", flags(come, (launches, missing)));
        if let By::Packets(values) = by {
            let words = (0..ranks).map(|_| words(&random.reals(2 * values * packed, 1.0), values)).collect::<Vec<_>>();
            meeting.packets[other] = data.integers("packets", packets(&words, launches, missing));
        }
    }
    meeting
}

/// Values as words that hold so many.
fn words(values: &[f32], of_word: usize) -> Vec<u32> {
    match of_word {
        1 => values.iter().map(|value| value.to_bits()).collect(),
        // bf16 is the upper half of an f32; the first value is in the lower half of the word.
        _ => values.as_chunks::<2>().0.iter().map(|[a, b]| a.to_bits() >> 16 | b.to_bits()).collect(),
    }
}

/// The values of a word.
fn values(word: u32, of_word: usize) -> Vec<f64> {
    let bits = if of_word == 1 { vec![word] } else { vec![word << 16, word & 0xffff_0000] };
    bits.into_iter().map(|bits| f64::from(f32::from_bits(bits))).collect()
}

/// Packets of all ranks, in both halves: those of this epoch, but for a rank that is missing, and those of the one before.
fn packets(words: &[Vec<u32>], launches: i32, missing: Option<usize>) -> Vec<i32> {
    let half = |epoch: i32| {
        let packets = move |(rank, words): (usize, &Vec<u32>)| {
            let epoch = if Some(rank) == missing { epoch.wrapping_sub(2) } else { epoch };
            let (first, second) = words.split_at(words.len() / 2);
            let words = if epoch % 2 == 0 { first } else { second };
            words.iter().flat_map(|word| [*word as i32, epoch]).collect::<Vec<_>>()
        };
        words.iter().enumerate().flat_map(packets).collect::<Vec<_>>()
    };
    let epoch = launches.wrapping_add(1);
    let other = epoch.wrapping_sub(1);
    let (even, odd) = if epoch % 2 == 0 { (epoch, other) } else { (other, epoch) };
    [half(even), half(odd)].concat()
}

/// Every rank has come so often and once more, some are ahead; but not the missing one, nor this one yet.
fn flags(come: i32, (launches, missing): (i32, Option<usize>)) -> Vec<i32> {
    let come = |at: usize| match at % MOST_RANKS {
        rank if Some(rank) == missing => launches,
        rank => come.wrapping_add(1 + rank as i32 % 2),
    };
    (0..BLOCKS as usize * MOST_RANKS).map(come).collect()
}

/// What `times` meetings write of flags and epochs; the fault where a rank is `late`.
fn met(meeting: &Meeting, data: &Data, times: i32, late: Option<usize>) -> Vec<Written> {
    let epoch = data.i32s(meeting.epochs)[0].wrapping_add(times);
    let mut written = Vec::new();
    for flags in &meeting.flags[..meeting.ranks as usize] {
        let mut wants = vec![Want::Kept; BLOCKS as usize * MOST_RANKS];
        let own = wants.iter_mut().skip(meeting.rank as usize).step_by(MOST_RANKS);
        own.for_each(|want| *want = Want::exact(f64::from(epoch)));
        written.push(Written::new(*flags, wants));
    }
    written.push(Written::new(meeting.epochs, vec![Want::exact(f64::from(epoch)); BLOCKS as usize]));
    if let Some(late) = late {
        written.push(Written::new(meeting.fault, vec![Want::exact(late as f64 + 1.0)]));
    }
    written
}

/// Who is late by the flags.
fn late(meeting: &Meeting, data: &Data) -> Option<usize> {
    let (rank, epoch) = (meeting.rank as usize, data.i32s(meeting.epochs)[0].wrapping_add(1));
    let own = data.i32s(meeting.flags[rank]);
    (0..meeting.ranks as usize).find(|r| *r != rank && own[*r].wrapping_sub(epoch) < 0)
}

/// What ranks write that meet in front of what they do and behind it, and whether all have come.
pub fn met_twice(meeting: &Meeting, data: &Data) -> (Vec<Written>, bool) {
    let late = late(meeting, data);
    (met(meeting, data, if late.is_some() { 1 } else { 2 }, late), late.is_none())
}

/// Where the packets of a rank stand in an epoch.
#[derive(Clone, Copy)]
struct Places {
    epoch: i32,
    ranks: usize,
    packed: usize,
}

impl Places {
    fn of(data: &Data, outbox: &Outbox) -> Places {
        let epoch = data.i32s(outbox.epochs)[0].wrapping_add(1);
        Places { epoch, ranks: outbox.ranks as usize, packed: outbox.packed as usize }
    }

    /// Of four neighbours, two stand in each half of a rank's packets.
    fn at(self, from: usize, i: usize) -> usize {
        let half = if self.epoch % 2 == 0 { 0 } else { self.ranks };
        2 * (self.packed * (half + from) + i / 2 % 2 * (self.packed / 2) + i / 4 * 2 + i % 2)
    }

    /// So many words of a rank, if all are of this epoch.
    fn come(self, come: &[i32], from: usize, count: usize) -> Option<Vec<u32>> {
        let packets = (0..count).map(|i| &come[self.at(from, i)..][..2]);
        packets.map(|packet| (packet[1] == self.epoch).then_some(packet[0].cast_unsigned())).collect()
    }

    /// What a rank finds of another that sent such words.
    fn written(self, to: Ptr<i32>, from: usize, words: impl Iterator<Item = Want>) -> Written {
        let mut wants = vec![Want::Kept; 4 * self.ranks * self.packed];
        for (i, word) in words.enumerate() {
            wants[self.at(from, i)..][..2].clone_from_slice(&[word, Want::exact(f64::from(self.epoch))]);
        }
        Written::new(to, wants)
    }
}

/// What a kernel in front of a meeting writes that sends such words.
pub fn sent_ahead(outbox: &Outbox, data: &Data, words: &[Want]) -> Vec<Written> {
    let places = Places::of(data, outbox);
    let ranks = outbox.packets[..places.ranks].iter();
    ranks.map(|to| places.written(*to, outbox.rank as usize, words.iter().copied())).collect()
}

/// What a meeting writes that all ranks have sent so many words to, and these; none where one did not come.
pub fn come(meeting: &Meeting, data: &Data, count: usize) -> (Vec<Written>, Option<Vec<Vec<u32>>>) {
    let (ranks, places) = (meeting.ranks as usize, Places::of(data, &meeting.outbox()));
    let come = data.i32s(meeting.packets[meeting.rank as usize]);
    let words: Result<Vec<Vec<u32>>, usize> =
        (0..ranks).map(|from| places.come(come, from, count).ok_or(from)).collect();
    (met(meeting, data, 1, words.as_ref().err().copied()), words.ok())
}

/// What a meeting writes where this rank sends `x` as packets, if it is not sent yet, with so many values in a word, and the parts of
/// all ranks, of `count` values; none of those where one did not come.
pub fn sent(
    meeting: &Meeting,
    data: &Data,
    x: Option<&[f64]>,
    (count, of_word): (usize, usize),
) -> (Vec<Written>, Option<Vec<Vec<f64>>>) {
    let (ranks, rank, places) = (meeting.ranks as usize, meeting.rank as usize, Places::of(data, &meeting.outbox()));
    let come = data.i32s(meeting.packets[rank]);
    let from = |from: usize| {
        if let Some(x) = x.filter(|_| from == rank) {
            return Ok(x.to_vec());
        }
        let words = places.come(come, from, count / of_word).ok_or(from)?;
        Ok(words.into_iter().flat_map(|word| values(word, of_word)).collect())
    };
    let parts: Result<Vec<Vec<f64>>, usize> = (0..ranks).map(from).collect();
    let mut written = met(meeting, data, 1, parts.as_ref().err().copied());
    if let Some(x) = x {
        let words = words(&x.iter().map(|x| *x as f32).collect::<Vec<_>>(), of_word);
        let words = words.iter().map(|word| Want::exact(f64::from(*word as i32)));
        let others = (0..ranks).filter(|to| *to != rank);
        written.extend(others.map(|to| places.written(meeting.packets[to], rank, words.clone())));
    }
    (written, parts.ok())
}
