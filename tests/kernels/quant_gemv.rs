//! Rows of `quant_gemv`.
use gpu_kernels::activation::{PLAIN, RELU2, SWIGLU};
use gpu_kernels::{Format, Ptr, QuantGemv, rms_norm};
use nemotron_backend::device::e2m1_word;

use crate::data::Data;
use crate::gemv::{self, Norm, outbox};
use crate::mutants::{BARRIER, COPY_EDGE, Defect, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Written};
use crate::packed;
use crate::random::Random;

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
}

const fn shape(rows: usize, n: usize, k: usize) -> Shape {
    Shape { rows, n, k, norm: Norm::None, logits: false, bias: false, activation: PLAIN, residual: false }
}

/// Each in every format.
const SHAPES: [Shape; 23] = [
    shape(1, 1, 8),
    shape(1, 7, 24),
    Shape { logits: true, ..shape(8, 35, 264) },
    Shape { bias: true, ..shape(3, 18, 776) },
    Shape { residual: true, bias: true, ..shape(2, 31, 1032) },
    Shape { activation: RELU2, ..shape(5, 19, 520) },
    Shape { activation: SWIGLU, ..shape(4, 22, 2056) },
    // The hidden sizes of 3-nano-4b and 3-nano-30b-a3b.
    Shape { logits: true, ..shape(1, 17, 3136) },
    Shape { logits: true, bias: true, ..shape(7, 5, 2688) },
    shape(6, 3, 4872),
    // Whole tiles of several steps.
    shape(2, 17, 6152),
    Shape { logits: true, ..shape(1, 17, 8192) },
    shape(1, 3, 8712),
    Shape { activation: SWIGLU, bias: true, ..shape(1, 22, 2056) },
    Shape { activation: RELU2, ..shape(1, 19, 520) },
    Shape { residual: true, bias: true, ..shape(1, 31, 1032) },
    Shape { norm: Norm::Rms, ..shape(1, 35, 72) },
    Shape { norm: Norm::RmsOnce, residual: true, ..shape(1, 19, 2312) },
    Shape { norm: Norm::LayerNorm1p, activation: RELU2, bias: true, ..shape(1, 21, 776) },
    Shape { norm: Norm::LayerNorm1p, logits: true, ..shape(1, 9, 8192) },
    Shape { norm: Norm::Rms, activation: SWIGLU, ..shape(1, 38, 4488) },
    // The longest row that is copied to shared memory, and one that is not.
    shape(1, 3, 16_384),
    shape(1, 3, 16_392),
];

const FORMATS: [Format; 10] = [
    Format::Fp8 { group: 0 },
    Format::Fp8 { group: 128 },
    Format::Int8 { group: 0 },
    Format::Int8 { group: 32 },
    Format::Int8 { group: 512 },
    Format::Int4 { group: 64, zeros: false },
    Format::Int4 { group: 64, zeros: true },
    Format::Int4 { group: 32, zeros: false },
    Format::Int4 { group: 32, zeros: true },
    Format::Nvfp4,
];

/// One of each that has entries of its own.
const STREAMED: [Format; 5] = [
    Format::Fp8 { group: 0 },
    Format::Int8 { group: 0 },
    Format::Int4 { group: 64, zeros: false },
    Format::Int4 { group: 32, zeros: true },
    Format::Nvfp4,
];

/// As `gemv`'s.
const GATED: [Shape; 5] = [
    Shape { norm: Norm::Gated(8), residual: true, ..shape(1, 35, 4096) },
    Shape { norm: Norm::Gated(8), ..shape(1, 17, 7680) },
    Shape { norm: Norm::Gated(20), bias: true, ..shape(1, 33, 2080) },
    Shape { norm: Norm::Gated(3), logits: true, ..shape(1, 35, 72) },
    Shape { norm: Norm::Gated(2), residual: true, ..shape(1, 9, 5152) },
];

/// More tiles than blocks, with a step each.
const TURNS: [Shape; 2] =
    [Shape { activation: SWIGLU, bias: true, ..shape(3, 7000, 40) }, Shape { residual: true, ..shape(1, 7000, 40) }];

/// Turns of several steps, and groups of FP8 that end within a step.
const LONG: [(Format, Shape); 5] = [
    (Format::Fp8 { group: 32 }, shape(2, 35, 1032)),
    (Format::Int8 { group: 64 }, shape(1, 1750, 2048)),
    (Format::Nvfp4, shape(8, 3480, 264)),
    (Format::Int4 { group: 32, zeros: false }, shape(1, 3500, 520)),
    (Format::Int4 { group: 64, zeros: true }, shape(2, 1750, 2048)),
];

