//! Rows of `moe_quant_gemm`: the product is that of `moe_gemm`, the weight that of `quant_gemm`.
use gpu_kernels::activation::{PLAIN, RELU2};
use gpu_kernels::{Format, MoeGemm, MoeQuantGemm, Ptr};

use crate::data::Data;
use crate::moe_gemm;
use crate::moe_sort::sorted;
use crate::mutants::{BARRIER, COPY_EDGE, Defect, PRODUCT};
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
const SHAPES: [Shape; 5] = [
    shape(1, 1, 1, 16, 8),
    shape(9, 3, 5, 144, 392),
    Shape { activation: RELU2, ..shape(3, 2, 3, 16, 520) },
    Shape { row_per_choice: true, ..shape(40, 2, 2, 32, 264) },
    // Parts of tiles, and a tile of each kind.
    shape(330, 1, 2, 16, 136),
];

const FORMATS: [Format; 8] = [
    Format::Fp8 { group: 0 },
    Format::Fp8 { group: 128 },
    Format::Int8 { group: 0 },
    Format::Int8 { group: 64 },
    Format::Int4 { group: 64, zeros: true },
    Format::Int4 { group: 32, zeros: false },
    Format::Int4 { group: 32, zeros: true },
    Format::Nvfp4,
];

/// More parts than there are blocks.
const TURNS: [(Format, Shape); 4] = [
    (Format::Nvfp4, shape(130, 2, 20, 2112, 24)),
    (Format::Fp8 { group: 0 }, Shape { row_per_choice: true, ..shape(70, 2, 10, 3600, 136) }),
    (Format::Int8 { group: 64 }, shape(65, 1, 5, 7200, 72)),
    (Format::Nvfp4, shape(400, 1, 20, 2112, 24)),
];

/// Choices of each expert: few on average, and five parts of one.
const FEW: [usize; 12] = [130, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// Choices of each expert: some on average, and three parts of one.
const SOME: [usize; 6] = [130, 20, 40, 0, 33, 9];

/// Choices of each expert: many on average.
const CHOICES: [usize; 11] = [0, 1, 63, 64, 65, 96, 97, 127, 128, 129, 200];

/// More experts than there are blocks: behind one of some more choices a block has one of few.
const MANY: [usize; 134] = {
    let mut choices = [65; 134];
    (choices[0], choices[1], choices[132], choices[133]) = (90, 120, 20, 20);
    choices
};

/// Products with experts of so many choices each, for which `n` and `k` are given.
fn of_choices() -> Vec<(Format, Shape, Vec<usize>)> {
    let shape = |choices: &[usize], n, k| shape(choices.iter().sum(), 1, choices.len(), n, k);
    let fp8 = Format::Fp8 { group: 0 };
    let few = FORMATS.map(|format| (format, shape(&FEW, 16, 136), FEW.to_vec()));
    let many = FORMATS.map(|format| (format, shape(&CHOICES, 16, 136), CHOICES.to_vec()));
    // Two tiles of the weight, the second one not whole, and stages that are used again.
    let whole = FORMATS.map(|format| {
        let relu2 = Shape { activation: RELU2, ..shape(&CHOICES[4..6], 224, 840) };
        (format, relu2, CHOICES[4..6].to_vec())
    });
    let some = FORMATS.map(|format| (format, shape(&SOME, 16, 136), SOME.to_vec()));
    few.into_iter()
        .chain(many)
        .chain(whole)
        .chain([(fp8, shape(&MANY, 16, 520), MANY.to_vec())])
        .chain(some)
        .chain([(16, 8, PLAIN), (32, 264, PLAIN), (144, 392, PLAIN), (16, 520, RELU2)].map(|(n, k, activation)| {
            let choices = &SOME[1..3];
            (fp8, Shape { activation, ..shape(choices, n, k) }, choices.to_vec())
        }))
        .collect()
}

pub fn rows() -> Vec<Row<MoeQuantGemm>> {
    let all = FORMATS.into_iter().flat_map(|format| SHAPES.map(|shape| (format, shape))).chain(TURNS);
    let mut rows: Vec<_> =
        all.enumerate().map(|(seed, (format, shape))| any_row(seed as u64, format, &shape)).collect();
    for (seed, (format, shape, choices)) in of_choices().into_iter().enumerate() {
        let mut random = Random::new(300 + seed as u64);
        let ids: Vec<i32> = choices.iter().zip(0..).flat_map(|(count, expert)| vec![expert; *count]).collect();
        let ids = random.permutation(ids.len()).into_iter().map(|at| ids[at]).collect();
        rows.push(row(random, format, &shape, ids));
    }
    rows
}

/// A row with experts that are drawn.
fn any_row(seed: u64, format: Format, shape: &Shape) -> Row<MoeQuantGemm> {
    let mut random = Random::new(seed);
    let ids = (0..shape.rows).flat_map(|_| random.permutation(shape.experts)[..shape.top_k].to_vec());
    let ids = ids.map(|id| id as i32).collect();
    row(random, format, shape, ids)
}

fn row(mut random: Random, format: Format, shape: &Shape, ids: Vec<i32>) -> Row<MoeQuantGemm> {
    let Shape { rows, top_k, experts, n, k, activation, row_per_choice } = *shape;
    let mut data = Data::default();
    let x_rows = if row_per_choice { rows * top_k } else { rows };
    let (order, tiles) = sorted(&ids, experts as u32);
    let x = data.reals("x", random.reals(x_rows * k, 1.0));
    let w = packed::weight(&mut data, &mut random, format, [experts * n, k], 1.0);
    let around = MoeGemm {
        x,
        w: Ptr::NULL,
        order: data.integers("order", order),
        tiles: data.integers("tiles", tiles),
        y: data.undefined("y", rows * top_k * n),
        rows: rows as u32,
        top_k: top_k as u32,
        experts: experts as u32,
        first: 0,
        held: experts as u32,
        n: n as u32,
        k: k as u32,
        activation,
        row_per_choice: row_per_choice.into(),
    };
    Row { name: format!("{format:?}, {shape:?}"), kernel: MoeQuantGemm::new(around, w, format), data }
}

impl Oracle for MoeQuantGemm {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    // Codes and products are `quant_gemm`'s, whose rows notice the other defects.
    const DEFECTS: &[Defect] = &[
        Defect { entries: "_fp8", ..COPY_EDGE },
        Defect { entries: "_fp8", ..BARRIER },
        Defect { entries: "_nvfp4", ..BARRIER },
        Defect { entries: "_wide_fp8", ..PRODUCT },
        Defect { entries: "_wide_int4_fine", ..PRODUCT },
    ];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let format = Format::of(self.format, self.group).expect("the format is known");
        let w = packed::values(data, (self.w, self.scales), format, self.k as usize);
        moe_gemm::written(&self.around(), &w, data, precision)
    }
}

