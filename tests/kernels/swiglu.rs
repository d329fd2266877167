//! Rows of `swiglu`.
use gpu_kernels::Swiglu;

use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, width, scale of gate and up.
const SHAPES: [(usize, usize, f32); 12] = [
    (1, 8, 1.0),
    (1, 24, 1.0),
    (3, 8, 5.0),
    (33, 40, 1.0),
    (7, 256, 0.01),
    (2, 264, 10.0),
    (5, 2048, 1.0),
    (2, 2056, 3.0),
    (1, 3072, 1.0),
    (2, 4104, 1.0),
    (3, 520, 100.0),
    (2, 72, 1e15),
];

pub fn rows() -> Vec<Row<Swiglu>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, width, scale): (usize, usize, f32)) -> Row<Swiglu> {
    let mut data = Data::default();
    let gate_up = data.reals("gate_up", Random::new(seed).reals(rows * 2 * width, scale));
    let y = data.undefined("y", rows * width);
    let kernel = Swiglu { gate_up, y, rows: rows as u32, width: width as u32 };
    Row { name: format!("rows {rows}, width {width}, scale {scale:e}"), kernel, data }
}

impl Oracle for Swiglu {
    const C: f64 = 16.0;
    const D: f64 = 1.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM, STRIDE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let width = self.width as usize;
        let want = |(gate, up): (&f64, &f64)| {
            let sigmoid = 1.0 / (1.0 + (-gate).exp());
            let value = precision.round(precision.round(gate * sigmoid) * up);
            // The exponential's argument, by how much it moves the sigmoid; exponential, sum, quotient and product.
            let relative = gate.abs() * (1.0 - sigmoid) + 4.0;
            // A sigmoid below the normal numbers may become zero.
            let flushed = (gate * up).abs() * 2f64.powi(-126 + 24);
            let magnitude = (gate * sigmoid * up).abs();
            Want::Value { value, error: relative * magnitude + flushed, terms: magnitude }
        };
        let rows = data.f64s(self.gate_up);
        let rows = rows.chunks(2 * width).map(|row| row.split_at(width));
        let y = rows.flat_map(|(gate, up)| gate.iter().zip(up).map(want));
        vec![Written::new(self.y, y.collect())]
    }
}
