//! What one rank does where it meets the others: they have come, or they do not and it is told to give up.
use gpu_kernels::Ptr;
use gpu_kernels::all_reduce::meeting::{BLOCKS, MOST_RANKS, Meeting};

use crate::device::Memory;

/// Brings this rank's part, and returns those of all in the order of the ranks; none where a wait was ended.
///
/// # Panics
/// If a rank has not come and nobody gives up: nobody else runs here.
pub fn meet(meeting: &Meeting, memory: &Memory, own: &[f32]) -> Option<Vec<Vec<f32>>> {
    let epoch = memory.read::<i32>(meeting.epochs, 1)[0].wrapping_add(1);
    let half = if epoch % 2 == 0 { 0 } else { u64::from(meeting.capacity) };
    let of_rank = |parts: &Ptr<f32>| parts.offset(half);
    memory.write::<f32>(of_rank(&meeting.parts[meeting.rank as usize]), own.len()).copy_from_slice(own);
    for flags in &meeting.flags[..meeting.ranks as usize] {
        for row in memory.write::<i32>(*flags, BLOCKS as usize * MOST_RANKS).chunks_mut(MOST_RANKS) {
            row[meeting.rank as usize] = epoch;
        }
    }
    if let Some(late) = late(meeting, memory, epoch) {
        assert_ne!(memory.read::<i32>(meeting.abort, 1)[0], 0, "rank {late} does not come, and nobody gives up");
        memory.write::<i32>(meeting.fault, 1)[0] = late as i32 + 1;
        return None;
    }
    let parts = meeting.parts[..meeting.ranks as usize].iter();
    let parts = parts.map(|parts| memory.read::<f32>(of_rank(parts), own.len()).to_vec()).collect();
    memory.write::<i32>(meeting.epochs, BLOCKS as usize).fill(epoch);
    Some(parts)
}

/// A rank whose part of this epoch is not there.
fn late(meeting: &Meeting, memory: &Memory, epoch: i32) -> Option<usize> {
    let flags = memory.read::<i32>(meeting.flags[meeting.rank as usize], MOST_RANKS);
    (0..meeting.ranks as usize).find(|rank| flags[*rank].wrapping_sub(epoch) < 0)
}
