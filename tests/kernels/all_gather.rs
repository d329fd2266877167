//! Rows of `all_gather`: one rank whose others have come. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::all_reduce::meeting::MOST_RANKS;
use gpu_kernels::{OneShotAllGather, Ptr};

use crate::data::Data;
use crate::meeting::{By, Place, meeting, met_twice};
use crate::mutants::{Defect, EDGE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Ranks and this one; rows, columns of a rank, launches so far; whether they are activations.
type Shape = (Place, usize, usize, i32, bool);

const SHAPES: [Shape; 15] = [
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
    ((2, 1), 9, 7304, 4, true),
    ((2, 0), 3, 5501, 3, false),
    ((2, 1), 5, 32776, 4, true),
    ((2, 0), 5, 16388, 3, true),
];

pub fn rows() -> Vec<Row<OneShotAllGather>> {
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape, None));
    told.chain([row(90, SHAPES[1], Some(1)), row(91, SHAPES[4], Some(0))]).collect()
}

/// One with a rank that is missing is told to give up.
fn row(seed: u64, shape: Shape, missing: Option<usize>) -> Row<OneShotAllGather> {
    let (place, rows, n, launches, act) = shape;
    let (mut data, mut random, count) = (Data::default(), Random::new(seed), rows * n);
    let part = random.reals(count, 1.0);
    let (x, x_act) = match act {
        true => (Ptr::NULL, data.reals("x", part)),
        false => (data.reals("x", part), Ptr::NULL),
    };
    let (mut y, mut y_f32) = ([Ptr::NULL; MOST_RANKS], [Ptr::NULL; MOST_RANKS]);
    for rank in 0..place.0 {
        match act {
            true => y[rank] = data.undefined("y", place.0 * count),
            false => y_f32[rank] = data.undefined("y", place.0 * count),
        }
    }
    let meeting = meeting(&mut data, &mut random, place, (count, launches, missing), By::Nothing);
    let kernel = OneShotAllGather { x, x_act, y, y_f32, meeting, rows: rows as u32, n: n as u32 };
    Row { name: format!("{shape:?}, missing {missing:?}"), kernel, data }
}

impl Oracle for OneShotAllGather {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (mut all, came) = met_twice(&self.meeting, data);
        if !came {
            return all;
        }
        let x = if self.x.is_null() { data.f64s(self.x_act) } else { data.f64s(self.x) };
        let (n, ranks, rank) = (self.n as usize, self.meeting.ranks as usize, self.meeting.rank as usize);
        let mut wants = vec![Want::Kept; ranks * x.len()];
        for (row, own) in wants.chunks_mut(ranks * n).zip(x.chunks(n)) {
            row[rank * n..][..n].iter_mut().zip(own).for_each(|(want, x)| *want = Want::exact(*x));
        }
        all.extend((0..ranks).map(|to| match self.x.is_null() {
            true => Written::new(self.y[to], wants.clone()),
            false => Written::new(self.y_f32[to], wants.clone()),
        }));
        all
    }
}
