//! Where ranks meet, as the rows of one of them have it: the others have come, or one does not and it is told to give up.
use gpu_kernels::Ptr;
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting};

use crate::data::Data;
use crate::oracle::{Want, Written};
use crate::random::Random;

/// Ranks, and which of them a row is of.
pub type Place = (usize, usize);

/// The memory of a meeting of `count` elements, the launches so far, and who does not come.
pub fn meeting(
    data: &mut Data,
    random: &mut Random,
    (ranks, rank): Place,
    (count, launches, missing): (usize, i32, Option<usize>),
    as_packets: bool,
) -> Meeting {
    let capacity = count.next_multiple_of(4) + 8;
    let mut meeting = Meeting {
        parts: [Ptr::NULL; MOST_RANKS],
        flags: [Ptr::NULL; MOST_RANKS],
        packets: [Ptr::NULL; MOST_RANKS],
        epochs: data.integers("epochs", vec![launches; BLOCKS as usize]),
        abort: data.integers("abort", vec![i32::from(missing.is_some())]),
        fault: data.integers("fault", vec![0]),
        rank: rank as u32,
        ranks: ranks as u32,
        capacity: capacity as u32,
        packed: if as_packets { capacity as u32 } else { 0 },
    };
    for other in 0..ranks {
        meeting.parts[other] = data.reals("parts", random.reals(2 * capacity, 1.0));
        meeting.flags[other] = data.integers("flags", flags(launches, missing));
        if as_packets {
            let words = (0..ranks).map(|_| random.reals(2 * capacity, 1.0)).collect::<Vec<_>>();
            meeting.packets[other] = data.integers("packets", packets(&words, launches, missing));
        }
    }
    meeting
}

/// Packets of all ranks, in both halves: those of this epoch, but for a rank that is missing, and those of the one before.
fn packets(values: &[Vec<f32>], launches: i32, missing: Option<usize>) -> Vec<i32> {
    let half = |epoch: i32| {
        let packets = move |(rank, values): (usize, &Vec<f32>)| {
            let epoch = if Some(rank) == missing { epoch.wrapping_sub(2) } else { epoch };
            let (first, second) = values.split_at(values.len() / 2);
            let values = if epoch % 2 == 0 { first } else { second };
            values.iter().flat_map(|value| [value.to_bits() as i32, epoch]).collect::<Vec<_>>()
        };
        values.iter().enumerate().flat_map(packets).collect::<Vec<_>>()
    };
    let epoch = launches.wrapping_add(1);
    let other = epoch.wrapping_sub(1);
    let (even, odd) = if epoch % 2 == 0 { (epoch, other) } else { (other, epoch) };
    [half(even), half(odd)].concat()
}

/// Every rank has come, some are ahead; but not the missing one, nor this one yet.
fn flags(launches: i32, missing: Option<usize>) -> Vec<i32> {
    let come = |at: usize| match at % MOST_RANKS {
        rank if Some(rank) == missing => launches,
        rank => launches.wrapping_add(1 + rank as i32 % 2),
    };
    (0..BLOCKS as usize * MOST_RANKS).map(come).collect()
}

/// What a meeting writes where this rank brings `x`, and the parts of all ranks; none of those where one did not come.
pub fn written(meeting: &Meeting, data: &Data, x: &[f64]) -> (Vec<Written>, Option<Vec<Vec<f64>>>) {
    let (ranks, rank) = (meeting.ranks as usize, meeting.rank as usize);
    let epoch = data.i32s(meeting.epochs)[0].wrapping_add(1);
    let mut written = Vec::new();
    for flags in &meeting.flags[..ranks] {
        let mut wants = vec![Want::Kept; BLOCKS as usize * MOST_RANKS];
        wants.iter_mut().skip(rank).step_by(MOST_RANKS).for_each(|want| *want = Want::exact(f64::from(epoch)));
        written.push(Written::new(*flags, wants));
    }
    written.push(Written::new(meeting.epochs, vec![Want::exact(f64::from(epoch)); BLOCKS as usize]));
    let parts = match meeting.packed {
        0 => brought(meeting, data, x, epoch, &mut written),
        _ => sent(meeting, data, x, epoch, &mut written),
    };
    if let Err(late) = parts {
        written.push(Written::new(meeting.fault, vec![Want::exact(late as f64 + 1.0)]));
    }
    (written, parts.ok())
}

/// By memory that all read; or who is late.
fn brought(
    meeting: &Meeting,
    data: &Data,
    x: &[f64],
    epoch: i32,
    written: &mut Vec<Written>,
) -> Result<Vec<Vec<f64>>, usize> {
    let (ranks, rank) = (meeting.ranks as usize, meeting.rank as usize);
    let half = if epoch % 2 == 0 { 0 } else { meeting.capacity as usize };
    let mut parts = vec![Want::Kept; 2 * meeting.capacity as usize];
    parts[half..half + x.len()].iter_mut().zip(x).for_each(|(want, x)| *want = Want::exact(*x));
    written.push(Written::new(meeting.parts[rank], parts));
    let own = data.i32s(meeting.flags[rank]);
    if let Some(late) = (0..ranks).find(|r| *r != rank && own[*r].wrapping_sub(epoch) < 0) {
        return Err(late);
    }
    let brought =
        |r: usize| if r == rank { x.to_vec() } else { data.f64s(meeting.parts[r])[half..][..x.len()].to_vec() };
    Ok((0..ranks).map(brought).collect())
}

/// By packets; or who is late.
fn sent(
    meeting: &Meeting,
    data: &Data,
    x: &[f64],
    epoch: i32,
    written: &mut Vec<Written>,
) -> Result<Vec<Vec<f64>>, usize> {
    let (ranks, rank, packed) = (meeting.ranks as usize, meeting.rank as usize, meeting.packed as usize);
    let words = |from: usize| 2 * packed * (from + if epoch % 2 == 0 { 0 } else { ranks })..;
    for to in (0..ranks).filter(|to| *to != rank) {
        let mut wants = vec![Want::Kept; 4 * ranks * packed];
        let own = wants[words(rank)].as_chunks_mut::<2>().0;
        let (low, high) = own.split_at_mut(packed / 2);
        let pairs = x.as_chunks::<4>().0.iter().enumerate().flat_map(|(i, [a, b, c, d])| [(2 * i, [[a, b], [c, d]])]);
        for (at, [first, second]) in pairs {
            for (place, pair) in [(&mut low[at..], first), (&mut high[at..], second)] {
                for (packet, value) in place.iter_mut().zip(pair) {
                    *packet = [(*value as f32).to_bits() as i32, epoch].map(|word| Want::exact(f64::from(word)));
                }
            }
        }
        written.push(Written::new(meeting.packets[to], wants));
    }
    let come = data.i32s(meeting.packets[rank]);
    let values = |from: usize| {
        let packets = come[words(from)][..2 * packed].as_chunks::<2>().0;
        let quads = (0..x.len() / 4).flat_map(|i| [2 * i, 2 * i + 1, packed / 2 + 2 * i, packed / 2 + 2 * i + 1]);
        let of = |at: usize| (packets[at][1] == epoch).then(|| f64::from(f32::from_bits(packets[at][0] as u32)));
        quads.map(of).collect::<Option<Vec<f64>>>().ok_or(from)
    };
    (0..ranks).map(|from| if from == rank { Ok(x.to_vec()) } else { values(from) }).collect()
}
