//! Rows of `layer_norm_1p`.
use gpu_kernels::LayerNorm1p;

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, EDGE, FACTOR, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

struct Shape {
    rows: usize,
    hidden: usize,
    scale: f32,
    /// Added to every element of a row: a mean far from zero.
    offset: f32,
}

const fn shape(rows: usize, hidden: usize) -> Shape {
    Shape { rows, hidden, scale: 1.0, offset: 0.0 }
}

const SHAPES: [Shape; 17] = [
    shape(1, 8),
    shape(3, 24),
    shape(33, 40),
    shape(7, 256),
    shape(2, 264),
    shape(5, 2048),
    shape(1, 2056),
    shape(3, 3072),
    shape(2, 4104),
    shape(65, 1032),
    shape(66, 4104),
    Shape { scale: 3.0, ..shape(1, 7176) },
    Shape { scale: 3.0, ..shape(1, 8240) },
    Shape { scale: 3.0, ..shape(2, 18_440) },
    Shape { scale: 1e15, ..shape(2, 520) },
    Shape { scale: 1e-4, offset: -64.0, ..shape(3, 72) },
    Shape { offset: 256.0, ..shape(2, 776) },
];

pub fn rows() -> Vec<Row<LayerNorm1p>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<LayerNorm1p> {
    let Shape { rows, hidden, scale, offset } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x = random.reals(rows * hidden, scale).into_iter().map(|x| half::bf16::from_f32(x + offset).to_f32());
    let kernel = LayerNorm1p {
        x: data.reals("x", x.collect()),
        weight: data.weight("weight", random.reals(hidden, 0.5), hidden),
        bias: data.weight("bias", random.reals(hidden, 0.5), hidden),
        y: data.undefined("y", rows * hidden),
        rows: rows as u32,
        hidden: hidden as u32,
        eps: 1e-5,
    };
    Row { name: format!("{rows}x{hidden}, scale {scale:e}, offset {offset}"), kernel, data }
}

impl Oracle for LayerNorm1p {
    const C: f64 = 8.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM, FACTOR, STRIDE, LANES, BARRIER];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let x = data.f64s(self.x);
        let (weight, bias) = (data.f64s(self.weight), data.f64s(self.bias));
        let scale: Vec<f64> = weight.iter().map(|weight| precision.round(1.0 + weight)).collect();
        let rows = x.chunks(self.hidden as usize);
        let y = rows.flat_map(|x| normalised(x, &scale, &bias, f64::from(self.eps), precision));
        vec![Written::new(self.y, y.collect())]
    }
}

fn normalised(x: &[f64], scale: &[f64], bias: &[f64], eps: f64, precision: Precision) -> Vec<Want> {
    let mean_of = |values: &dyn Fn(f64) -> f64| x.iter().map(|x| values(*x)).sum::<f64>() / x.len() as f64;
    let mean = mean_of(&|x| x);
    let mean_error = mean_of(&f64::abs);
    let deviation = (mean_of(&|x| (x - mean) * (x - mean)) + eps).sqrt();
    let want = |((x, scale), bias): ((&f64, &f64), &f64)| {
        let value = (x - mean) / deviation * scale + bias;
        // The mean's error; the centring, the deviation, its reciprocal and both products; the bias and the sum.
        let error = (mean_error + 5.0 * (x - mean).abs()) / deviation * scale.abs() + bias.abs() + value.abs();
        Want::near(precision.round(value), error)
    };
    x.iter().zip(scale).zip(bias).map(want).collect()
}
