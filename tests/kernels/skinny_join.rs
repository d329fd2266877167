//! Rows of `skinny_join`.
use gpu_kernels::activation::{PLAIN, RELU2, SWIGLU};
use gpu_kernels::{Gemv, Ptr, SkinnyJoin};

use crate::approx::Approx;
use crate::data::Data;
use crate::gemv::finished;
use crate::mutants::{Defect, EDGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Written};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    splits: usize,
    rows: usize,
    n: usize,
    logits: bool,
    bias: bool,
    activation: u32,
    residual: bool,
}

const fn shape(splits: usize, rows: usize, n: usize) -> Shape {
    Shape { splits, rows, n, logits: false, bias: false, activation: PLAIN, residual: false }
}

const SHAPES: [Shape; 12] = [
    shape(1, 1, 8),
    shape(2, 9, 24),
    shape(3, 16, 520),
    shape(8, 3, 1032),
    Shape { logits: true, ..shape(5, 2, 72) },
    Shape { logits: true, bias: true, ..shape(4, 7, 40) },
    Shape { bias: true, ..shape(7, 11, 136) },
    Shape { activation: RELU2, bias: true, ..shape(6, 10, 88) },
    Shape { activation: SWIGLU, ..shape(2, 5, 1040) },
    Shape { activation: SWIGLU, bias: true, ..shape(8, 4, 80) },
    Shape { residual: true, ..shape(3, 12, 264) },
    Shape { residual: true, bias: true, ..shape(5, 6, 56) },
];

pub fn rows() -> Vec<Row<SkinnyJoin>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<SkinnyJoin> {
    let Shape { splits, rows, n, logits, bias, activation, residual } = *shape;
    let (mut random, mut data) = (Random::new(seed), Data::default());
    let bias = if bias { data.weight("bias", random.reals(n, 1.0), 1) } else { Ptr::NULL };
    let width = if activation == SWIGLU { n / 2 } else { n };
    let (mut added, mut y, mut y_f32) = (Ptr::NULL, Ptr::NULL, Ptr::NULL);
    match (logits, residual) {
        (true, _) => y_f32 = data.undefined("y_f32", rows * n),
        (_, false) => y = data.undefined("y", rows * width),
        (_, true) => {
            y = data.reals("y", random.reals(rows * width, 1.0));
            added = y;
        }
    }
    let [rows, n, splits] = [rows, n, splits].map(|size| size as u32);
    let partial = Ptr::NULL;
    let mut kernel = SkinnyJoin { partial, bias, residual: added, y, y_f32, rows, n, splits, activation };
    kernel.partial = data.reals("partial", random.reals(kernel.partials(), 1.0));
    Row { name: format!("{shape:?}"), kernel, data }
}

impl Oracle for SkinnyJoin {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE, TERM];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let SkinnyJoin { bias, residual, y, y_f32, rows, n, activation, .. } = *self;
        let elements = (rows * n) as usize;
        let biases = if bias.is_null() { vec![0.0; n as usize] } else { data.f64s(bias) };
        let partial = data.f64s(self.partial);
        let sum = |at: usize| {
            let (row, token) = (at as u32 % n, at as u32 / n);
            let parts = (0..self.splits).map(|split| partial[self.partial_index(split, row, token)]);
            let (value, size) = parts.fold((0.0, 0.0), |(sum, size), part| (sum + part, size + part.abs()));
            let bias = biases[at % n as usize];
            Approx::near(value + bias, size + bias.abs())
        };
        let gemv = Gemv { residual, y, y_f32, activation, ..Gemv::new(Ptr::NULL, Ptr::NULL, [rows, n, 8]) };
        finished(&gemv, (0..elements).map(sum).collect(), data, precision)
    }
}
