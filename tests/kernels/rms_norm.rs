//! Rows of `rms_norm`.
use gpu_kernels::{Ptr, RmsNorm};

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, EDGE, FACTOR, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, hidden, whether there is a residual, scale of the input.
const SHAPES: [(usize, usize, bool, f32); 21] = [
    (1, 8, false, 1.0),
    (1, 8, true, 1.0),
    (3, 24, false, 1.0),
    (33, 40, true, 1.0),
    (7, 256, false, 1.0),
    (2, 264, true, 1.0),
    (5, 2048, false, 1.0),
    (1, 2056, true, 1.0),
    (3, 3072, true, 1.0),
    (2, 4104, false, 1.0),
    (2, 4104, true, 1.0),
    (1, 7176, false, 3.0),
    (1, 7176, true, 3.0),
    (1, 8240, false, 3.0),
    (1, 8240, true, 3.0),
    (1, 18_440, false, 3.0),
    (2, 18_440, true, 3.0),
    (1, 18_432, true, 3.0),
    (2, 520, true, 1e15),
    (3, 72, false, 1e-4),
    (2, 776, true, 300.0),
];

pub fn rows() -> Vec<Row<RmsNorm>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, hidden, residual, scale): (usize, usize, bool, f32)) -> Row<RmsNorm> {
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let kernel = RmsNorm {
        x: data.reals("x", random.reals(rows * hidden, scale)),
        delta: if residual { data.reals("delta", random.reals(rows * hidden, scale)) } else { Ptr::NULL },
        weight: data.weight("weight", random.reals(hidden, 1.0), hidden),
        y: data.undefined("y", rows * hidden),
        rows: rows as u32,
        hidden: hidden as u32,
        eps: 1e-5,
    };
    Row { name: format!("{rows}x{hidden}, residual {residual}, scale {scale:e}"), kernel, data }
}

impl Oracle for RmsNorm {
    const C: f64 = 8.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM, FACTOR, STRIDE, LANES, BARRIER];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let mut x = data.f64s(self.x);
        let mut written = Vec::new();
        if !self.delta.is_null() {
            let delta = data.f64s(self.delta);
            x = x.iter().zip(delta).map(|(x, delta)| precision.round(x + delta)).collect();
            written.push(Written::new(self.x, x.iter().map(|x| Want::exact(*x)).collect()));
        }
        let weight = data.f64s(self.weight);
        let rows = x.chunks(self.hidden as usize);
        let y = rows.flat_map(|x| normalised(x, &weight, f64::from(self.eps), precision));
        written.push(Written::new(self.y, y.collect()));
        written
    }
}

fn normalised(x: &[f64], weight: &[f64], eps: f64, precision: Precision) -> Vec<Want> {
    let root = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt();
    let want = |(x, weight): (&f64, &f64)| {
        let value = precision.round(weight * precision.round(x / root));
        // The root and its reciprocal, the two products.
        Want::Value { value, error: 4.0 * value.abs(), terms: value.abs() }
    };
    x.iter().zip(weight).map(want).collect()
}