pub fn rows() -> Vec<Row<QuantGemv>> {
    let all = FORMATS.into_iter().flat_map(|format| SHAPES.map(|shape| (format, shape)));
    let turns = STREAMED.into_iter().flat_map(|format| TURNS.map(|shape| (format, shape)));
    let all = all.chain(turns).chain(LONG);
    let random = all.enumerate().map(|(seed, (format, shape))| row(seed as u64, format, &shape));
    let sent =
        FORMATS.into_iter().flat_map(|format| [shape(1, 20, 1032), shape(5, 36, 520)].map(|shape| (format, shape)));
    let sent = sent.flat_map(|(format, shape)| [false, true].map(|residual| (format, Shape { residual, ..shape })));
    let settled = STREAMED.into_iter().flat_map(|format| [1, 5].map(|rows| settled_row(format, rows, Norm::None)));
    let sent = sent.map(|(format, shape)| sending_row(format, &shape));
    let told = random.chain(every_code()).chain(sent).chain(settled);
    let gated = STREAMED.into_iter().flat_map(|format| GATED.map(|shape| (format, shape)));
    let gated = gated.enumerate().map(|(seed, (format, shape))| row(seed as u64, format, &shape));
    let settled = STREAMED.into_iter().flat_map(|format| [Norm::Rms, Norm::LayerNorm1p].map(|norm| (format, norm)));
    told.chain(gated).chain(settled.map(|(format, norm)| settled_row(format, 1, norm))).collect()
}

/// Several tiles, of 22 steps or of 11, in every format; in f32, which tells sums of another order.
pub fn tiles_of_odd_steps() -> impl Iterator<Item = Row<QuantGemv>> {
    FORMATS.into_iter().map(|format| row(0, format, &Shape { logits: true, ..shape(1, 75, 2696) }))
}

/// A row that may run beside the kernel in front.
fn settled_row(format: Format, rows: usize, norm: Norm) -> Row<QuantGemv> {
    let row = row(rows as u64, format, &Shape { activation: RELU2, norm, ..shape(rows, 35, 1032) });
    Row { name: format!("{}, settled", row.name), kernel: QuantGemv { x_settled: 1, ..row.kernel }, ..row }
}

/// A row whose results are sent.
fn sending_row(format: Format, shape: &Shape) -> Row<QuantGemv> {
    let mut row = row(shape.n as u64, format, &Shape { logits: true, ..*shape });
    row.kernel = QuantGemv { y_f32: Ptr::NULL, outbox: outbox(&mut row.data, shape.rows * shape.n), ..row.kernel };
    Row { name: format!("{}, sent", row.name), ..row }
}

fn row(seed: u64, format: Format, shape: &Shape) -> Row<QuantGemv> {
    let Shape { rows, n, k, norm, logits, bias, activation, residual } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x = data.reals("x", random.reals(rows * k, 1.0));
    // A gate is not to be so far below zero that nothing is left of it.
    let scale = if activation == SWIGLU { 0.05 } else { 1.0 };
    let w = packed::weight(&mut data, &mut random, format, [n, k], scale);
    let plain = QuantGemv::new(x, w, format, [rows as u32, n as u32, k as u32]);
    let mut kernel = QuantGemv { activation, eps: 1e-5, ..plain };
    let width = if activation == SWIGLU { n / 2 } else { n };
    if bias {
        kernel.bias = data.weight("bias", random.reals(n, 1.0), 1);
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
            kernel.residual = data.reals("residual", random.reals(rows * n, 1.0));
        }
        (_, false) => kernel.y = data.undefined("y", rows * width),
        (_, true) => {
            kernel.y = data.reals("y", random.reals(rows * width, 1.0));
            kernel.residual = kernel.y;
        }
    }
    Row { name: format!("{format:?}, {shape:?}"), kernel, data }
}

/// Every code, of NVFP4 with every scale, at every place of a word, by tokens that are 1 in one column and 0 elsewhere: so that
/// each result is one weight.
fn every_code() -> Vec<Row<QuantGemv>> {
    let e4m3 = |code: usize| if code & 0x7f == 0x7f { 0 } else { code as u8 };
    let bytes = |code: fn(usize) -> u8| (0..256).flat_map(|row| [code(row); 48]).collect::<Vec<u8>>();
    let fp8 = bytes(|code| if code & 0x7f == 0x7f { 0 } else { code as u8 });
    let int8 = bytes(|code| code as u8);
    // Codes 0 to 15 in turn, and for the row 16 of 256 scales, so that 16 tokens would meet all; their columns are 17 apart.
    let nvfp4 = (0..512).flat_map(|row| {
        let scales = (0..16).map(move |group| e4m3((row / 2 + group * 17) % 256));
        let code = move |column: u32| (column + row as u32) % 16;
        let codes = (0..32).map(move |eight| (0..8).rfold(0, |codes, own| codes << 4 | code(eight * 8 + own)));
        codes.flat_map(|codes| e2m1_word(codes).to_le_bytes()).chain(scales).chain([0; 16])
    });
    let int4 = (0..16u32).flat_map(|zero| {
        let entries =
            (0..4).flat_map(move |group| ((group + 1) as f32 * 0.75).to_bits().wrapping_add(zero).to_le_bytes());
        let codes = (0..128).map(move |pair| ((pair * 2 % 16) | (((pair * 2 + 1) % 16) << 4)) as u8);
        codes.chain(entries).chain([0; 16])
    });
    let zeros = Format::Int4 { group: 64, zeros: true };
    vec![
        one_by_one(Format::Fp8 { group: 0 }, 48, fp8, vec![1.0; 256]),
        one_by_one(Format::Int8 { group: 0 }, 48, int8, vec![0.5; 256]),
        one_by_one(Format::Nvfp4, 256, nvfp4.collect(), vec![2.0; 512]),
        one_by_one(zeros, 256, int4.collect(), Vec::new()),
    ]
}

