//! Rows of `gemv`.
use gpu_kernels::activation::{PLAIN, RELU2, SWIGLU};
use gpu_kernels::all_reduce::meeting::Outbox;
use gpu_kernels::{Gemv, Ptr, rms_norm};

use crate::approx::Approx;
use crate::data::Data;
use crate::gated_norm;
use crate::meeting::{By, meeting, sent_ahead};
use crate::mutants::{BARRIER, COPY_EDGE, Defect, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// What stands in front of the product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    None,
    Rms,
    /// With one rounding.
    RmsOnce,
    LayerNorm1p,
    /// Of so many groups.
    Gated(usize),
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    n: usize,
    k: usize,
    norm: Norm,
    logits: bool,
    bias: bool,
    activation: u32,
    residual: bool,
    scale: f32,
}

const fn shape(rows: usize, n: usize, k: usize) -> Shape {
    let (norm, activation) = (Norm::None, PLAIN);
    Shape { rows, n, k, norm, logits: false, bias: false, activation, residual: false, scale: 1.0 }
}

const SHAPES: [Shape; 53] = [
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
    Shape { activation: RELU2, ..shape(1, 21, 264) },
    Shape { activation: RELU2, bias: true, ..shape(5, 35, 1032) },
    Shape { activation: SWIGLU, ..shape(1, 2, 8) },
    Shape { activation: SWIGLU, ..shape(1, 46, 1032) },
    Shape { activation: SWIGLU, bias: true, ..shape(6, 34, 72) },
    Shape { activation: SWIGLU, scale: 0.3, ..shape(4, 46, 1288) },
    Shape { activation: SWIGLU, scale: 0.3, ..shape(3, 22, 776) },
    Shape { residual: true, ..shape(1, 31, 1288) },
    Shape { residual: true, bias: true, ..shape(8, 19, 264) },
    Shape { residual: true, ..shape(2, 18, 40) },
    shape(9, 33, 264),
    shape(24, 5, 1032),
    Shape { logits: true, bias: true, ..shape(17, 35, 136) },
    Shape { residual: true, ..shape(15, 31, 1032) },
    Shape { activation: RELU2, bias: true, ..shape(33, 18, 72) },
    Shape { activation: SWIGLU, scale: 0.3, ..shape(12, 38, 1288) },
    Shape { norm: Norm::Rms, ..shape(1, 35, 72) },
    Shape { norm: Norm::Rms, ..shape(1, 18, 2056) },
    Shape { norm: Norm::Rms, residual: true, ..shape(1, 19, 776) },
    Shape { norm: Norm::Rms, residual: true, ..shape(1, 19, 1032) },
    Shape { norm: Norm::Rms, activation: SWIGLU, bias: true, ..shape(1, 38, 1032) },
    Shape { norm: Norm::Rms, logits: true, ..shape(1, 9, 8200) },
    Shape { norm: Norm::Rms, logits: true, ..shape(1, 9, 12_360) },
    Shape { norm: Norm::RmsOnce, ..shape(1, 35, 72) },
    Shape { norm: Norm::RmsOnce, residual: true, ..shape(1, 19, 776) },
    Shape { norm: Norm::RmsOnce, ..shape(1, 18, 2056) },
    Shape { norm: Norm::RmsOnce, logits: true, ..shape(1, 9, 12_360) },
    Shape { norm: Norm::LayerNorm1p, ..shape(1, 35, 72) },
    Shape { norm: Norm::LayerNorm1p, ..shape(1, 18, 2056) },
    Shape { norm: Norm::LayerNorm1p, activation: RELU2, bias: true, ..shape(1, 21, 1032) },
    Shape { norm: Norm::LayerNorm1p, logits: true, ..shape(1, 9, 8200) },
    Shape { norm: Norm::LayerNorm1p, logits: true, ..shape(1, 9, 12_360) },
    Shape { norm: Norm::LayerNorm1p, activation: SWIGLU, scale: 0.1, ..shape(1, 22, 1288) },
    Shape { norm: Norm::LayerNorm1p, activation: SWIGLU, scale: 0.1, ..shape(1, 22, 776) },
    Shape { norm: Norm::LayerNorm1p, residual: true, ..shape(1, 40, 264) },
    Shape { norm: Norm::LayerNorm1p, residual: true, ..shape(1, 40, 1032) },
];

