//! Rows of `moe_quant_gemv`.
use gpu_kernels::activation::{PLAIN, RELU2};
use gpu_kernels::{Format, MoeGemv, MoeQuantGemv, Ptr};

use crate::data::Data;
use crate::moe_gemv;
use crate::mutants::{BARRIER, Defect};
use crate::oracle::{Oracle, Precision, Row, Written};
use crate::packed;
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

/// Each in every format.
const SHAPES: [Shape; 7] = [
    shape(1, 1, 1, 16, 8),
    shape(1, 6, 9, 48, 264),
    shape(13, 2, 2, 16, 520),
    Shape { activation: RELU2, ..shape(3, 4, 5, 16, 1032) },
    // 3-nano-30b-a3b: into an expert, and out of one.
    shape(2, 2, 3, 32, 2688),
    Shape { row_per_choice: true, ..shape(2, 3, 5, 16, 1856) },
    Shape { row_per_choice: true, ..shape(33, 2, 3, 16, 72) },
];

const FORMATS: [Format; 6] = [
    Format::Fp8 { group: 0 },
    Format::Fp8 { group: 128 },
    Format::Int8 { group: 0 },
    Format::Int4 { group: 64, zeros: true },
    Format::Int4 { group: 32, zeros: false },
    Format::Nvfp4,
];

/// Warps of a team, and more tiles than there are teams.
const TURNS: [(u32, Format, Shape); 9] = [
    (8, Format::Nvfp4, shape(4, 3, 6, 1424, 24)),
    (8, Format::Fp8 { group: 0 }, shape(1, 3, 3, 1424, 2048)),
    (4, Format::Fp8 { group: 0 }, shape(1, 3, 3, 2432, 520)),
    (2, Format::Fp8 { group: 0 }, shape(5, 3, 3, 4832, 136)),
    (8, Format::Int8 { group: 64 }, shape(1, 3, 3, 1424, 2048)),
    (1, Format::Int8 { group: 0 }, shape(1, 3, 3, 9632, 40)),
    (8, Format::Int4 { group: 64, zeros: false }, shape(1, 3, 3, 1424, 2048)),
    (2, Format::Int4 { group: 32, zeros: true }, shape(1, 3, 3, 4832, 72)),
    (1, Format::Nvfp4, shape(9, 1, 1, 14432, 264)),
];

/// The same of one row, which a block copies, and of several.
const MORE_TURNS: [(u32, Format, Shape); 9] = [
    (8, Format::Nvfp4, shape(1, 3, 3, 1424, 2312)),
    (2, Format::Nvfp4, Shape { row_per_choice: true, ..shape(1, 3, 3, 4832, 520) }),
    (4, Format::Int8 { group: 0 }, Shape { row_per_choice: true, ..shape(1, 3, 3, 2432, 520) }),
    (2, Format::Int4 { group: 64, zeros: true }, shape(1, 3, 3, 48, 1032)),
    (8, Format::Int4 { group: 32, zeros: true }, shape(1, 3, 3, 48, 2312)),
    (8, Format::Fp8 { group: 0 }, shape(2, 3, 3, 1424, 1032)),
    (8, Format::Int8 { group: 0 }, shape(2, 3, 3, 1424, 1032)),
    (8, Format::Int4 { group: 64, zeros: true }, shape(2, 3, 3, 1424, 1032)),
    (8, Format::Int4 { group: 32, zeros: true }, shape(2, 3, 3, 1424, 520)),
];

/// Of one row: teams without a tile in some blocks, choices by turns, and a row that is too long to be copied.
const LONE: [(u32, Format, Shape); 5] = [
    (1, Format::Fp8 { group: 0 }, Shape { row_per_choice: true, ..shape(1, 5, 6, 176, 264) }),
    (2, Format::Nvfp4, Shape { row_per_choice: true, ..shape(1, 5, 6, 80, 520) }),
    (2, Format::Int4 { group: 64, zeros: false }, Shape { activation: RELU2, ..shape(1, 22, 23, 80, 4096) }),
    (8, Format::Fp8 { group: 0 }, shape(1, 2, 2, 16, 4104)),
    (2, Format::Int4 { group: 32, zeros: true }, Shape { row_per_choice: true, ..shape(1, 5, 6, 80, 520) }),
];

pub fn rows() -> Vec<Row<MoeQuantGemv>> {
    let all = FORMATS.into_iter().flat_map(|format| SHAPES.map(|shape| (format, shape)));
    // Every shape and every format meets teams of every size.
    let all = all
        .enumerate()
        .map(|(at, (format, shape))| (1 << (at % 4), format, shape))
        .chain(TURNS)
        .chain(MORE_TURNS)
        .chain(LONE);
    all.enumerate().map(|(seed, (team, format, shape))| row(seed as u64, team, format, &shape)).collect()
}

fn row(seed: u64, team: u32, format: Format, shape: &Shape) -> Row<MoeQuantGemv> {
    let Shape { rows, top_k, experts, n, k, activation, row_per_choice } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x_rows = if row_per_choice { rows * top_k } else { rows };
    // Every row goes to different experts, as the router has it.
    let choices = (0..rows).flat_map(|_| random.permutation(experts)[..top_k].to_vec());
    let ids: Vec<i32> = choices.map(|id| id as i32).collect();
    let x = data.reals("x", random.reals(x_rows * k, 1.0));
    let w = packed::weight(&mut data, &mut random, format, [experts * n, k], 1.0);
    let around = MoeGemv {
        x,
        w: Ptr::NULL,
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
    let kernel = MoeQuantGemv { team, ..MoeQuantGemv::new(around, w, format) };
    Row { name: format!("{format:?}, {shape:?}, teams of {team}"), kernel, data }
}

impl Oracle for MoeQuantGemv {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    // Its stream is `quant_gemv`'s, whose rows notice the other defects.
    const DEFECTS: &[Defect] = &[BARRIER];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let format = Format::of(self.format, self.group).expect("the format is known");
        let w = packed::values(data, (self.w, self.scales), format, self.k as usize);
        moe_gemv::written(&self.around(), &w, data, precision)
    }
}
