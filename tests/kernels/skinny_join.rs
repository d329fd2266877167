//! Rows of `skinny_join`.
use gpu_kernels::activation::{PLAIN, RELU2, SWIGLU};
use gpu_kernels::all_reduce::meeting::Outbox;
use gpu_kernels::{Gemv, Ptr, SkinnyJoin};
use half::bf16;

use crate::approx::Approx;
use crate::data::Data;
use crate::gemv::{finished, outbox};
use crate::meeting::sent_ahead;
use crate::mutants::{Defect, EDGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
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
    let told = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape));
    told.chain([shape(2, 9, 24), shape(4, 33, 136), shape(8, 64, 264), shape(3, 20, 520)].map(sending_row)).collect()
}

/// A row whose results are sent: of small integers, so that there is one right word.
fn sending_row(shape: Shape) -> Row<SkinnyJoin> {
    let (mut row, words, mut random) = (row(40, &shape), shape.rows * shape.n / 2, Random::new(41));
    let partial = (0..row.kernel.partials()).map(|_| random.below(17) as f32 - 8.0).collect();
    let (partial, outbox) = (row.data.reals("partial", partial), outbox(&mut row.data, words));
    row.kernel = SkinnyJoin { y: Ptr::NULL, partial, outbox, ..row.kernel };
    Row { name: format!("{}, sent", row.name), ..row }
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
    let outbox = Outbox::NONE;
    let mut kernel = SkinnyJoin { partial, bias, residual: added, y, y_f32, outbox, rows, n, splits, activation };
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
        if self.outbox.sends() {
            let half = |at: usize| u32::from(bf16::from_f64(sum(at).value).to_bits());
            let word = |at: usize| Want::exact(f64::from((half(2 * at) | half(2 * at + 1) << 16).cast_signed()));
            return sent_ahead(&self.outbox, data, &(0..elements / 2).map(word).collect::<Vec<_>>());
        }
        let gemv = Gemv { residual, y, y_f32, activation, ..Gemv::new(Ptr::NULL, Ptr::NULL, [rows, n, 8]) };
        finished(&gemv, (0..elements).map(sum).collect(), data, precision)
    }
}
