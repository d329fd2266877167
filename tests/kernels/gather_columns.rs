//! Rows of `gather_columns`.
use gpu_kernels::{GatherColumns, Ptr};

use crate::data::Data;
use crate::mutants::{Defect, EDGE, FACTOR, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, columns, whether there is an order, whether there are factors.
const SHAPES: [(usize, usize, bool, bool); 12] = [
    (1, 8, true, false),
    (1, 8, false, true),
    (1, 8, true, true),
    (3, 40, true, false),
    (7, 24, false, true),
    (5, 264, true, true),
    (33, 72, true, false),
    (2, 2056, false, true),
    (2, 2056, true, false),
    (130, 16, true, true),
    (9, 1032, true, true),
    (1, 4104, true, false),
];

pub fn rows() -> Vec<Row<GatherColumns>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, k, ordered, factored): (usize, usize, bool, bool)) -> Row<GatherColumns> {
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x = data.reals("x", random.reals(rows * k, 3.0));
    let order = random.permutation(k).into_iter().map(|column| column as i32).collect();
    let order = if ordered { data.integers("order", order) } else { Ptr::NULL };
    let factors = if factored { data.reals("factors", random.reals(k, 2.0)) } else { Ptr::NULL };
    let y = data.undefined("y", rows * k);
    let kernel = GatherColumns { x, order, factors, y, rows: rows as u32, k: k as u32 };
    Row { name: format!("{rows} rows of {k}, ordered {ordered}, factored {factored}"), kernel, data }
}

impl Oracle for GatherColumns {
    const C: f64 = 1.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, FACTOR, STRIDE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (x, k) = (data.f64s(self.x), self.k as usize);
        let factors = if self.factors.is_null() { vec![1.0; k] } else { data.f64s(self.factors) };
        let from = |column: usize| if self.order.is_null() { column } else { data.i32s(self.order)[column] as usize };
        let value = |(row, column): (usize, usize)| x[row * k + from(column)] * factors[column];
        let elements = (0..self.rows as usize).flat_map(|row| (0..k).map(move |column| (row, column)));
        let wants = elements.map(value).map(|value| Want::near(precision.round(value), value.abs()));
        vec![Written::new(self.y, wants.collect())]
    }
}
