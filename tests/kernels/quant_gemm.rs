//! Rows of `quant_gemm`: the product is that of `skinny_gemm`, the weight that of `quant_gemv`.
use gpu_kernels::activation::{PLAIN, RELU2, SWIGLU};
use gpu_kernels::{Format, Gemv, Ptr, QuantGemm, SkinnyGemm};

use crate::data::Data;
use crate::gemv;
use crate::mutants::{BARRIER, CLUSTER, COPY_EDGE, Defect, PRODUCT};
use crate::oracle::{Oracle, Precision, Row, Written};
use crate::packed;
use crate::random::Random;
use crate::skinny_gemm::parts;

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
}

const fn shape(rows: usize, n: usize, k: usize) -> Shape {
    Shape { rows, n, k, logits: false, bias: false, activation: PLAIN, residual: false, parts: false }
}

/// Each in every format.
const SHAPES: [Shape; 4] = [
    shape(9, 8, 8),
    Shape { logits: true, bias: true, ..shape(33, 40, 392) },
    Shape { activation: SWIGLU, bias: true, ..shape(12, 144, 72) },
    Shape { parts: true, ..shape(10, 24, 776) },
];

/// Each in one format of its kind.
const MORE: [Shape; 12] = [
    Shape { logits: true, ..shape(32, 136, 264) },
    Shape { bias: true, ..shape(17, 24, 776) },
    Shape { residual: true, bias: true, ..shape(64, 152, 136) },
    Shape { residual: true, ..shape(1, 16, 520) },
    Shape { activation: RELU2, ..shape(63, 136, 72) },
    Shape { activation: SWIGLU, bias: true, ..shape(12, 272, 264) },
    Shape { activation: SWIGLU, ..shape(40, 144, 392) },
    Shape { parts: true, ..shape(50, 136, 1288) },
    Shape { parts: true, activation: SWIGLU, ..shape(20, 144, 1544) },
    Shape { residual: true, bias: true, ..shape(10, 24, 3848) },
    Shape { activation: SWIGLU, bias: true, ..shape(30, 32, 2824) },
    Shape { logits: true, ..shape(64, 136, 2312) },
];

const FORMATS: [Format; 10] = [
    Format::Fp8 { group: 0 },
    Format::Fp8 { group: 64 },
    Format::Fp8 { group: 128 },
    Format::Int8 { group: 0 },
    Format::Int8 { group: 512 },
    Format::Int4 { group: 64, zeros: false },
    Format::Int4 { group: 64, zeros: true },
    Format::Int4 { group: 32, zeros: false },
    Format::Int4 { group: 32, zeros: true },
    Format::Nvfp4,
];

/// One of each kind.
const KINDS: [Format; 3] = [Format::Fp8 { group: 0 }, Format::Int4 { group: 64, zeros: true }, Format::Nvfp4];

/// More tiles than any device has blocks for.
const MANY_TILES: usize = 2 * 64 * 2 * 133 + 16;
const TURNS: [(Format, Shape); 1] = [(Format::Fp8 { group: 0 }, Shape { logits: true, ..shape(10, MANY_TILES, 40) })];

pub fn rows() -> Vec<Row<QuantGemm>> {
    let more = KINDS.into_iter().flat_map(|format| MORE.map(|shape| (format, shape)));
    let all = FORMATS.into_iter().flat_map(|format| SHAPES.map(|shape| (format, shape))).chain(more).chain(TURNS);
    all.enumerate().map(|(seed, (format, shape))| row(seed as u64, format, &shape)).collect()
}

