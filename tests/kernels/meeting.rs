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
) -> Meeting {
    let capacity = count.next_multiple_of(4) + 8;
    let mut meeting = Meeting {
        parts: [Ptr::NULL; MOST_RANKS],
        flags: [Ptr::NULL; MOST_RANKS],
        epochs: data.integers("epochs", vec![launches; BLOCKS as usize]),
        abort: data.integers("abort", vec![i32::from(missing.is_some())]),
        fault: data.integers("fault", vec![0]),
        rank: rank as u32,
        ranks: ranks as u32,
        capacity: capacity as u32,
    };
    for other in 0..ranks {
        meeting.parts[other] = data.reals("parts", random.reals(2 * capacity, 1.0));
        meeting.flags[other] = data.integers("flags", flags(launches, missing));
    }
    meeting
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
    let half = if epoch % 2 == 0 { 0 } else { meeting.capacity as usize };
    let mut written = Vec::new();
    let mut parts = vec![Want::Kept; 2 * meeting.capacity as usize];
    parts[half..half + x.len()].iter_mut().zip(x).for_each(|(want, x)| *want = Want::exact(*x));
    written.push(Written::new(meeting.parts[rank], parts));
    for flags in &meeting.flags[..ranks] {
        let mut wants = vec![Want::Kept; BLOCKS as usize * MOST_RANKS];
        wants.iter_mut().skip(rank).step_by(MOST_RANKS).for_each(|want| *want = Want::exact(f64::from(epoch)));
        written.push(Written::new(*flags, wants));
    }
    let own = data.i32s(meeting.flags[rank]);
    if let Some(late) = (0..ranks).find(|r| *r != rank && own[*r].wrapping_sub(epoch) < 0) {
        written.push(Written::new(meeting.fault, vec![Want::exact(late as f64 + 1.0)]));
        return (written, None);
    }
    written.push(Written::new(meeting.epochs, vec![Want::exact(f64::from(epoch)); BLOCKS as usize]));
    let brought =
        |r: usize| if r == rank { x.to_vec() } else { data.f64s(meeting.parts[r])[half..][..x.len()].to_vec() };
    (written, Some((0..ranks).map(brought).collect()))
}
