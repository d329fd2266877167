//! Rows of `all_reduce_two_shot`: one rank whose others have come. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::all_reduce::meeting::MOST_RANKS;
use gpu_kernels::{Ptr, TwoShotAllReduce};

use crate::all_reduce::Ending;
use crate::data::Data;
use crate::meeting::{By, meeting, met_twice};
use crate::mutants::{Defect, EDGE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Ranks, this one, rows, columns, launches so far; bias, residual.
type Shape = (usize, usize, usize, usize, i32, [bool; 2]);

const SHAPES: [Shape; 12] = [
    (1, 0, 1, 8, 0, [false, false]),
    (2, 0, 1, 24, 0, [true, true]),
    (2, 1, 3, 24, 1, [false, true]),
    (3, 1, 2, 104, 6, [true, false]),
    (3, 2, 2, 104, 7, [true, true]),
    (4, 3, 5, 40, -2, [true, true]),
    (5, 4, 1, 48, i32::MAX, [false, true]),
    (8, 7, 1, 24, -1, [true, false]),
    (2, 1, 20, 16392, 4, [true, true]),
    (2, 1, 36, 16392, 4, [true, true]),
    (2, 1, 49, 16392, 4, [true, true]),
    (8, 2, 2, 1032, 5, [false, true]),
];

pub fn rows() -> Vec<Row<TwoShotAllReduce>> {
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape, None));
    told.chain([row(90, SHAPES[1], Some(1)), row(91, SHAPES[5], Some(0))]).collect()
}

/// One with a rank that is missing is told to give up.
fn row(seed: u64, shape: Shape, missing: Option<usize>) -> Row<TwoShotAllReduce> {
    let (ranks, rank, rows, n, launches, [bias, residual]) = shape;
    let (mut data, mut random, count) = (Data::default(), Random::new(seed), rows * n);
    let meeting = meeting(&mut data, &mut random, (ranks, rank), (count, launches, missing), By::Nothing);
    let bias = if bias { data.weight("bias", random.reals(n, 1.0), 1) } else { Ptr::NULL };
    let residual = if residual { data.reals("residual", random.reals(count, 1.0)) } else { Ptr::NULL };
    let (mut x, mut y) = ([Ptr::NULL; MOST_RANKS], [Ptr::NULL; MOST_RANKS]);
    for other in 0..ranks {
        x[other] = data.reals("x", random.reals(count, 1.0));
        y[other] = data.undefined("y", count);
    }
    let kernel = TwoShotAllReduce { x, bias, residual, y, meeting, rows: rows as u32, n: n as u32 };
    Row { name: format!("{shape:?}, missing {missing:?}"), kernel, data }
}

impl Oracle for TwoShotAllReduce {
    const C: f64 = 1.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (mut written, all_came) = met_twice(&self.meeting, data);
        if !all_came {
            return written;
        }
        let (count, ranks) = ((self.rows * self.n) as usize, self.meeting.ranks as usize);
        // Groups of 8, as many for each rank.
        let share = 8 * (count / 8).div_ceil(ranks);
        let first = share * self.meeting.rank as usize;
        let parts: Vec<Vec<f64>> = self.x[..ranks].iter().map(|x| data.f64s(*x)).collect();
        let ending =
            Ending::of(data, (self.bias, self.n), (!self.residual.is_null()).then(|| data.f64s(self.residual)));
        let result = |at: usize| match at.checked_sub(first) {
            Some(at_share) if at_share < share => ending.want(precision, at, parts.iter().map(|part| part[at])),
            _ => Want::Kept,
        };
        let wants: Vec<Want> = (0..count).map(result).collect();
        written.extend(self.y[..ranks].iter().map(|y| Written::new(*y, wants.clone())));
        written
    }
}
