//! Rows of `all_argmax`: one rank, to which all have sent. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::argmax::{NONE_FINITE, NOT_A_NUMBER};
use gpu_kernels::{OneShotAllArgmax, Ptr};

use crate::data::Data;
use crate::meeting::{By, Place, come, meeting};
use crate::mutants::{Defect, EDGE, TIE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Ranks and this one; rows, launches so far, how many different values there are.
type Shape = (Place, usize, i32, usize);

const SHAPES: [Shape; 9] = [
    ((1, 0), 1, 0, 9),
    ((2, 0), 1, 0, 1),
    ((2, 1), 33, 1, 2),
    ((3, 1), 32, 6, 3),
    ((4, 3), 40, 7, 2),
    ((5, 2), 3, 2, 3),
    ((8, 0), 65, -2, 4),
    ((8, 7), 200, i32::MAX, 5),
    ((2, 1), 16_417, 4, 2),
];

/// Values that stand for a NaN, and for none that is finite.
const ODD: [f32; 2] = [f32::INFINITY, f32::NEG_INFINITY];

pub fn rows() -> Vec<Row<OneShotAllArgmax>> {
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape, None));
    told.chain([row(90, SHAPES[1], Some(1)), row(91, SHAPES[4], Some(0))]).collect()
}

/// One with a rank that is missing is told to give up.
fn row(seed: u64, shape: Shape, missing: Option<usize>) -> Row<OneShotAllArgmax> {
    let (place, rows, launches, levels) = shape;
    let (mut data, mut random) = (Data::default(), Random::new(seed));
    let meeting = meeting(&mut data, &mut random, place, (4 * rows, launches, missing), By::Packets(1));
    // In the packets of this rank, in place of what stands there: a value, an id of that rank's columns, two words of nothing.
    let packets = data.i32s(meeting.packets[place.1]).to_vec();
    let sent = packets.chunks(2).enumerate().flat_map(|(i, packet)| {
        let from = i / meeting.packed as usize % place.0;
        let word = match i % meeting.packed as usize {
            // Of four words the first two stand in the first half.
            i if i >= meeting.packed as usize / 2 => 0,
            i if i % 2 == 0 => match random.below(8) {
                odd @ 0..2 => ODD[odd].to_bits(),
                _ => (random.below(levels) as f32 - 1.0).to_bits(),
            },
            _ => (100 * from + random.below(100)) as u32,
        };
        [word.cast_signed(), packet[1]]
    });
    let sent: Vec<i32> = sent.collect();
    data.set_integers(meeting.packets[place.1], sent);
    let slots = random.permutation(rows + 2)[..rows].iter().map(|slot| *slot as i32).collect();
    let slots: Ptr<i32> = data.integers("slots", slots);
    let [sampled, faults] = ["sampled", "faults"].map(|name| data.integers(name, vec![-7; rows + 2]));
    let kernel = OneShotAllArgmax { slots, sampled, faults, meeting, rows: rows as u32 };
    Row { name: format!("{shape:?}, missing {missing:?}"), kernel, data }
}

impl Oracle for OneShotAllArgmax {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, TIE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (mut written, told) = come(&self.meeting, data, 4 * self.rows as usize);
        let Some(told) = told else { return written };
        let mut sampled = vec![Want::Kept; data.i32s(self.sampled).len()];
        let mut faults = sampled.clone();
        for (row, slot) in data.i32s(self.slots).iter().enumerate() {
            let told: Vec<(f32, u32)> =
                told.iter().map(|words| (f32::from_bits(words[4 * row]), words[4 * row + 1])).collect();
            let max = told.iter().map(|(value, _)| *value).fold(f32::NEG_INFINITY, f32::max);
            let first = told.iter().filter(|(value, _)| *value == max).map(|(_, id)| *id).min().expect("a rank");
            let (id, fault) = match max {
                f32::INFINITY => (0, NOT_A_NUMBER),
                f32::NEG_INFINITY => (0, NONE_FINITE),
                _ => (first, 0),
            };
            sampled[*slot as usize] = Want::exact(f64::from(id));
            faults[*slot as usize] = Want::exact(f64::from(fault));
        }
        written.extend([Written::new(self.sampled, sampled), Written::new(self.faults, faults)]);
        written
    }
}
