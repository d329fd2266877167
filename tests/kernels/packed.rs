//! Weights of 8- and 4-bit codes for rows, and what docs/formats.md makes of them, in f64.
use gpu_kernels::{Format, Packed, Ptr};

use crate::data::Data;
use crate::random::Random;

/// Codes, and the scales beside them.
pub type Weight = (Ptr<Packed>, Ptr<f32>);

/// Columns of a block of 4-bit codes, and what 16 bytes of them hold.
const BLOCK: usize = 256;
const CHUNK: usize = 32;

/// A random weight of `n` rows and `k` columns, of numbers around `scale`: every code that is a number, scales of both signs,
/// and anything where nothing counts.
pub fn weight(data: &mut Data, random: &mut Random, format: Format, [n, k]: [usize; 2], scale: f32) -> Weight {
    let bytes = (0..n).flat_map(|_| row(random, format, k, scale)).collect();
    let typical = match format {
        Format::Fp8 { .. } => 200.0,
        Format::Int8 { .. } => 70.0,
        _ => 500.0,
    };
    let scales = (0..n * format.scales(k as u64) as usize).map(|_| number(random, scale / typical)).collect();
    of(data, format, k, bytes, scales)
}

/// The weight of these bytes and scales.
pub fn of(data: &mut Data, format: Format, k: usize, bytes: Vec<u8>, scales: Vec<f32>) -> Weight {
    let codes = data.codes("w", format, bytes, k);
    (codes, if scales.is_empty() { Ptr::NULL } else { data.reals("scales", scales) })
}

/// A number that f32 needs all its bits for, not near zero.
fn number(random: &mut Random, scale: f32) -> f32 {
    let value = random.uniform();
    (value + 0.5f32.copysign(value)) * scale
}

fn byte(random: &mut Random) -> u8 {
    random.below(256) as u8
}

/// An e4m3 code that is a number.
fn e4m3_code(random: &mut Random) -> u8 {
    let code = byte(random);
    if code & 0x7f == 0x7f { code - 1 } else { code }
}

fn row(random: &mut Random, format: Format, k: usize, scale: f32) -> Vec<u8> {
    match format {
        Format::Fp8 { .. } => padded((0..k).map(|_| e4m3_code(random)).collect()),
        Format::Int8 { .. } => padded((0..k).map(|_| byte(random)).collect()),
        Format::Int4 { group, zeros } => of_blocks(random, k, |random| {
            let entry = |_| {
                let entry = number(random, scale / 5.0).to_bits();
                let entry = if zeros { entry & !15 | random.below(16) as u32 } else { entry };
                entry.to_le_bytes()
            };
            (0..BLOCK / group as usize).flat_map(entry).collect()
        }),
        Format::Nvfp4 => of_blocks(random, k, |random| (0..BLOCK / 16).map(|_| e4m3_code(random)).collect()),
        _ => panic!("{format:?} has no codes"),
    }
}

/// Padding of zeros, up to whole 16 bytes.
fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// The codes of a row of `k` columns, behind them each block's `scales`, and what fills up a sector and nothing counts.
fn of_blocks(random: &mut Random, k: usize, scales: impl Fn(&mut Random) -> Vec<u8>) -> Vec<u8> {
    let blocks = (0..k).step_by(BLOCK).map(|column| (scales(random), nibbles(random, k - column)));
    let (scales, codes): (Vec<_>, Vec<_>) = blocks.unzip();
    let mut bytes = [codes.concat(), scales.concat()].concat();
    bytes.resize(bytes.len().next_multiple_of(32), 0xa5);
    bytes
}

/// The chunks of a block that has `columns` columns or more; zeros behind them.
fn nibbles(random: &mut Random, columns: usize) -> Vec<u8> {
    let bytes = code_bytes(columns.min(BLOCK));
    let byte = |at: usize| match columns.saturating_sub(2 * at) {
        0 => 0,
        1 => byte(random) & 15,
        _ => byte(random),
    };
    (0..bytes).map(byte).collect()
}

/// Bytes of the codes of a row of `columns` columns, in whole chunks.
fn code_bytes(columns: usize) -> usize {
    columns.div_ceil(CHUNK) * 16
}

/// A float of bias, exponent and mantissa bits, by the definition of OCP's formats.
fn float(code: u8, exponent_bits: u32, mantissa_bits: u32, bias: i32) -> f64 {
    let code = u32::from(code);
    let sign = if code >> (exponent_bits + mantissa_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let exponent = (code >> mantissa_bits & ((1 << exponent_bits) - 1)) as i32;
    let mantissa = f64::from(code & ((1 << mantissa_bits) - 1)) / f64::from(1 << mantissa_bits);
    let (one, exponent) = if exponent == 0 { (0.0, 1) } else { (1.0, exponent) };
    sign * (one + mantissa) * 2f64.powi(exponent - bias)
}

/// The e2m1 code of column `column` of the eight whose bits the next four bytes have, as docs/formats.md has it.
pub fn e2m1_code(bytes: &[u8], column: usize) -> u8 {
    let bit = |number: usize| bytes[number % 32 / 8] >> (number % 8) & 1;
    let sum = |place: usize| {
        let from = |by: usize| bit(32 + place + column % 2 * 16 - by);
        match column / 2 {
            0 => from(0),
            1 => from(12),
            2 => from(2) ^ from(6),
            _ => from(2) ^ from(8),
        }
    };
    sum(15) << 3 | sum(8) << 2 | sum(7) << 1 | sum(6)
}

/// All elements of a weight of `k` columns, row by row.
pub fn values(data: &Data, (codes, scales): Weight, format: Format, k: usize) -> Vec<f64> {
    let row_bytes = format.row_bytes(k as u64) as usize;
    let row_scales = format.scales(k as u64) as usize;
    let beside = if scales.is_null() { Vec::new() } else { data.f64s(scales) };
    let rows = data.packed(codes).chunks(row_bytes).enumerate();
    let row = |(row, bytes): (usize, &[u8])| -> Vec<f64> {
        let scales = &beside[row * row_scales..][..row_scales];
        (0..k).map(|column| value(format, bytes, scales, (k, column))).collect()
    };
    rows.flat_map(row).collect()
}

/// Column `column` of a row of `k`.
fn value(format: Format, bytes: &[u8], scales: &[f64], (k, column): (usize, usize)) -> f64 {
    let (block, within) = (column / BLOCK, column % BLOCK);
    let of_block = |block_scales: usize| &bytes[code_bytes(k) + block * block_scales..];
    let group_of = |group: u32| if group == 0 { 0 } else { column / group as usize };
    match format {
        Format::Fp8 { group } => float(bytes[column], 4, 3, 7) * scales[group_of(group)],
        Format::Int8 { group } => f64::from(bytes[column].cast_signed()) * scales[group_of(group)],
        Format::Int4 { group, zeros } => {
            let code = bytes[column / 2] >> (column % 2 * 4) & 15;
            let entry = of_block(BLOCK / group as usize * 4).as_chunks::<4>().0[within / group as usize];
            let entry = u32::from_le_bytes(entry);
            let (zero, scale) = if zeros { (entry & 15, entry & !15) } else { (8, entry) };
            (f64::from(code) - f64::from(zero)) * f64::from(f32::from_bits(scale))
        }
        Format::Nvfp4 => {
            let code = e2m1_code(&bytes[column / 8 * 4..], column % 8);
            float(code, 2, 1, 1) * float(of_block(BLOCK / 16)[within / 16], 4, 3, 7) * scales[0]
        }
        _ => panic!("{format:?} has no codes"),
    }
}
