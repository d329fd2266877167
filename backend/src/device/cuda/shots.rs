//! Meetings of so many rows that packets have no room for all of them: some rows at a time.
use gpu_kernels::{OneShotAllReduce, PacketAllGather, Ptr, Role};

/// The first of `rows` rows of so many words, and how many there are, of each part for which `packed` packets have room in whole groups
/// of 4: as many as that is, but one at least.
pub fn row_ranges(rows: u32, words: u64, packed: u32) -> impl Iterator<Item = (u32, u32)> {
    let most = (u64::from(packed) / words.max(1)).clamp(1, u64::from(rows)) as u32;
    (0..rows).step_by(most as usize).map(move |first| (first, most.min(rows - first)))
}

/// The sum of some rows alone.
pub fn rows_of_sum(sum: OneShotAllReduce, first: u32, rows: u32) -> OneShotAllReduce {
    let before = u64::from(first) * u64::from(sum.n);
    let OneShotAllReduce { x, x_act, residual, y, .. } = sum;
    let [x_act, residual, y] = [x_act, residual, y].map(|place| further(place, before));
    OneShotAllReduce { x: further(x, before), x_act, residual, y, rows, ..sum }
}

/// The gathering of some rows alone.
pub fn rows_of_gathering(all: PacketAllGather, first: u32, rows: u32) -> PacketAllGather {
    let before = u64::from(first) * u64::from(all.n);
    let (of_rank, of_all) = (before, before * u64::from(all.meeting.ranks));
    PacketAllGather {
        x: further(all.x, of_rank),
        x_act: further(all.x_act, of_rank),
        y: further(all.y, of_all),
        y_f32: further(all.y_f32, of_all),
        rows,
        ..all
    }
}

/// The pointer so many elements on; null stays.
fn further<R: Role>(place: Ptr<R>, elements: u64) -> Ptr<R> {
    if place.is_null() { place } else { place.offset(elements) }
}

#[cfg(test)]
mod tests {
    use gpu_kernels::Act;
    use gpu_kernels::all_reduce::meeting::{MOST_RANKS, Meeting};

    use super::*;

    const MEETING: Meeting = Meeting {
        flags: [Ptr::NULL; MOST_RANKS],
        packets: [Ptr::NULL; MOST_RANKS],
        epochs: Ptr::NULL,
        abort: Ptr::NULL,
        fault: Ptr::NULL,
        rank: 1,
        ranks: 3,
        packed: 1000,
    };

    #[test]
    fn rows_go_in_as_few_shots_as_packets_have_room_for() {
        let ranges = |rows, words, packed| row_ranges(rows, words, packed).collect::<Vec<_>>();
        assert_eq!(ranges(3, 100, 1000), [(0, 3)]);
        assert_eq!(ranges(20, 100, 1000), [(0, 10), (10, 10)]);
        assert_eq!(ranges(21, 101, 1000), [(0, 9), (9, 9), (18, 3)]);
        assert_eq!(ranges(2, 1001, 1000), [(0, 1), (1, 1)], "the kernel says that there is no room");
    }

    #[test]
    fn some_rows_stand_behind_those_before_them() {
        let [x_act, y, residual] = [1, 2, 3].map(|buffer| Ptr::<Act>::new(buffer, 8));
        let (x, bias, meeting) = (Ptr::NULL, Ptr::new(4, 5), MEETING);
        let sum = OneShotAllReduce { x, x_act, sent: 0, bias, residual, y, meeting, rows: 50, n: 40 };
        let some = rows_of_sum(sum, 7, 5);
        let places = [some.x_act, some.residual, some.y].map(Ptr::target);
        assert_eq!(places, [Some((1, 288)), Some((3, 288)), Some((2, 288))]);
        assert_eq!((some.bias.target(), some.x.is_null(), some.rows, some.n), (Some((4, 5)), true, 5, 40));
        let gathering = PacketAllGather { x: Ptr::NULL, x_act, y, y_f32: Ptr::NULL, meeting: MEETING, rows: 50, n: 40 };
        let some = rows_of_gathering(gathering, 7, 5);
        assert_eq!((some.x_act.target(), some.y.target()), (Some((1, 288)), Some((2, 848))));
        assert_eq!((some.x.is_null(), some.y_f32.is_null(), some.rows), (true, true, 5));
    }
}
