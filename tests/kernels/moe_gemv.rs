//! Rows of `moe_gemv`.
use gpu_kernels::MoeGemv;
use gpu_kernels::activation::{PLAIN, RELU2};

use crate::approx::Approx;
use crate::data::Data;
use crate::mutants::{BARRIER, COPY_EDGE, Defect, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    top_k: usize,
    experts: usize,
    n: usize,
    k: usize,
    activation: u32,
    row_per_choice: bool,
}

const fn shape(rows: usize, top_k: usize, experts: usize, n: usize, k: usize) -> Shape {
    Shape { rows, top_k, experts, n, k, activation: PLAIN, row_per_choice: false }
}

const SHAPES: [Shape; 21] = [
    shape(1, 1, 1, 16, 8),
    shape(1, 6, 9, 48, 264),
    shape(1, 260, 300, 16, 8),
    shape(2, 2, 3, 32, 40),
    shape(3, 4, 5, 16, 1032),
    shape(8, 3, 4, 32, 72),
    shape(13, 2, 2, 16, 520),
    shape(48, 8, 16, 16, 8),
    shape(300, 1, 2, 16, 24),
    shape(4, 3, 6, 1424, 24),
    shape(1, 3, 3, 1536, 1024),
    shape(1, 3, 3, 1424, 1040),
    shape(1, 3, 3, 1424, 520),
    shape(300, 1, 2, 16, 1024),
    Shape { activation: RELU2, ..shape(1, 4, 6, 32, 136) },
    Shape { activation: RELU2, ..shape(5, 2, 3, 16, 1288) },
    Shape { row_per_choice: true, ..shape(1, 6, 9, 16, 264) },
    Shape { row_per_choice: true, ..shape(4, 3, 5, 48, 1032) },
    Shape { row_per_choice: true, ..shape(33, 2, 3, 16, 72) },
    Shape { row_per_choice: true, activation: RELU2, ..shape(2, 2, 2, 16, 776) },
    shape(2, 2, 3, 16, 2056),
];

pub fn rows() -> Vec<Row<MoeGemv>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, shape: &Shape) -> Row<MoeGemv> {
    let Shape { rows, top_k, experts, n, k, activation, row_per_choice } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x_rows = if row_per_choice { rows * top_k } else { rows };
    // Every row goes to different experts, as the router has it.
    let choices = (0..rows).flat_map(|_| random.permutation(experts)[..top_k].to_vec());
    let ids: Vec<i32> = choices.map(|id| id as i32).collect();
    let kernel = MoeGemv {
        x: data.reals("x", random.reals(x_rows * k, 1.0)),
        w: data.weight("w", random.reals(experts * n * k, 1.0), k),
        ids: data.integers("ids", ids),
        y: data.undefined("y", rows * top_k * n),
        rows: rows as u32,
        top_k: top_k as u32,
        experts: experts as u32,
        n: n as u32,
        k: k as u32,
        activation,
        row_per_choice: row_per_choice.into(),
        ids_settled: row_per_choice.into(),
    };
    Row { name: format!("{shape:?}"), kernel, data }
}

/// The first steps of the wide variant, which serves long rows alone, never end behind a row.
const NARROW_EDGE: Defect = Defect { entries: "_narrow", ..COPY_EDGE };

impl Oracle for MoeGemv {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    const DEFECTS: &[Defect] = &[NARROW_EDGE, TERM, STRIDE, BARRIER];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        written(self, &data.f64s(self.w), data, precision)
    }
}

/// What a product with the experts `w` writes.
pub fn written(args: &MoeGemv, w: &[f64], data: &Data, precision: Precision) -> Vec<Written> {
    let (x, top_k) = (data.f64s(args.x), args.top_k as usize);
    let choice = |(choice, id): (usize, &i32)| {
        let row = if args.row_per_choice == 0 { choice / top_k } else { choice };
        Choice { row, expert: *id as usize }
    };
    let choices: Vec<Choice> = data.i32s(args.ids).iter().enumerate().map(choice).collect();
    let sizes = (args.n as usize, args.k as usize);
    vec![Written::new(args.y, wants(&choices, &x, w, sizes, args.activation, precision))]
}

/// A row of `x` and the expert that it goes to.
#[derive(Clone, Copy)]
pub struct Choice {
    pub row: usize,
    pub expert: usize,
}

/// The outputs of the choices, in their order, with weights of `n` rows and `k` columns.
pub fn wants(
    choices: &[Choice],
    x: &[f64],
    w: &[f64],
    (n, k): (usize, usize),
    activation: u32,
    precision: Precision,
) -> Vec<Want> {
    let mut wants = Vec::new();
    for choice in choices {
        let (x, w) = (&x[choice.row * k..][..k], &w[choice.expert * n * k..][..n * k]);
        wants.extend(w.chunks(k).map(|w| activated(dot(x, w), activation, precision).want()));
    }
    wants
}

fn activated(sum: Approx, activation: u32, precision: Precision) -> Approx {
    if activation == RELU2 {
        return sum.rounded(precision).positive().squared().rounded(precision);
    }
    Approx { value: precision.round(sum.value), ..sum }
}

fn dot(x: &[f64], w: &[f64]) -> Approx {
    let terms = x.iter().zip(w).map(|(x, w)| x * w);
    let (sum, magnitude) = terms.fold((0.0, 0.0), |(sum, magnitude), term| (sum + term, magnitude + term.abs()));
    Approx::near(sum, magnitude)
}