fn row(seed: u64, format: Format, shape: &Shape) -> Row<QuantGemm> {
    let Shape { rows, n, k, logits, bias, activation, residual, parts } = *shape;
    let mut random = Random::new(seed);
    let mut data = Data::default();
    let x = data.reals("x", random.reals(rows * k, 1.0));
    // A gate is not to be so far below zero that nothing is left of it.
    let scale = if activation == SWIGLU { 0.05 } else { 1.0 };
    let w = packed::weight(&mut data, &mut random, format, [n, k], scale);
    let plain = SkinnyGemm::new(x, Ptr::NULL, [rows as u32, n as u32, k as u32]);
    let mut kernel = QuantGemm::of(SkinnyGemm { activation, ..plain }, w, format);
    let width = if activation == SWIGLU { n / 2 } else { n };
    if bias {
        kernel.bias = data.weight("bias", random.reals(n, 1.0), 1);
    }
    match (logits, residual) {
        _ if parts => {
            assert!(kernel.splits() > 1, "several blocks share the columns");
            kernel.partial = data.undefined("partial", kernel.partials());
        }
        (true, _) => kernel.y_f32 = data.undefined("y_f32", rows * n),
        (_, false) => kernel.y = data.undefined("y", rows * width),
        (_, true) => {
            kernel.y = data.reals("y", random.reals(rows * width, 1.0));
            kernel.residual = kernel.y;
        }
    }
    Row { name: format!("{format:?}, {shape:?}"), kernel, data }
}

impl Oracle for QuantGemm {
    const C: f64 = 16.0;
    const D: f64 = 4.0;
    // What stands behind the sums is `skinny_gemm`'s, whose rows hold it. Entries of 64 token rows differ in sizes alone, but that INT4
    // makes no operands ahead there; those of INT8 differ in what a pair of codes becomes. Within a group or a row a product needs no
    // wait but the last: only where each unit has sums of its own is every one to be noticed.
    const DEFECTS: &[Defect] = &[
        Defect { entries: "fp8_32", ..COPY_EDGE },
        Defect { entries: "fp8_32", ..BARRIER },
        Defect { entries: "int4_32", ..BARRIER },
        Defect { entries: "int4_32", ..PRODUCT },
        Defect { entries: "int4_fine_32", ..PRODUCT },
        Defect { entries: "cluster_fp8_32", ..CLUSTER },
    ];

    fn spares(entry: &str, defect: &Defect) -> bool {
        entry.contains("_cluster_") && defect.name != CLUSTER.name
    }

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let QuantGemm { x, bias, residual, y, y_f32, partial, rows, n, k, activation, .. } = *self;
        let format = Format::of(self.format, self.group).expect("the format is known");
        let w = packed::values(data, (self.w, self.scales), format, k as usize);
        if partial.is_null() {
            let gemv = Gemv { bias, residual, y, y_f32, activation, ..Gemv::new(x, Ptr::NULL, [rows, n, k]) };
            return gemv::written(&gemv, &w, data, precision);
        }
        let columns = (0..self.splits()).map(|split| self.columns(split));
        let place = |split, row, token| self.partial_index(split, row, token);
        vec![Written::new(partial, parts((&data.f64s(x), &w), k, columns, place, self.partials()))]
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    use crate::emulator::{Emulator, devices};
    use crate::target::Target;
    let (n, k) = (24, 520);
    let x = Random::new(98).reals(64 * k, 1.0);
    for format in [Format::Fp8 { group: 0 }, Format::Int4 { group: 64, zeros: false }, Format::Nvfp4] {
        let run = |rows: std::ops::Range<usize>, device: usize| {
            let mut data = Data::default();
            let x = data.reals("x", x[rows.start * k..rows.end * k].to_vec());
            let w = packed::weight(&mut data, &mut Random::new(99), format, [n, k], 1.0);
            let y_f32 = data.undefined("y_f32", rows.len() * n);
            let plain = SkinnyGemm::new(x, Ptr::NULL, [rows.len() as u32, n as u32, k as u32]);
            let kernel = QuantGemm::of(SkinnyGemm { y_f32, ..plain }, w, format);
            let mut emulator = Emulator::new();
            emulator.device = devices(&kernel).nth(device).expect("with warpgroups, also in clusters, and without");
            let outcome = emulator.run(&kernel, &data).expect("it runs");
            let (y, _) = kernel.y_f32.target().expect("not null");
            outcome[y as usize].clone()
        };
        for device in [0, 1, 2] {
            let all = run(0..64, device);
            for rows in [0..9, 50..64, 30..63] {
                assert_eq!(run(rows.clone(), device), all[rows.start * n..rows.end * n], "{format:?}, rows {rows:?}");
            }
        }
    }
}
