//! Rows of `gather_rows`.
use gpu_kernels::GatherRows;

use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows gathered, rows of `x`, hidden; behind an `x` of one row there is nothing to read.
const SHAPES: [(usize, usize, usize); 15] = [
    (1, 1, 8),
    (1, 33, 24),
    (3, 2, 40),
    (7, 130, 16),
    (31, 31, 72),
    (33, 9, 64),
    (2, 5, 1024),
    (5, 3, 1032),
    (3, 7, 2056),
    (4, 6, 3072),
    (2, 1, 2056),
    (2, 1, 3592),
    (2, 1, 4104),
    (2, 1, 5128),
    (1, 1, 9224),
];

pub fn rows() -> Vec<Row<GatherRows>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, from, hidden): (usize, usize, usize)) -> Row<GatherRows> {
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x = data.reals("x", random.reals(from * hidden, 1e3));
    let index = data.integers("index", (0..rows).map(|_| random.below(from) as i32).collect());
    let out = data.undefined("out", rows * hidden);
    let kernel = GatherRows { x, index, out, rows: rows as u32, hidden: hidden as u32 };
    Row { name: format!("{rows} rows of {from}, hidden {hidden}"), kernel, data }
}

impl Oracle for GatherRows {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (x, hidden) = (data.f64s(self.x), self.hidden as usize);
        let rows = data.i32s(self.index).iter().flat_map(|row| &x[*row as usize * hidden..][..hidden]);
        vec![Written::new(self.out, rows.map(|value| Want::exact(*value)).collect())]
    }
}
