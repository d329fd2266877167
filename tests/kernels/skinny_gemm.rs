//! Rows of `skinny_gemm`: the product is that of `gemv`.
use std::ops::Range;

use gpu_kernels::activation::{PLAIN, RELU2, SWIGLU};
use gpu_kernels::{Gemv, SkinnyGemm};

use crate::data::Data;
use crate::gemv::written;
use crate::mutants::{BARRIER, CLUSTER, COPY_EDGE, Defect, LANES, PRODUCT, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    n: usize,
    k: usize,
    logits: bool,
    bias: bool,
    activation: u32,
    residual: bool,
    /// Whether the sums of each split are what is written.
    parts: bool,
    scale: f32,
}

const fn shape(rows: usize, n: usize, k: usize) -> Shape {
    Shape { rows, n, k, logits: false, bias: false, activation: PLAIN, residual: false, parts: false, scale: 1.0 }
}

const SHAPES: [Shape; 23] = [
    shape(9, 8, 8),
    shape(9, 136, 72),
    shape(16, 40, 520),
    shape(1, 24, 264),
    shape(17, 264, 136),
    shape(32, 64, 328),
    Shape { logits: true, ..shape(25, 136, 64) },
    shape(33, 8, 200),
    shape(64, 144, 72),
    shape(63, 136, 64),
    shape(48, 24, 200),
    Shape { bias: true, ..shape(12, 72, 264) },
    Shape { bias: true, logits: true, ..shape(40, 16, 520) },
    Shape { activation: RELU2, bias: true, ..shape(30, 136, 40) },
    Shape { activation: RELU2, ..shape(56, 16, 264) },
    Shape { activation: SWIGLU, scale: 0.3, ..shape(11, 272, 72) },
    Shape { activation: SWIGLU, bias: true, scale: 0.3, ..shape(50, 32, 520) },
    Shape { activation: SWIGLU, scale: 0.3, ..shape(41, 144, 40) },
    Shape { residual: true, ..shape(15, 136, 264) },
    Shape { residual: true, bias: true, ..shape(47, 24, 72) },
    Shape { residual: true, ..shape(57, 16, 520) },
    Shape { residual: true, scale: 1e3, ..shape(29, 8, 1032) },
    // As many splits as there may be.
    shape(14, 8, 2048),
];

/// Some tiles; and columns that blocks share, in even and uneven parts.
const TURNS: [Shape; 7] = [
    shape(9, 392, 200),
    Shape { logits: true, ..shape(33, 520, 72) },
    Shape { parts: true, ..shape(10, 8, 2056) },
    Shape { parts: true, ..shape(64, 8, 1096) },
    Shape { parts: true, ..shape(20, 136, 520) },
    Shape { parts: true, ..shape(40, 264, 776) },
    Shape { parts: true, activation: SWIGLU, ..shape(14, 144, 1032) },
];

/// Columns that blocks share whose sums they add themselves where they can: every number of splits, with all that may stand behind.
const JOINED: [Shape; 9] = [
    Shape { residual: true, bias: true, ..shape(9, 24, 2056) },
    Shape { logits: true, bias: true, ..shape(12, 136, 1288) },
    Shape { activation: SWIGLU, bias: true, scale: 0.3, ..shape(10, 144, 1032) },
    Shape { activation: RELU2, bias: true, ..shape(16, 40, 776) },
    Shape { residual: true, ..shape(25, 24, 1800) },
    shape(32, 136, 2056),
    Shape { logits: true, ..shape(64, 24, 1544) },
    Shape { activation: SWIGLU, scale: 0.3, ..shape(50, 32, 2056) },
    Shape { residual: true, ..shape(33, 136, 1032) },
];

/// Every token row of every entry, with all that may stand behind a product.
const FULL: [Shape; 4] = [
    Shape { bias: true, logits: true, ..shape(0, 24, 40) },
    Shape { bias: true, residual: true, ..shape(0, 24, 40) },
    Shape { bias: true, activation: RELU2, ..shape(0, 24, 40) },
    Shape { bias: true, activation: SWIGLU, scale: 0.3, ..shape(0, 32, 40) },
];

/// More tiles than any device has multiprocessors, of one stage and of more than are on their way together.
const MANY_TILES: usize = 2 * 64 * 133 + 16;
const DEEP: usize = 520;

pub fn rows() -> Vec<Row<SkinnyGemm>> {
    let gates = |rows, k| Shape { activation: SWIGLU, scale: 0.3, ..shape(rows, MANY_TILES, k) };
    // A tile that two blocks take would have its residual twice.
    let many = [gates(10, 8), gates(10, DEEP), Shape { residual: true, ..shape(10, MANY_TILES, 8) }];
    let full = [16, 32, 64].into_iter().flat_map(|rows| FULL.map(|shape| Shape { rows, ..shape }));
    SHAPES
        .into_iter()
        .chain(TURNS)
        .chain(JOINED)
        .chain(full)
        .chain(many)
        .enumerate()
        .map(|(seed, shape)| row(seed as u64, &shape))
        .collect()
}

