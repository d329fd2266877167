//! Rows of `all_gather_packets`: one rank whose others have come. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::{PacketAllGather, Ptr};

use crate::data::Data;
use crate::meeting::{By, Place, meeting, sent};
use crate::mutants::{Defect, EDGE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Ranks and this one; rows, columns of a rank, launches so far; whether they are activations.
type Shape = (Place, usize, usize, i32, bool);

const SHAPES: [Shape; 16] = [
    ((1, 0), 1, 4, 0, false),
    ((2, 0), 1, 1089, 0, false),
    ((2, 1), 3, 20, 1, true),
    ((3, 1), 2, 101, 6, false),
    ((4, 3), 5, 44, 7, false),
    ((5, 2), 1, 260, 2, true),
    ((6, 5), 2, 131, 9, false),
    ((8, 0), 1, 64, -2, true),
    ((8, 7), 3, 53, i32::MAX, false),
    ((7, 4), 2, 36, -1, true),
    ((2, 1), 3, 22, 5, true),
    ((3, 2), 1, 2, 5, true),
    ((2, 0), 3, 1, 4, false),
    ((2, 1), 9, 7304, 4, true),
    ((2, 0), 1, 65_663, 3, false),
    ((2, 1), 2, 32_832, 3, false),
];

pub fn rows() -> Vec<Row<PacketAllGather>> {
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape, None));
    told.chain([row(90, SHAPES[2], Some(0)), row(91, SHAPES[3], Some(0))]).collect()
}

/// One with a rank that is missing is told to give up.
fn row(seed: u64, shape: Shape, missing: Option<usize>) -> Row<PacketAllGather> {
    let (place, rows, n, launches, act) = shape;
    let (mut data, mut random, count) = (Data::default(), Random::new(seed), rows * n);
    let values = if act { 2 } else { 1 };
    // Room for whole groups, and for no more where there are many: a group too many is waited for in vain.
    let sent = (of_groups(count, act).saturating_sub(8 * values), launches, missing);
    let meeting = meeting(&mut data, &mut random, place, sent, By::Packets(values));
    let part = random.reals(count, 1.0);
    let (x, x_act, y, y_f32) = match act {
        true => (Ptr::NULL, data.reals("x", part), data.undefined("y", place.0 * count), Ptr::NULL),
        false => (data.reals("x", part), Ptr::NULL, Ptr::NULL, data.undefined("y", place.0 * count)),
    };
    let kernel = PacketAllGather { x, x_act, y, y_f32, meeting, rows: rows as u32, n: n as u32 };
    Row { name: format!("{shape:?}, missing {missing:?}"), kernel, data }
}

/// Values of whole groups of 4 words that hold so many.
fn of_groups(count: usize, act: bool) -> usize {
    count.next_multiple_of(if act { 8 } else { 4 })
}

impl Oracle for PacketAllGather {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let act = self.x.is_null();
        let mut x = if act { data.f64s(self.x_act) } else { data.f64s(self.x) };
        let (n, count) = (self.n as usize, of_groups(x.len(), act));
        x.resize(count, 0.0);
        let (mut written, parts) = sent(&self.meeting, data, Some(&x), (count, if act { 2 } else { 1 }));
        let Some(parts) = parts else { return written };
        let row = |row: usize| parts.iter().flat_map(move |part| &part[row * n..][..n]);
        let wants = (0..self.rows as usize).flat_map(row).map(|value| Want::exact(*value)).collect();
        written.push(if act { Written::new(self.y, wants) } else { Written::new(self.y_f32, wants) });
        written
    }
}
