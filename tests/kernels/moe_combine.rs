//! Rows of `moe_combine`.
use gpu_kernels::{MoeCombine, Ptr};

use crate::approx::Approx;
use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Written};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    top_k: usize,
    n: usize,
    weighted: bool,
    shared: bool,
    residual: bool,
}

const fn shape(rows: usize, top_k: usize, n: usize) -> Shape {
    Shape { rows, top_k, n, weighted: true, shared: true, residual: true }
}

const SHAPES: [Shape; 13] = [
    shape(1, 1, 8),
    shape(1, 6, 24),
    shape(3, 2, 1032),
    shape(2, 22, 2056),
    shape(5, 4, 72),
    shape(9, 13, 1048),
    shape(1, 25, 264),
    Shape { shared: false, ..shape(2, 3, 40) },
    Shape { residual: false, ..shape(4, 5, 136) },
    Shape { shared: false, residual: false, ..shape(3, 4, 48) },
    Shape { weighted: false, ..shape(7, 1, 264) },
    Shape { weighted: false, residual: false, ..shape(2, 1, 1288) },
    Shape { weighted: false, shared: false, ..shape(2, 1, 16) },
];

pub fn rows() -> Vec<Row<MoeCombine>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<MoeCombine> {
    let Shape { rows, top_k, n, weighted, shared, residual } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let experts = data.reals("experts", random.reals(rows * top_k * n, 1.0));
    let weights = if weighted { data.reals("weights", random.reals(rows * top_k, 1.0)) } else { Ptr::NULL };
    let shared = if shared { data.reals("shared", random.reals(rows * n, 1.0)) } else { Ptr::NULL };
    let y = if residual { data.reals("y", random.reals(rows * n, 4.0)) } else { data.undefined("y", rows * n) };
    let residual = if residual { y } else { Ptr::NULL };
    let (rows, top_k, n) = (rows as u32, top_k as u32, n as u32);
    Row {
        name: format!("{shape:?}"),
        kernel: MoeCombine { experts, weights, shared, residual, y, rows, top_k, n },
        data,
    }
}

impl Oracle for MoeCombine {
    const C: f64 = 16.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE, TERM];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (experts, n, top_k) = (data.f64s(self.experts), self.n as usize, self.top_k as usize);
        let weights = if self.weights.is_null() { vec![1.0; self.rows as usize] } else { data.f64s(self.weights) };
        let addends: Vec<_> =
            [self.shared, self.residual].into_iter().filter(|p| !p.is_null()).map(|p| data.f64s(p)).collect();
        let values = (0..self.rows as usize * n).map(|at| {
            let (row, column) = (at / n, at % n);
            let terms = (row * top_k..(row + 1) * top_k).map(|choice| weights[choice] * experts[choice * n + column]);
            let (sum, error) = terms.fold((0.0, 0.0), |(sum, error), term| (sum + term, error + 2.0 * term.abs()));
            let sum = Approx::near(sum, error).rounded(precision);
            addends.iter().fold(sum, |sum, addend| (Approx::exact(addend[at]) + sum).rounded(precision)).want()
        });
        vec![Written::new(self.y, values.collect())]
    }
}
