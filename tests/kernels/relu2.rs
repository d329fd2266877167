//! Rows of `relu2`.
use gpu_kernels::Relu2;

use crate::data::Data;
use crate::mutants::{Defect, EDGE, FACTOR, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Elements, whether in place, scale of the input.
const SHAPES: [(usize, bool, f32); 12] = [
    (8, false, 1.0),
    (8, true, 1.0),
    (24, false, 1.0),
    (264, true, 30.0),
    (1032, false, 1e-3),
    (2048, true, 1.0),
    (2056, false, 1.0),
    (4104, true, 1e-25),
    (9216, false, 1.0),
    (520, false, 1e4),
    (776, true, 1e25),
    (130 * 72, false, 1.0),
];

pub fn rows() -> Vec<Row<Relu2>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (count, in_place, scale): (usize, bool, f32)) -> Row<Relu2> {
    let mut data = Data::default();
    let x = data.reals("x", Random::new(seed).reals(count, scale));
    let y = if in_place { x } else { data.undefined("y", count) };
    let kernel = Relu2 { x, y, count: count as u32 };
    Row { name: format!("count {count}, in place {in_place}, scale {scale:e}"), kernel, data }
}

impl Oracle for Relu2 {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, FACTOR, STRIDE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let square = |x: &f64| if *x > 0.0 { x * x } else { 0.0 };
        let x = data.f64s(self.x);
        vec![Written::new(self.y, x.iter().map(|x| Want::exact(precision.round(square(x)))).collect())]
    }
}
