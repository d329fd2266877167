//! Rows of `all_reduce`: one rank whose others have come. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::{OneShotAllReduce, Ptr};

use crate::data::Data;
use crate::meeting::{meeting, written};
use crate::mutants::{Defect, EDGE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Ranks, this one, rows, columns, launches so far; part in activations, bias, residual, sums in f32.
type Shape = (usize, usize, usize, usize, i32, [bool; 4]);

const SHAPES: [Shape; 14] = [
    (1, 0, 1, 4, 0, [false, false, false, false]),
    (2, 0, 1, 12, 0, [false, true, true, false]),
    (2, 1, 3, 20, 1, [true, false, false, false]),
    (3, 1, 2, 100, 6, [false, true, false, true]),
    (4, 3, 5, 44, 7, [true, true, true, false]),
    (5, 2, 1, 260, 2, [false, false, true, false]),
    (6, 5, 2, 132, 9, [true, false, false, true]),
    (8, 0, 1, 64, -2, [false, true, true, false]),
    (8, 7, 3, 52, i32::MAX, [false, true, false, false]),
    (7, 4, 2, 36, -1, [true, false, true, false]),
    (8, 1, 8, 16432, 4, [false, true, true, false]),
    (2, 1, 9, 7304, 4, [false, true, true, false]),
    (8, 1, 3, 65564, 5, [false, true, true, false]),
    (1, 0, 3, 87416, 5, [false, false, false, true]),
];

pub fn rows() -> Vec<Row<OneShotAllReduce>> {
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape, None, false));
    // A thread has fewer packets under way than parts, so the last two show nothing new of them.
    let packets = SHAPES[..12].iter().enumerate().map(|(seed, shape)| row(100 + seed as u64, *shape, None, true));
    let missing = [false, true]
        .map(|as_packets| [row(90, SHAPES[1], Some(1), as_packets), row(91, SHAPES[4], Some(0), as_packets)]);
    told.chain(packets).chain(missing.into_iter().flatten()).collect()
}

/// One with a rank that is missing is told to give up.
fn row(seed: u64, shape: Shape, missing: Option<usize>, as_packets: bool) -> Row<OneShotAllReduce> {
    let (ranks, rank, rows, n, launches, [act, bias, residual, sums]) = shape;
    let (mut data, mut random, count) = (Data::default(), Random::new(seed), rows * n);
    let meeting = meeting(&mut data, &mut random, (ranks, rank), (count, launches, missing), as_packets);
    let mut kernel = OneShotAllReduce {
        x: Ptr::NULL,
        x_act: Ptr::NULL,
        bias: Ptr::NULL,
        residual: Ptr::NULL,
        y: Ptr::NULL,
        sums: Ptr::NULL,
        meeting,
        rows: rows as u32,
        n: n as u32,
    };
    let part = random.reals(count, 1.0);
    if act {
        kernel.x_act = data.reals("x", part);
    } else {
        kernel.x = data.reals("x", part);
    }
    if bias {
        kernel.bias = data.weight("bias", random.reals(n, 1.0), 1);
    }
    if residual {
        kernel.residual = data.reals("residual", random.reals(count, 1.0));
    }
    if sums {
        kernel.sums = data.undefined("sums", count);
    } else {
        kernel.y = data.undefined("y", count);
    }
    Row { name: format!("{shape:?}, missing {missing:?}, packets {as_packets}"), kernel, data }
}

impl Oracle for OneShotAllReduce {
    const C: f64 = 1.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let x = if self.x.is_null() { data.f64s(self.x_act) } else { data.f64s(self.x) };
        let (mut written, parts) = written(&self.meeting, data, &x);
        let (Some(parts), n) = (parts, self.n as usize) else { return written };
        let result = |at: usize| self.want(data, precision, (at, at % n), parts.iter().map(|part| part[at]));
        let wants = (0..x.len()).map(result).collect();
        written.push(if self.y.is_null() { Written::new(self.sums, wants) } else { Written::new(self.y, wants) });
        written
    }
}

/// The result's element, which each of its terms may be off by: a sum rounds at every addition.
trait Element {
    fn want(&self, data: &Data, precision: Precision, at: (usize, usize), parts: impl Iterator<Item = f64>) -> Want;
}

impl Element for OneShotAllReduce {
    fn want(
        &self,
        data: &Data,
        precision: Precision,
        (at, column): (usize, usize),
        parts: impl Iterator<Item = f64>,
    ) -> Want {
        let (mut sum, mut error) = (0.0f64, 0.0);
        let bias = (!self.bias.is_null()).then(|| data.f64s(self.bias)[column]);
        for part in parts.chain(bias) {
            sum += part;
            error += sum.abs();
        }
        if self.y.is_null() {
            return Want::near(sum, error);
        }
        if self.residual.is_null() {
            return Want::near(precision.round(sum), error);
        }
        let value = data.f64s(self.residual)[at] + precision.round(sum);
        Want::Value { value: precision.round(value), error: error + value.abs(), terms: sum.abs() }
    }
}