/// Groups of which warps have none, one or several, with pieces in all lanes, in some, and in more than a lane keeps; the last
/// are narrow steps. Of the longest groups, what no lane keeps decides the norm.
const GATED: [Shape; 14] = [
    Shape { norm: Norm::Gated(8), residual: true, ..shape(1, 35, 4096) },
    Shape { norm: Norm::Gated(8), ..shape(1, 17, 7680) },
    Shape { norm: Norm::Gated(2), bias: true, ..shape(1, 9, 8208) },
    Shape { norm: Norm::Gated(1), logits: true, ..shape(1, 9, 4104) },
    Shape { norm: Norm::Gated(1), logits: true, ..shape(1, 19, 1304) },
    Shape { norm: Norm::Gated(20), residual: true, ..shape(1, 33, 2080) },
    Shape { norm: Norm::Gated(4), activation: RELU2, ..shape(1, 18, 1056) },
    Shape { norm: Norm::Gated(9), ..shape(1, 3, 12_888) },
    Shape { norm: Norm::Gated(4), activation: SWIGLU, scale: 0.1, ..shape(1, 22, 2080) },
    Shape { norm: Norm::Gated(4), activation: SWIGLU, scale: 0.1, ..shape(1, 22, 544) },
    Shape { norm: Norm::Gated(3), residual: true, ..shape(1, 35, 72) },
    Shape { norm: Norm::Gated(9), ..shape(1, 21, 792) },
    Shape { norm: Norm::Gated(1), logits: true, ..shape(1, 7, 520) },
    Shape { norm: Norm::Gated(1), logits: true, ..shape(1, 5, 1000) },
];

/// Depths at which a warp has no, one or several steps of a tile, and the last one ends inside it.
const DEPTHS: [usize; 8] = [264, 520, 776, 1032, 1288, 2056, 2824, 4872];

/// More tiles than blocks, of narrow and of wide steps.
const TURNS: [Shape; 5] =
    [shape(1, 3500, 8), shape(8, 3480, 520), shape(30, 900, 8), shape(1, 1750, 1024), shape(3, 1750, 1032)];

/// Elements of a row that the threads of a block keep in registers while they normalise it.
pub const KEPT: usize = 8192;

pub fn rows() -> Vec<Row<Gemv>> {
    let every_variant = DEPTHS.iter().flat_map(|k| [1, 2, 4, 8].map(|rows| shape(rows, 3, *k)));
    let shapes = SHAPES.into_iter().chain(TURNS).chain(every_variant);
    let told = shapes.enumerate().map(|(seed, shape)| row(seed as u64, &shape));
    let sent = [[1, 36, 264], [8, 20, 1032], [3, 4, 8]].into_iter().flat_map(|it| [(it, false), (it, true)]);
    let told = told.chain(sent.map(|(shape, residual)| sending_row(shape, residual)));
    let told = told.chain([[1, 35, 264], [5, 18, 1032]].map(|shape| settled_row(shape, Norm::None)));
    let told = told.chain([row(1, &Shape { residual: true, logits: true, ..shape(5, 18, 1032) })]);
    let told = told.chain([Norm::Rms, Norm::LayerNorm1p].map(|norm| settled_row([1, 35, 1032], norm)));
    told.chain(GATED.into_iter().enumerate().map(|(seed, shape)| row(seed as u64, &shape))).collect()
}

/// A row that may run beside the kernel in front.
fn settled_row([rows, n, k]: [usize; 3], norm: Norm) -> Row<Gemv> {
    let row = row((rows * n) as u64, &Shape { activation: RELU2, norm, ..shape(rows, n, k) });
    Row { name: format!("{}, settled", row.name), kernel: Gemv { x_settled: 1, ..row.kernel }, ..row }
}

/// A row whose results are sent.
fn sending_row([rows, n, k]: [usize; 3], residual: bool) -> Row<Gemv> {
    let mut row = row((rows * n) as u64, &Shape { logits: true, bias: true, residual, ..shape(rows, n, k) });
    row.kernel = Gemv { y_f32: Ptr::NULL, outbox: outbox(&mut row.data, rows * n), ..row.kernel };
    Row { name: format!("{}, sent", row.name), ..row }
}

