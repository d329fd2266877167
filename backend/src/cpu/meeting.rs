//! What one rank does where it meets the others: they have come, or they do not and it is told to give up.
use gpu_kernels::Ptr;
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting};

use crate::device::Memory;

/// Brings this rank's part, and returns those of all in the order of the ranks; none where a wait was ended.
///
/// # Panics
/// If a rank has not come and nobody gives up: nobody else runs here.
pub fn meet(meeting: &Meeting, memory: &Memory, own: &[f32], as_packets: bool) -> Option<Vec<Vec<f32>>> {
    let epoch = memory.read::<i32>(meeting.epochs, 1)[0].wrapping_add(1);
    for flags in &meeting.flags[..meeting.ranks as usize] {
        for row in memory.write::<i32>(*flags, BLOCKS as usize * MOST_RANKS).chunks_mut(MOST_RANKS) {
            row[meeting.rank as usize] = epoch;
        }
    }
    let brought = if as_packets { exchange(meeting, memory, own, epoch) } else { bring(meeting, memory, own, epoch) };
    memory.write::<i32>(meeting.epochs, BLOCKS as usize).fill(epoch);
    if let Err(late) = brought {
        assert_ne!(memory.read::<i32>(meeting.abort, 1)[0], 0, "rank {late} does not come, and nobody gives up");
        memory.write::<i32>(meeting.fault, 1)[0] = late as i32 + 1;
    }
    brought.ok()
}

/// By memory that all read; or who is late.
fn bring(meeting: &Meeting, memory: &Memory, own: &[f32], epoch: i32) -> Result<Vec<Vec<f32>>, usize> {
    let half = if epoch % 2 == 0 { 0 } else { u64::from(meeting.capacity) };
    let of_rank = |parts: &Ptr<f32>| parts.offset(half);
    memory.write::<f32>(of_rank(&meeting.parts[meeting.rank as usize]), own.len()).copy_from_slice(own);
    if let Some(late) = late(meeting, memory, epoch) {
        return Err(late);
    }
    let parts = meeting.parts[..meeting.ranks as usize].iter();
    Ok(parts.map(|parts| memory.read::<f32>(of_rank(parts), own.len()).to_vec()).collect())
}

/// By packets, which are words in the order of [`Meeting::packets`]; or who is late.
fn exchange(meeting: &Meeting, memory: &Memory, own: &[f32], epoch: i32) -> Result<Vec<Vec<f32>>, usize> {
    let (ranks, rank, apart) = (meeting.ranks as usize, meeting.rank as usize, 2 * meeting.packed as usize);
    let half = if epoch % 2 == 0 { 0 } else { ranks * apart };
    // Of four neighbours, two stand in each half of a rank's packets.
    let place = |from: usize, i: usize| half + from * apart + i / 2 % 2 * (apart / 2) + i / 4 * 4 + i % 2 * 2;
    let words = 2 * ranks * apart;
    for (_, to) in meeting.packets[..ranks].iter().enumerate().filter(|(to, _)| *to != rank) {
        let mut to = memory.write::<i32>(*to, words);
        for (i, value) in own.iter().enumerate() {
            to[place(rank, i)..][..2].copy_from_slice(&[value.to_bits() as i32, epoch]);
        }
    }
    let come = memory.read::<i32>(meeting.packets[rank], words);
    let from = |from: usize| {
        let packet = |i: usize| &come[place(from, i)..][..2];
        let value = |i: usize| f32::from_bits(packet(i)[0] as u32);
        match (0..own.len()).all(|i| from == rank || packet(i)[1] == epoch) {
            true if from == rank => Ok(own.to_vec()),
            true => Ok((0..own.len()).map(value).collect()),
            false => Err(from),
        }
    };
    (0..ranks).map(from).collect()
}

/// A rank whose part of this epoch is not there.
fn late(meeting: &Meeting, memory: &Memory, epoch: i32) -> Option<usize> {
    let flags = memory.read::<i32>(meeting.flags[meeting.rank as usize], MOST_RANKS);
    (0..meeting.ranks as usize).find(|rank| flags[*rank].wrapping_sub(epoch) < 0)
}
