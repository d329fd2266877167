//! Rows of `gemv`.
use gpu_kernels::{Gemv, Ptr};

use crate::data::Data;
use crate::mutants::{Defect, EDGE, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

struct Shape {
    rows: usize,
    n: usize,
    k: usize,
    logits: bool,
    bias: bool,
    scale: f32,
}

const fn shape(rows: usize, n: usize, k: usize) -> Shape {
    Shape { rows, n, k, logits: false, bias: false, scale: 1.0 }
}

const SHAPES: [Shape; 17] = [
    shape(1, 1, 8),
    shape(1, 7, 24),
    shape(1, 33, 1032),
    shape(2, 31, 40),
    shape(3, 17, 256),
    shape(5, 15, 1032),
    shape(6, 3, 72),
    shape(7, 33, 128),
    shape(8, 65, 264),
    Shape { logits: true, ..shape(1, 130, 256) },
    Shape { logits: true, ..shape(8, 11, 1288) },
    Shape { scale: 1e4, ..shape(3, 19, 776) },
    Shape { bias: true, ..shape(1, 33, 264) },
    Shape { bias: true, ..shape(2, 9, 40) },
    Shape { bias: true, ..shape(3, 31, 520) },
    Shape { bias: true, ..shape(7, 17, 72) },
    Shape { bias: true, logits: true, ..shape(8, 25, 136) },
];

/// Depths at which a lane has no, one or several groups of a row, and the last group ends inside a warp.
const DEPTHS: [usize; 8] = [264, 520, 776, 1032, 1288, 2056, 2824, 4872];

pub fn rows() -> Vec<Row<Gemv>> {
    let every_variant = DEPTHS.iter().flat_map(|k| [1, 2, 4, 8].map(|rows| shape(rows, 3, *k)));
    SHAPES.into_iter().chain(every_variant).enumerate().map(|(seed, shape)| row(seed as u64, &shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<Gemv> {
    let Shape { rows, n, k, logits, bias, scale } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let kernel = Gemv {
        x: data.reals("x", random.reals(rows * k, scale)),
        w: data.weight("w", random.reals(n * k, scale), k),
        bias: if bias { data.weight("bias", random.reals(n, scale), 1) } else { Ptr::NULL },
        y: if logits { Ptr::NULL } else { data.undefined("y", rows * n) },
        y_f32: if logits { data.undefined("y_f32", rows * n) } else { Ptr::NULL },
        rows: rows as u32,
        n: n as u32,
        k: k as u32,
    };
    Row { name: format!("rows {rows}, n {n}, k {k}, logits {logits}, bias {bias}, scale {scale:e}"), kernel, data }
}

impl Oracle for Gemv {
    const C: f64 = 8.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, TERM, STRIDE, LANES];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let (x, w, k) = (data.f64s(self.x), data.f64s(self.w), self.k as usize);
        let bias = if self.bias.is_null() { vec![0.0; self.n as usize] } else { data.f64s(self.bias) };
        let product = |x: &[f64], (w, bias): (&[f64], &f64)| {
            let value = x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + bias;
            let error = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum::<f64>() + bias.abs();
            Want::near(if self.y.is_null() { value } else { precision.round(value) }, error)
        };
        let wants = x.chunks(k).flat_map(|x| w.chunks(k).zip(&bias).map(move |w| product(x, w))).collect();
        vec![if self.y.is_null() { Written::new(self.y_f32, wants) } else { Written::new(self.y, wants) }]
    }
}