/// Where one of three ranks sends so many values.
pub fn outbox(data: &mut Data, count: usize) -> Outbox {
    meeting(data, &mut Random::new(count as u64), (3, 1), (count, 4, None), By::Packets(1)).outbox()
}

fn row(seed: u64, shape: &Shape) -> Row<Gemv> {
    let Shape { rows, n, k, norm, logits, bias, activation, residual, scale } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let mut x = random.reals(rows * k, scale);
    if norm == Norm::LayerNorm1p {
        // A mean far from zero.
        x.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x + 4.0).to_f32());
    }
    // Of the longest rows, what no thread keeps decides the norm.
    x.iter_mut().skip(if k > 10_240 { KEPT } else { rows * k }).for_each(|x| *x *= 64.0);
    if let Norm::Gated(groups) = norm {
        x.iter_mut().enumerate().filter(|(i, _)| i % (k / groups) >= 1280).for_each(|(_, x)| *x *= 64.0);
    }
    let x = data.reals("x", x);
    let w = data.weight("w", random.reals(n * k, scale), k);
    let mut kernel = Gemv { activation, eps: 1e-5, ..Gemv::new(x, w, [rows as u32, n as u32, k as u32]) };
    let width = if activation == SWIGLU { n / 2 } else { n };
    if bias {
        kernel.bias = data.weight("bias", random.reals(n, scale), 1);
    }
    if norm != Norm::None {
        kernel.norm_weight = data.weight("norm_weight", random.reals(k, 0.5), k);
    }
    if norm == Norm::RmsOnce {
        kernel.roundings = rms_norm::ONCE;
    }
    if norm == Norm::LayerNorm1p {
        kernel.norm_bias = data.weight("norm_bias", random.reals(k, 0.5), k);
    }
    if let Norm::Gated(groups) = norm {
        (kernel.gate, kernel.norm_groups) = (data.reals("gate", random.reals(k, 1.0)), groups as u32);
    }
    match (logits, residual) {
        (true, false) => kernel.y_f32 = data.undefined("y_f32", rows * n),
        (true, true) => {
            kernel.y_f32 = data.undefined("y_f32", rows * n);
            kernel.residual = data.reals("residual", random.reals(rows * n, scale));
        }
        (_, false) => kernel.y = data.undefined("y", rows * width),
        (_, true) => {
            kernel.y = data.reals("y", random.reals(rows * width, scale));
            kernel.residual = kernel.y;
        }
    }
    Row { name: format!("{shape:?}"), kernel, data }
}

/// The first steps of wide variants, which serve long rows alone, never end behind a row.
const NARROW_EDGE: Defect = Defect { entries: "_narrow", ..COPY_EDGE };

impl Oracle for Gemv {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[NARROW_EDGE, TERM, STRIDE, BARRIER, Defect { entries: "norm", ..LANES }];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        written(self, &data.f64s(self.w), data, precision)
    }
}

/// What a product with the weight `w` writes.
pub fn written(gemv: &Gemv, w: &[f64], data: &Data, precision: Precision) -> Vec<Written> {
    let (k, n) = (gemv.k as usize, gemv.n as usize);
    let bias = if gemv.bias.is_null() { vec![0.0; n] } else { data.f64s(gemv.bias) };
    let mut sums = Vec::new();
    for x in data.f64s(gemv.x).chunks(k) {
        let a = gemv.normed(x, data, precision);
        sums.extend(w.chunks(k).zip(&bias).map(|(w, bias)| dot(&a, w) + Approx::exact(*bias)));
    }
    finished(gemv, sums, data, precision)
}