fn row(seed: u64, shape: &Shape) -> Row<SkinnyGemm> {
    let Shape { rows, n, k, logits, bias, activation, residual, parts, scale } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let mut values = random.reals(rows * k, scale);
    if n == MANY_TILES {
        // Few terms: with many, some of so many sums are next to nothing.
        values.iter_mut().enumerate().filter(|(at, _)| at % k % 150 != 7).for_each(|(_, x)| *x = 0.0);
    }
    let x = data.reals("x", values);
    let w = data.weight("w", random.reals(n * k, scale), k);
    let plain = SkinnyGemm::new(x, w, [rows as u32, n as u32, k as u32]);
    // Tiles of every height that a plan asks for.
    let height = [8, 5, 7, 6][seed as usize % 4];
    let mut kernel = SkinnyGemm { activation, height, ..plain };
    let width = if activation == SWIGLU { n / 2 } else { n };
    if bias {
        kernel.bias = data.weight("bias", random.reals(n, scale), 1);
    }
    match (logits, residual) {
        _ if parts => {
            assert!(kernel.splits() > 1, "several blocks share the columns");
            kernel.partial = data.undefined("partial", kernel.partials());
        }
        (true, _) => kernel.y_f32 = data.undefined("y_f32", rows * n),
        (_, false) => kernel.y = data.undefined("y", rows * width),
        (_, true) => {
            kernel.y = data.reals("y", random.reals(rows * width, scale));
            kernel.residual = kernel.y;
        }
    }
    Row { name: format!("{shape:?}"), kernel, data }
}

/// Tiles by turns are one entry's rows: the others differ in sizes alone.
const TURNS_STRIDE: Defect = Defect { entries: "_16", ..STRIDE };
/// Behind its last column a token row is multiplied by zeros, so that where there are more copies of rows only the last matters.
const ROW_EDGE: Defect = Defect { entries: "_16", ..COPY_EDGE };

impl Oracle for SkinnyGemm {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[ROW_EDGE, TERM, TURNS_STRIDE, BARRIER, LANES, PRODUCT, CLUSTER];

    /// Entries in clusters differ in how they join, and from each other in sizes alone.
    fn spares(entry: &str, defect: &Defect) -> bool {
        let joins = [TERM, BARRIER, CLUSTER].iter().any(|own| own.name == defect.name);
        entry.contains("_cluster_") && (!joins || entry != "skinny_gemm_cluster_16")
    }

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let SkinnyGemm { x, w, bias, residual, y, y_f32, partial, rows, n, k, activation, .. } = *self;
        if partial.is_null() {
            let gemv = Gemv { bias, residual, y, y_f32, activation, ..Gemv::new(x, w, [rows, n, k]) };
            return written(&gemv, &data.f64s(w), data, precision);
        }
        let columns = (0..self.splits()).map(|split| self.columns(split));
        let place = |split, row, token| self.partial_index(split, row, token);
        let wants = parts((&data.f64s(x), &data.f64s(w)), k, columns, place, self.partials());
        vec![Written::new(partial, wants)]
    }
}

/// The sums of the columns of each split, of `k` columns of tokens and weights, at their places of `partials`; zeros elsewhere.
pub fn parts(
    (x, w): (&[f64], &[f64]),
    k: u32,
    splits: impl Iterator<Item = Range<u32>>,
    place: impl Fn(u32, u32, u32) -> usize,
    partials: usize,
) -> Vec<Want> {
    let mut wants = vec![Want::near(0.0, 0.0); partials];
    for (split, columns) in (0..).zip(splits) {
        let columns = columns.start as usize..columns.end as usize;
        for (token, x) in (0..).zip(x.chunks(k as usize)) {
            for (row, w) in (0..).zip(w.chunks(k as usize)) {
                let terms = x[columns.clone()].iter().zip(&w[columns.clone()]).map(|(x, w)| x * w);
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
                wants[place(split, row, token)] = Want::near(sum, size);
            }
        }
    }
    wants
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    use crate::emulator::{Emulator, devices};
    use crate::target::Target;
    let (n, k) = (264, 520);
    let mut random = Random::new(99);
    let (x, w) = (random.reals(64 * k, 1.0), random.reals(n * k, 1.0));
    let run = |rows: std::ops::Range<usize>, device: usize| {
        let mut data = Data::default();
        let x = data.reals("x", x[rows.start * k..rows.end * k].to_vec());
        let w = data.weight("w", w.clone(), k);
        let plain = SkinnyGemm::new(x, w, [rows.len() as u32, n as u32, k as u32]);
        // In tiles of any height.
        let height = 5 + rows.len() as u32 % 4;
        let kernel = SkinnyGemm { y_f32: data.undefined("y_f32", rows.len() * n), height, ..plain };
        let mut emulator = Emulator::new();
        emulator.device = devices(&kernel).nth(device).expect("with warpgroups, also in clusters, and without");
        let outcome = emulator.run(&kernel, &data).expect("it runs");
        outcome.last().expect("y_f32 is the last buffer").clone()
    };
    for device in [0, 1, 2] {
        let all = run(0..64, device);
        for rows in [0..9, 50..64, 3..20, 30..63] {
            assert_eq!(run(rows.clone(), device), all[rows.start * n..rows.end * n], "rows {rows:?}");
        }
    }
}
