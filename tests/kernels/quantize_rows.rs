//! Rows of `quantize_rows`.
use gpu_kernels::{KvFormat, QuantizeRows};

use crate::cached::Kept;
use crate::data::Data;
use crate::mutants::{Defect, LANES, STRIDE, TIE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, columns, and the size of the numbers.
const SHAPES: [(usize, usize, f32); 11] = [
    (1, 16, 1.0),
    (1, 1024, 3.0),
    (3, 48, 1e-3),
    (5, 272, 300.0),
    (2, 4096, 0.2),
    (65, 80, 1e4),
    (70, 1040, 1.0),
    (1, 24_592, 2.0),
    (66, 4112, 1e-20),
    (2, 16, 0.0),
    (2, 48, 1e-33),
];

pub fn rows() -> Vec<Row<QuantizeRows>> {
    let shapes = SHAPES.iter().enumerate().map(|(seed, shape)| random_row(seed as u64, *shape));
    shapes.chain([special(), least()]).collect()
}

fn random_row(seed: u64, (rows, k, size): (usize, usize, f32)) -> Row<QuantizeRows> {
    let mut x = Random::new(seed).reals(rows * k, size);
    // Of a row that is longer than what threads keep, the largest stands behind that.
    x.chunks_mut(k).filter(|row| row.len() > 16_384).for_each(|row| row[k - 3] = 2.0 * size);
    row(format!("{rows} rows of {k}, numbers to {size:e}"), rows, x)
}

/// The least numbers that get a scale.
fn least() -> Row<QuantizeRows> {
    let least = 2f32.powi(-100);
    row("the least numbers".into(), 1, [least, -least, 0.0, 0.375 * least].repeat(4))
}

/// Numbers that are none, and the largest one in each thread's place by turns.
fn special() -> Row<QuantizeRows> {
    let (rows, k) = (8, 2048);
    let mut x = Random::new(99).reals(rows * k, 1.0);
    for (row, x) in x.chunks_mut(k).enumerate() {
        x[row * 257] = if row % 2 == 0 { 7.0 } else { -7.0 };
    }
    (x[3 * k + 5], x[4 * k + 9], x[5 * k + 700]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    row("numbers that are none".into(), rows, x)
}

fn row(name: String, rows: usize, x: Vec<f32>) -> Row<QuantizeRows> {
    let k = x.len() / rows;
    let mut data = Data::default();
    let x = data.reals("x", x);
    let (y, scales) = (data.undefined("y", rows * k), data.undefined("scales", rows));
    Row { name, kernel: QuantizeRows { x, y, scales, rows: rows as u32, k: k as u32 }, data }
}

impl Oracle for QuantizeRows {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[LANES, STRIDE, TIE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let x = data.f64s(self.x);
        let mut scales = Vec::new();
        let codes = x.chunks(self.k as usize).flat_map(|row| {
            let most = row.iter().filter(|x| !x.is_nan()).fold(0.0, |most: f64, x| most.max(x.abs()));
            let [scale, inverse] = if most < 2f64.powi(-100) { [1.0; 2] } else { [most / 448.0, 448.0 / most] };
            scales.push(Want::exact(Precision::F32.round(scale)));
            let inverse = Precision::F32.round(inverse);
            let kept = Kept { format: KvFormat::Fp8, scale: 1.0 };
            row.iter().map(move |x| Want::exact(kept.of(Precision::F32.round(x * inverse)))).collect::<Vec<_>>()
        });
        let codes = codes.collect();
        vec![Written::new(self.y, codes), Written::new(self.scales, scales)]
    }
}
