//! Rows of `all_gather`: one rank whose others have come. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::{OneShotAllGather, Ptr};

use crate::data::Data;
use crate::meeting::{Place, meeting, written};
use crate::mutants::{Defect, EDGE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Ranks and this one; rows, columns of a rank, launches so far; whether they are activations.
type Shape = (Place, usize, usize, i32, bool);

const SHAPES: [Shape; 12] = [
    ((1, 0), 1, 4, 0, false),
    ((2, 0), 1, 1089, 0, false),
    ((2, 1), 3, 20, 1, true),
    ((3, 1), 2, 101, 6, false),
    ((4, 3), 5, 44, 7, false),
    ((5, 2), 1, 260, 2, true),
    ((6, 5), 2, 131, 9, false),
    ((8, 0), 1, 64, -2, true),
    ((8, 7), 3, 53, i32::MAX, false),
    ((7, 4), 2, 36, -1, false),
    ((2, 1), 9, 7304, 4, true),
    ((2, 0), 3, 5501, 3, false),
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
    let (y_f32, y) = match act {
        true => (Ptr::NULL, data.undefined("y", place.0 * count)),
        false => (data.undefined("y", place.0 * count), Ptr::NULL),
    };
    let meeting = meeting(&mut data, &mut random, place, (count, launches, missing), false);
    let kernel = OneShotAllGather { x, x_act, y, y_f32, meeting, rows: rows as u32, n: n as u32 };
    Row { name: format!("{shape:?}, missing {missing:?}"), kernel, data }
}

impl Oracle for OneShotAllGather {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let x = if self.x.is_null() { data.f64s(self.x_act) } else { data.f64s(self.x) };
        let (mut all, parts) = written(&self.meeting, data, &x);
        let Some(parts) = parts else { return all };
        let n = self.n as usize;
        let row = |row: usize| parts.iter().flat_map(move |part| part[row * n..][..n].iter().copied());
        let gathered = (0..self.rows as usize).flat_map(row);
        all.push(match self.y.is_null() {
            true => Written::new(self.y_f32, gathered.map(Want::exact).collect()),
            // The parts of others hold more digits than those of a rank ever would.
            false => Written::new(self.y, gathered.map(|value| Want::exact(precision.round(value))).collect()),
        });
        all
    }
}