fn one_by_one(format: Format, k: usize, bytes: Vec<u8>, scales: Vec<f32>) -> Row<QuantGemv> {
    let mut data = Data::default();
    let n = bytes.len() / format.row_bytes(k as u64) as usize;
    let apart = if k > 48 { 17 } else { 5 };
    let x =
        (0..8).flat_map(|token| (0..k).map(move |column| if column == token * apart { 1.0 } else { 0.0 })).collect();
    let x = data.reals("x", x);
    let w = packed::of(&mut data, format, k, bytes, scales);
    let y_f32 = data.undefined("y_f32", 8 * n);
    let kernel = QuantGemv { y_f32, ..QuantGemv::new(x, w, format, [8, n as u32, k as u32]) };
    Row { name: format!("every code of {format:?}"), kernel, data }
}

impl Oracle for QuantGemv {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    // Of the entries of one row, where sums of other rows come to nothing, the rows cover the barriers, and a norm's lanes.
    const DEFECTS: &[Defect] = &[
        Defect { entries: "fp8", ..COPY_EDGE },
        Defect { entries: "int8", ..COPY_EDGE },
        Defect { entries: "int4", ..COPY_EDGE },
        Defect { entries: "int4_32", ..COPY_EDGE },
        Defect { entries: "nvfp4", ..COPY_EDGE },
        Defect { entries: "fp8", ..STRIDE },
        Defect { entries: "int8", ..STRIDE },
        Defect { entries: "int4", ..STRIDE },
        Defect { entries: "int4_32", ..STRIDE },
        Defect { entries: "nvfp4", ..STRIDE },
        Defect { entries: "fp8", ..TERM },
        Defect { entries: "int8", ..TERM },
        Defect { entries: "int4", ..TERM },
        Defect { entries: "int4_32", ..TERM },
        Defect { entries: "nvfp4", ..TERM },
        Defect { entries: "fp8", ..BARRIER },
        Defect { entries: "int8", ..BARRIER },
        Defect { entries: "int4", ..BARRIER },
        Defect { entries: "int4_32", ..BARRIER },
        Defect { entries: "nvfp4", ..BARRIER },
        Defect { entries: "_row", ..BARRIER },
        Defect { entries: "norm", ..LANES },
        Defect { entries: "norm_1p", ..LANES },
    ];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let format = Format::of(self.format, self.group).expect("the format is known");
        let w = packed::values(data, (self.w, self.scales), format, self.k as usize);
        gemv::written(&self.around(), &w, data, precision)
    }
}

/// Rows `rows` of eight, multiplied with a weight that is always the same.
fn some_of_eight(format: Format, [n, k]: [usize; 2], rows: std::ops::Range<usize>) -> Row<QuantGemv> {
    let mut random = Random::new(77);
    let mut data = Data::default();
    let x = random.reals(8 * k, 1.0);
    let count = rows.len();
    let x = data.reals("x", x[rows.start * k..rows.end * k].to_vec());
    let w = packed::weight(&mut data, &mut random, format, [n, k], 1.0);
    let y_f32 = data.undefined("y_f32", count * n);
    let kernel = QuantGemv { y_f32, ..QuantGemv::new(x, w, format, [count as u32, n as u32, k as u32]) };
    Row { name: format!("{format:?}, rows {rows:?}"), kernel, data }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    use crate::target::Target;
    for format in FORMATS {
        for [n, k] in [[33, 2312], [18, 264]] {
            let run = |rows: std::ops::Range<usize>| {
                let row = some_of_eight(format, [n, k], rows);
                let outcome = crate::emulator::Emulator::new().run(&row.kernel, &row.data).expect("it runs");
                let (y, _) = row.kernel.y_f32.target().expect("not null");
                outcome[y as usize].clone()
            };
            let all = run(0..8);
            for rows in [0..1, 3..4, 7..8, 2..5, 1..8] {
                assert_eq!(run(rows.clone()), all[rows.start * n..rows.end * n], "{format:?}, {n}x{k}, rows {rows:?}");
            }
        }
    }
}