/// Which choices share a part, and which parts a block, changes no bit of a choice.
#[test]
fn a_choice_has_the_same_bits_in_any_company() {
    use crate::emulator::{Emulator, devices};
    use crate::target::Target;
    let (n, k, most) = (32, 392, 150);
    let x = Random::new(97).reals(most * k, 1.0);
    let grouped = [Format::Fp8 { group: 128 }, Format::Int4 { group: 32, zeros: false }];
    for format in
        [Format::Fp8 { group: 0 }, Format::Int4 { group: 64, zeros: false }, Format::Nvfp4].into_iter().chain(grouped)
    {
        let run = |rows: std::ops::Range<usize>, device: usize| {
            let mut data = Data::default();
            let own = data.reals("x", x[rows.start * k..rows.end * k].to_vec());
            let w = packed::weight(&mut data, &mut Random::new(96), format, [n, k], 1.0);
            let (order, tiles) = sorted(&vec![0; rows.len()], 1);
            let (order, tiles) = (data.integers("order", order), data.integers("tiles", tiles));
            let y = data.undefined("y", rows.len() * n);
            let (rows, n, k) = (rows.len() as u32, n as u32, k as u32);
            let ones = MoeGemm {
                x: own,
                w: Ptr::NULL,
                order,
                tiles,
                y,
                rows,
                top_k: 1,
                experts: 1,
                first: 0,
                held: 1,
                n,
                k,
                activation: PLAIN,
                row_per_choice: 0,
            };
            let kernel = MoeQuantGemm::new(ones, w, format);
            let mut emulator = Emulator::new();
            emulator.device = devices(&kernel)
                .nth(device)
                .expect("with warpgroups, where many and few choices have entries of their own, and without");
            emulator.run(&kernel, &data).expect("it runs").pop().expect("y")
        };
        for device in [0, 1] {
            let all = run(0..most, device);
            assert!(all.iter().all(Option::is_some), "{format:?}");
            for rows in [0..1, 60..70, 128..150] {
                let some = run(rows.clone(), device);
                assert_eq!(some, all[rows.start * n..rows.end * n], "{format:?}, {rows:?}");
            }
        }
    }
}