/// What a product of these sums, the bias among them, writes.
pub fn finished(gemv: &Gemv, sums: Vec<Approx>, data: &Data, precision: Precision) -> Vec<Written> {
    let n = gemv.n as usize;
    let sums = match gemv.y.is_null() && !gemv.residual.is_null() {
        true => sums.into_iter().zip(data.f64s(gemv.residual)).map(|(sum, x)| sum + Approx::exact(x)).collect(),
        false => sums,
    };
    if gemv.outbox.sends() {
        let words: Vec<Want> = sums.iter().map(|sum| Want::bits(sum.value, sum.error)).collect();
        return sent_ahead(&gemv.outbox, data, &words);
    }
    if gemv.y.is_null() {
        return vec![Written::new(gemv.y_f32, sums.iter().map(Approx::want).collect())];
    }
    if gemv.activation == PLAIN && gemv.residual.is_null() {
        let rounded = sums.iter().map(|sum| Approx { value: precision.round(sum.value), ..*sum }.want());
        return vec![Written::new(gemv.y, rounded.collect())];
    }
    let rows = sums.chunks(n);
    let values: Vec<Approx> = match gemv.activation {
        RELU2 => sums.iter().map(|sum| sum.rounded(precision).positive().squared().rounded(precision)).collect(),
        SWIGLU => rows.flat_map(|row| gated(row.split_at(n / 2), precision)).collect(),
        _ => {
            let added = |(sum, x): (&Approx, f64)| (sum.rounded(precision) + Approx::exact(x)).rounded(precision);
            sums.iter().zip(data.f64s(gemv.residual)).map(added).collect()
        }
    };
    vec![Written::new(gemv.y, values.iter().map(Approx::want).collect())]
}

/// The product of a row, whose error is that of its terms in any order.
pub fn dot(a: &[Approx], w: &[f64]) -> Approx {
    let zero = Approx::exact(0.0);
    // A term's share of the error is its magnitude, not that of the sum so far.
    let sum = a.iter().zip(w).fold(zero, |sum, (a, w)| sum.plus_term(a.times(*w)));
    sum.with_error(a.iter().zip(w).map(|(a, w)| (a.value * w).abs()).sum())
}

fn gated<'a>((gates, ups): (&'a [Approx], &'a [Approx]), precision: Precision) -> impl Iterator<Item = Approx> + 'a {
    gates.iter().zip(ups).map(move |(gate, up)| {
        let (gate, up) = (gate.rounded(precision), up.rounded(precision));
        (gate.silu().rounded(precision) * up).rounded(precision)
    })
}

pub trait Normed {
    /// The row `x` as it meets the weight.
    fn normed(&self, x: &[f64], data: &Data, precision: Precision) -> Vec<Approx>;
}

impl Normed for Gemv {
    fn normed(&self, x: &[f64], data: &Data, precision: Precision) -> Vec<Approx> {
        let mean_of = |values: &dyn Fn(f64) -> f64| x.iter().map(|x| values(*x)).sum::<f64>() / x.len() as f64;
        let eps = f64::from(self.eps);
        if self.norm_weight.is_null() {
            return x.iter().map(|x| Approx::exact(*x)).collect();
        }
        let weight = data.f64s(self.norm_weight);
        if !self.gate.is_null() {
            let (gate, group) = (data.f64s(self.gate), x.len() / self.norm_groups as usize);
            let groups = x.chunks(group).zip(gate.chunks(group)).zip(weight.chunks(group));
            let outputs = groups.flat_map(|(yz, weight)| gated_norm::normed(yz, weight, eps));
            return outputs.map(|output| output.rounded(precision)).collect();
        }
        if self.norm_bias.is_null() {
            let root = (mean_of(&|x| x * x) + eps).sqrt();
            // The root, its reciprocal and the product.
            let unit = |x: f64| Approx::near(x / root, 3.0 * (x / root).abs());
            let once = self.roundings == rms_norm::ONCE;
            let unit = |x: f64| if once { unit(x) } else { unit(x).rounded(precision) };
            let weighed = |x: f64, w: f64| unit(x).times(w).with_error((x / root * w).abs()).rounded(precision);
            return x.iter().zip(weight).map(|(x, w)| weighed(*x, w)).collect();
        }
        let (mean, mean_error) = (mean_of(&|x| x), mean_of(&f64::abs));
        let deviation = (mean_of(&|x| (x - mean) * (x - mean)) + eps).sqrt();
        let y = |((x, w), bias): ((&f64, f64), f64)| {
            let scale = precision.round(1.0 + w);
            let value = (x - mean) / deviation * scale + bias;
            // As in the oracle of `layer_norm_1p`.
            let error = (mean_error + 5.0 * (x - mean).abs()) / deviation * scale.abs() + bias.abs() + value.abs();
            Approx::near(value, error).rounded(precision)
        };
        x.iter().zip(weight).zip(data.f64s(self.norm_bias)).map(y).collect()
    }
}
