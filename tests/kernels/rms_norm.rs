//! Rows of `rms_norm`.
use gpu_kernels::RmsNorm;
use gpu_kernels::rms_norm::{ONCE, TWICE};

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, EDGE, FACTOR, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, hidden, scale of the input.
const SHAPES: [(usize, usize, f32); 17] = [
    (1, 8, 1.0),
    (3, 24, 1.0),
    (33, 40, 1.0),
    (7, 256, 1.0),
    (2, 264, 1.0),
    (5, 2048, 1.0),
    (1, 2056, 1.0),
    (3, 3072, 1.0),
    (2, 4104, 1.0),
    (1, 7176, 3.0),
    (1, 8240, 3.0),
    (2, 18_440, 3.0),
    (2, 520, 1e15),
    (3, 72, 1e-4),
    (65, 1032, 1.0),
    (66, 4104, 1.0),
    (2, 776, 300.0),
];

pub fn rows() -> Vec<Row<RmsNorm>> {
    let shapes = SHAPES.iter().enumerate();
    shapes.flat_map(|(seed, shape)| [ONCE, TWICE].map(|roundings| row(seed as u64, *shape, roundings))).collect()
}

fn row(seed: u64, (rows, hidden, scale): (usize, usize, f32), roundings: u32) -> Row<RmsNorm> {
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let kernel = RmsNorm {
        x: data.reals("x", random.reals(rows * hidden, scale)),
        weight: data.weight("weight", random.reals(hidden, 1.0), hidden),
        y: data.undefined("y", rows * hidden),
        rows: rows as u32,
        hidden: hidden as u32,
        eps: 1e-5,
        roundings,
    };
    Row { name: format!("{rows}x{hidden}, scale {scale:e}, rounded {roundings}"), kernel, data }
}

impl Oracle for RmsNorm {
    const C: f64 = 8.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM, FACTOR, STRIDE, LANES, BARRIER];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let x = data.f64s(self.x);
        let weight = data.f64s(self.weight);
        let rows = x.chunks(self.hidden as usize);
        let y = rows.flat_map(|x| normalised(x, &weight, f64::from(self.eps), (precision, self.roundings)));
        vec![Written::new(self.y, y.collect())]
    }
}

fn normalised(x: &[f64], weight: &[f64], eps: f64, (precision, roundings): (Precision, u32)) -> Vec<Want> {
    let root = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + eps).sqrt();
    let want = |(x, weight): (&f64, &f64)| {
        let unit = if roundings == TWICE { precision.round(x / root) } else { x / root };
        let value = precision.round(weight * unit);
        // The root and its reciprocal, the two products.
        Want::Value { value, error: 4.0 * value.abs(), terms: if roundings == TWICE { value.abs() } else { 0.0 } }
    };
    x.iter().zip(weight).map(want).collect()
}
