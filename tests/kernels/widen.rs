//! Rows of `widen`: every code and scale that a format has, in whole and in short blocks.
use gpu_kernels::{Format, Ptr, Widen};

use crate::data::Data;
use crate::mutants::{Defect, EDGE, FACTOR, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::packed;
use crate::random::Random;

const INT4: Format = Format::Int4 { group: 32, zeros: false };
const ZEROS: Format = Format::Int4 { group: 64, zeros: true };

/// Format, rows, columns, and whether rows are named by ids.
const SHAPES: [(Format, usize, usize, bool); 24] = [
    (Format::Fp8 { group: 0 }, 1, 8, false),
    (Format::Fp8 { group: 0 }, 5, 264, false),
    (Format::Fp8 { group: 0 }, 300, 40, true),
    (Format::Fp8 { group: 128 }, 7, 320, false),
    (Format::Fp8 { group: 32 }, 3, 1032, true),
    (Format::Int8 { group: 0 }, 2, 24, false),
    (Format::Int8 { group: 0 }, 33, 512, true),
    (Format::Int8 { group: 64 }, 4, 328, false),
    (INT4, 1, 8, false),
    (INT4, 9, 256, false),
    (INT4, 5, 296, true),
    (INT4, 3, 2048, false),
    (Format::Int4 { group: 64, zeros: false }, 3, 600, true),
    (Format::Int4 { group: 32, zeros: true }, 4, 272, false),
    (ZEROS, 2, 64, true),
    (ZEROS, 31, 320, false),
    (ZEROS, 6, 1288, false),
    (Format::Nvfp4, 1, 16, false),
    (Format::Nvfp4, 17, 256, true),
    (Format::Nvfp4, 5, 272, false),
    (Format::Nvfp4, 3, 1856, true),
    (Format::Nvfp4, 200, 48, false),
    (Format::F32, 3, 40, false),
    (Format::F32, 5, 256, true),
];

pub fn rows() -> Vec<Row<Widen>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (format, rows, columns, named): (Format, usize, usize, bool)) -> Row<Widen> {
    let mut random = Random::new(seed);
    let (held, slots) = (if named { rows / 2 + 3 } else { rows }, 5);
    let mut data = Data::default();
    let codes = (0..held).flat_map(|_| codes(format, columns, &mut random)).collect();
    let codes = data.codes("codes", format, codes, columns);
    let scales = match held * format.scales(columns as u64) as usize {
        0 => Ptr::NULL,
        count => data.reals("scales", random.reals(count, 0.02)),
    };
    let y = data.undefined("y", rows * columns);
    let mut kernel = Widen::new(codes, scales, y, [rows as u32, columns as u32], format);
    if named {
        let mut id = |row| if row % 3 == 2 { -1 - random.below(slots) as i32 } else { random.below(held) as i32 };
        kernel.ids = data.integers("ids", (0..rows).map(&mut id).collect());
        kernel.sampled = data.integers("sampled", (0..slots).map(|_| random.below(held) as i32).collect());
    }
    Row { name: format!("{format:?}, {rows} rows of {columns}, named {named}"), kernel, data }
}

/// A row of codes that differ from byte to byte, none of them NaN; padding is zero.
fn codes(format: Format, columns: usize, random: &mut Random) -> Vec<u8> {
    let bytes = format.row_bytes(columns as u64) as usize;
    let mut row = vec![0; bytes];
    match format {
        Format::Fp8 { .. } => row[..columns].iter_mut().for_each(|code| *code = finite(random)),
        Format::Int8 { .. } => row[..columns].iter_mut().for_each(|code| *code = random.below(256) as u8),
        Format::F32 => {
            let reals = random.reals(columns, 1.0);
            row.as_chunks_mut::<4>().0.iter_mut().zip(reals).for_each(|(row, real)| *row = real.to_le_bytes());
        }
        _ => {
            let (codes, scales) = row.split_at_mut(columns.div_ceil(32) * 16);
            match format {
                Format::Nvfp4 => scales.iter_mut().for_each(|scale| *scale = finite(random)),
                _ => scales.as_chunks_mut::<4>().0.iter_mut().for_each(|entry| {
                    let (scale, zero) = (random.reals(1, 0.05)[0].to_bits(), random.below(16) as u32);
                    *entry = (if matches!(format, Format::Int4 { zeros: true, .. }) { scale | zero } else { scale })
                        .to_le_bytes();
                }),
            }
            codes[..columns / 2].iter_mut().for_each(|code| *code = random.below(256) as u8);
        }
    }
    row
}

