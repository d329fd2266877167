//! Rows of `all_reduce`: one rank whose others have come. `tests/kernels/ranks.rs` has all of them meet.
use gpu_kernels::all_reduce::{BLOCKS, MOST_RANKS};
use gpu_kernels::{OneShotAllReduce, Ptr};

use crate::data::Data;
use crate::mutants::{Defect, EDGE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Ranks, this one, rows, columns, launches so far; part in activations, bias, residual, sums in f32.
type Shape = (usize, usize, usize, usize, i32, [bool; 4]);

const SHAPES: [Shape; 11] = [
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
    (2, 1, 9, 7304, 4, [false, true, true, false]),
];

pub fn rows() -> Vec<Row<OneShotAllReduce>> {
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape, None));
    told.chain([row(90, SHAPES[1], Some(1)), row(91, SHAPES[4], Some(0))]).collect()
}

/// One with a rank that is missing is told to give up.
fn row(seed: u64, shape: Shape, missing: Option<usize>) -> Row<OneShotAllReduce> {
    let (ranks, rank, rows, n, launches, [act, bias, residual, sums]) = shape;
    let (mut data, mut random, count) = (Data::default(), Random::new(seed), rows * n);
    let capacity = count.next_multiple_of(4) + 8;
    let mut kernel = OneShotAllReduce {
        x: Ptr::NULL,
        x_act: Ptr::NULL,
        bias: Ptr::NULL,
        residual: Ptr::NULL,
        y: Ptr::NULL,
        sums: Ptr::NULL,
        parts: [Ptr::NULL; MOST_RANKS],
        flags: [Ptr::NULL; MOST_RANKS],
        epochs: data.integers("epochs", vec![launches; BLOCKS as usize]),
        abort: data.integers("abort", vec![i32::from(missing.is_some())]),
        fault: data.integers("fault", vec![0]),
        rank: rank as u32,
        ranks: ranks as u32,
        rows: rows as u32,
        n: n as u32,
        capacity: capacity as u32,
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
    for other in 0..ranks {
        kernel.parts[other] = data.reals("parts", random.reals(2 * capacity, 1.0));
        kernel.flags[other] = data.integers("flags", flags(launches, missing));
    }
    Row { name: format!("{shape:?}, missing {missing:?}"), kernel, data }
}

/// Every rank has come, some are ahead; but not the missing one, nor this one yet.
fn flags(launches: i32, missing: Option<usize>) -> Vec<i32> {
    let come = |at: usize| match at % MOST_RANKS {
        rank if Some(rank) == missing => launches,
        rank => launches.wrapping_add(1 + rank as i32 % 2),
    };
    (0..BLOCKS as usize * MOST_RANKS).map(come).collect()
}

impl Oracle for OneShotAllReduce {
    const C: f64 = 1.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (ranks, rank, n) = (self.ranks as usize, self.rank as usize, self.n as usize);
        let epoch = data.i32s(self.epochs)[0].wrapping_add(1);
        let x = if self.x.is_null() { data.f64s(self.x_act) } else { data.f64s(self.x) };
        let half = if epoch % 2 == 0 { 0 } else { self.capacity as usize };
        let mut written = Vec::new();
        let mut parts = vec![Want::Kept; 2 * self.capacity as usize];
        parts[half..half + x.len()].iter_mut().zip(&x).for_each(|(want, x)| *want = Want::exact(*x));
        written.push(Written::new(self.parts[rank], parts));
        for flags in &self.flags[..ranks] {
            let mut wants = vec![Want::Kept; BLOCKS as usize * MOST_RANKS];
            wants.iter_mut().skip(rank).step_by(MOST_RANKS).for_each(|want| *want = Want::exact(f64::from(epoch)));
            written.push(Written::new(*flags, wants));
        }
        let own = data.i32s(self.flags[rank]);
        if let Some(late) = (0..ranks).find(|r| *r != rank && own[*r].wrapping_sub(epoch) < 0) {
            written.push(Written::new(self.fault, vec![Want::exact(late as f64 + 1.0)]));
            return written;
        }
        written.push(Written::new(self.epochs, vec![Want::exact(f64::from(epoch)); BLOCKS as usize]));
        let others: Vec<Vec<f64>> =
            (0..ranks).map(|r| if r == rank { x.clone() } else { data.f64s(self.parts[r])[half..].to_vec() }).collect();
        let result = |at: usize| self.want(data, precision, (at, at % n), others.iter().map(|part| part[at]));
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
