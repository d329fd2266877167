//! Rows of `all_reduce`: one rank whose others have come. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::{OneShotAllReduce, Ptr, Weight};

use crate::data::Data;
use crate::meeting::{By, meeting, sent};
use crate::mutants::{Defect, EDGE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Where a rank's own part is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Own {
    F32,
    Act,
    /// Sent by the kernel in front, with so many values in a word.
    Sent(u32),
}

/// Ranks, this one, rows, columns, launches so far; its own part; bias, residual.
type Shape = (usize, usize, usize, usize, i32, Own, [bool; 2]);

const SHAPES: [Shape; 23] = [
    (1, 0, 1, 4, 0, Own::F32, [false, false]),
    (2, 0, 1, 12, 0, Own::F32, [true, true]),
    (2, 1, 3, 24, 1, Own::Act, [false, false]),
    (3, 1, 2, 100, 6, Own::F32, [true, false]),
    (4, 3, 5, 40, 7, Own::Act, [true, true]),
    (5, 2, 1, 260, 2, Own::F32, [false, true]),
    (6, 5, 2, 136, 9, Own::Act, [false, false]),
    (8, 0, 1, 64, -2, Own::F32, [true, true]),
    (8, 7, 3, 52, i32::MAX, Own::F32, [true, false]),
    (7, 4, 2, 40, -1, Own::Act, [false, true]),
    (8, 1, 8, 16432, 4, Own::F32, [true, true]),
    (2, 1, 9, 14608, 4, Own::Act, [true, true]),
    (2, 1, 9, 7304, 4, Own::F32, [true, true]),
    (3, 2, 2, 65792, 5, Own::Act, [true, true]),
    (2, 1, 2, 32896, 4, Own::F32, [true, true]),
    (1, 0, 1, 4, 3, Own::Sent(1), [false, false]),
    (2, 1, 3, 20, 1, Own::Sent(1), [true, true]),
    (8, 3, 8, 52, -2, Own::Sent(1), [false, true]),
    (3, 2, 2, 32896, 5, Own::Sent(1), [true, true]),
    (1, 0, 1, 8, 3, Own::Sent(2), [false, false]),
    (2, 1, 9, 40, 1, Own::Sent(2), [true, true]),
    (8, 3, 11, 104, -2, Own::Sent(2), [false, true]),
    (3, 2, 2, 65792, 5, Own::Sent(2), [true, true]),
];

pub fn rows() -> Vec<Row<OneShotAllReduce>> {
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape, None));
    told.chain([(1, 1), (4, 0), (16, 0), (20, 0)].map(|(shape, missing)| row(90, SHAPES[shape], Some(missing))))
        .collect()
}

/// One with a rank that is missing is told to give up.
fn row(seed: u64, shape: Shape, missing: Option<usize>) -> Row<OneShotAllReduce> {
    let (ranks, rank, rows, n, launches, own, [bias, residual]) = shape;
    let (mut data, mut random, count) = (Data::default(), Random::new(seed), rows * n);
    let by = By::Packets(if matches!(own, Own::Act | Own::Sent(2)) { 2 } else { 1 });
    let meeting = meeting(&mut data, &mut random, (ranks, rank), (count, launches, missing), by);
    let part = random.reals(count, 1.0);
    let (x, x_act, sent) = match own {
        Own::F32 => (data.reals("x", part), Ptr::NULL, 0),
        Own::Act => (Ptr::NULL, data.reals("x", part), 0),
        Own::Sent(values) => (Ptr::NULL, Ptr::NULL, values),
    };
    let bias = if bias { data.weight("bias", random.reals(n, 1.0), 1) } else { Ptr::NULL };
    let residual = if residual { data.reals("residual", random.reals(count, 1.0)) } else { Ptr::NULL };
    let y = data.undefined("y", count);
    let kernel = OneShotAllReduce { x, x_act, sent, bias, residual, y, meeting, rows: rows as u32, n: n as u32 };
    Row { name: format!("{shape:?}, missing {missing:?}"), kernel, data }
}

impl Oracle for OneShotAllReduce {
    const C: f64 = 1.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let x = match (self.x.is_null(), self.x_act.is_null()) {
            (false, _) => Some(data.f64s(self.x)),
            (_, false) => Some(data.f64s(self.x_act)),
            _ => None,
        };
        let count = (self.rows * self.n) as usize;
        let (mut written, parts) = sent(&self.meeting, data, x.as_deref(), (count, self.values_of_word() as usize));
        let Some(parts) = parts else { return written };
        let ending =
            Ending::of(data, (self.bias, self.n), (!self.residual.is_null()).then(|| data.f64s(self.residual)));
        let result = |at: usize| ending.want(precision, at, parts.iter().map(|part| part[at]));
        written.push(Written::new(self.y, (0..count).map(result).collect()));
        written
    }
}

/// What is added to sums of all ranks.
pub struct Ending {
    bias: Option<Vec<f64>>,
    residual: Option<Vec<f64>>,
    n: usize,
}

impl Ending {
    /// A bias of `n` columns, and the residual where there is one.
    pub fn of(data: &Data, (bias, n): (Ptr<Weight>, u32), residual: Option<Vec<f64>>) -> Ending {
        Ending { bias: (!bias.is_null()).then(|| data.f64s(bias)), residual, n: n as usize }
    }

    /// The result's element, which each of its terms may be off by: a sum rounds at every addition.
    pub fn want(&self, precision: Precision, at: usize, parts: impl Iterator<Item = f64>) -> Want {
        let (mut sum, mut error) = (0.0f64, 0.0);
        for part in parts.chain(self.bias.as_ref().map(|bias| bias[at % self.n])) {
            sum += part;
            error += sum.abs();
        }
        let Some(residual) = &self.residual else { return Want::near(precision.round(sum), error) };
        let value = residual[at] + precision.round(sum);
        Want::Value { value: precision.round(value), error: error + value.abs(), terms: sum.abs() }
    }
}