fn finite(random: &mut Random) -> u8 {
    let code = random.below(256) as u8;
    if code & 0x7f == 0x7f { code ^ 1 } else { code }
}

impl Oracle for Widen {
    const C: f64 = 2.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, FACTOR, STRIDE];

    fn oracle(&self, data: &Data, precision: Precision) -> Vec<Written> {
        let format = self.format().expect("a known format");
        let (columns, row_bytes) = (self.k as usize, self.row_bytes as usize);
        let scales = if self.scales.is_null() { Vec::new() } else { data.f64s(self.scales) };
        let source = |row: usize| match self.ids.is_null() {
            true => row,
            false => match data.i32s(self.ids)[row] {
                id if id < 0 => data.i32s(self.sampled)[(-1 - id) as usize] as usize,
                id => id as usize,
            },
        };
        let wants = (0..self.rows as usize).flat_map(|row| {
            let row = source(row);
            let codes = &data.packed(self.codes)[row * row_bytes..][..row_bytes];
            let scales = scales.get(row * self.row_scales as usize..).unwrap_or_default();
            (0..columns).map(|column| number(format, codes, scales, (columns, column))).collect::<Vec<_>>()
        });
        vec![Written::new(self.y, wants.map(|value| Want::near(precision.round(value), value.abs())).collect())]
    }
}

/// Column `column` of a row of `columns`, as docs/formats.md has it.
fn number(format: Format, row: &[u8], scales: &[f64], (columns, column): (usize, usize)) -> f64 {
    let own_scale = |group: u32| scales[if group == 0 { 0 } else { column / group as usize }];
    let scale_bytes = format.block_scales() as usize;
    let block = |row: &[u8]| row[columns.div_ceil(32) * 16 + column / 256 * scale_bytes..].to_vec();
    match format {
        Format::Fp8 { group } => e4m3(row[column]) * own_scale(group),
        Format::Int8 { group } => f64::from(row[column] as i8) * own_scale(group),
        Format::F32 => f64::from(f32::from_le_bytes(row[4 * column..][..4].try_into().expect("4 bytes"))),
        Format::Int4 { group, zeros } => {
            let block = block(row);
            let entry = &block[column % 256 / group as usize * 4..][..4];
            let entry = u32::from_le_bytes(entry.try_into().expect("4 bytes"));
            let (zero, scale) = if zeros { (entry % 16, entry / 16 * 16) } else { (8, entry) };
            (f64::from(row[column / 2] >> (column % 2 * 4) & 15) - f64::from(zero)) * f64::from(f32::from_bits(scale))
        }
        Format::Nvfp4 => {
            let code = packed::e2m1_code(&row[column / 8 * 4..], column % 8);
            e2m1(code) * e4m3(block(row)[column % 256 / 16]) * scales[0]
        }
        Format::Bf16 | Format::I32 => panic!("no codes"),
    }
}

fn e4m3(code: u8) -> f64 {
    float(code, 4, 3, 7)
}

fn e2m1(code: u8) -> f64 {
    float(code, 2, 1, 1)
}

/// A float of so many exponent and fraction bits, subnormal where the exponent's are zero.
fn float(code: u8, exponent_bits: u32, fraction_bits: u32, bias: i32) -> f64 {
    let fraction = f64::from(code & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
    let exponent = i32::from(code >> fraction_bits & ((1 << exponent_bits) - 1));
    let magnitude =
        if exponent == 0 { fraction * 2f64.powi(1 - bias) } else { (1.0 + fraction) * 2f64.powi(exponent - bias) };
    if code >> (exponent_bits + fraction_bits) & 1 == 0 { magnitude } else { -magnitude }
}
