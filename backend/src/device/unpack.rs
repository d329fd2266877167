//! Codes of a packed format become numbers: docs/formats.md, in f32.
use gpu_kernels::format::{BLOCK, NVFP4_GROUP, nibble_bytes};

use super::{Format, e2m1_codes};

/// Magnitudes of e2m1.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Values of e4m3fn.
static E4M3: [f32; 256] = e4m3_values();

const fn e4m3_values() -> [f32; 256] {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 128 {
        let (exponent, fraction) = (code >> 3, (code & 7) as f32 / 8.0);
        let value = match (exponent, code) {
            (_, 127) => f32::NAN,
            (0, _) => fraction * power_of_two(-6),
            _ => (1.0 + fraction) * power_of_two(exponent as i32 - 7),
        };
        values[code] = value;
        values[code + 128] = -value;
        code += 1;
    }
    values
}

/// 2 to a power that f32 has as a normal number.
const fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

/// The value of an e4m3fn code.
pub fn e4m3(code: u8) -> f32 {
    E4M3[usize::from(code)]
}

/// The value of an e2m1 code, 0 to 15.
pub fn e2m1(code: u8) -> f32 {
    let value = E2M1[usize::from(code & 7)];
    if code & 8 == 0 { value } else { -value }
}

/// A row of codes in `format`, with the scales that stand beside it, as `out.len()` numbers: value · scale in f32.
///
/// # Panics
/// If the row or its scales are too short, or the format is I32.
pub fn unpack(format: Format, row: &[u8], scales: &[f32], out: &mut [f32]) {
    let scale_of = |column: usize, group: u32| scales[if group == 0 { 0 } else { column / group as usize }];
    let columns = out.len();
    let numbers = out.iter_mut().enumerate();
    match format {
        Format::Bf16 => numbers.for_each(|(j, out)| {
            *out = f32::from_bits(u32::from(u16::from_le_bytes([row[2 * j], row[2 * j + 1]])) << 16);
        }),
        Format::F32 => {
            numbers.for_each(|(j, out)| *out = f32::from_le_bytes(row[4 * j..][..4].try_into().expect("4 bytes")));
        }
        Format::Fp8 { group } => numbers.for_each(|(j, out)| *out = e4m3(row[j]) * scale_of(j, group)),
        Format::Int8 { group } => {
            numbers.for_each(|(j, out)| *out = f32::from(row[j].cast_signed()) * scale_of(j, group));
        }
        Format::Int4 { group, zeros } => numbers.for_each(|(j, out)| {
            let (word, scale) = word(format, row, (columns, j), group, 4);
            let code = word >> (j % 8 * 4) & 15;
            let entry = u32::from_le_bytes(scale.try_into().expect("4 bytes"));
            let (zero, scale) = if zeros { (entry & 15, entry & !15) } else { (8, entry) };
            *out = (code as f32 - zero as f32) * f32::from_bits(scale);
        }),
        Format::Nvfp4 => numbers.for_each(|(j, out)| {
            let (word, scale) = word(format, row, (columns, j), NVFP4_GROUP, 1);
            *out = e2m1((e2m1_codes(word) >> (j % 8 * 4) & 15) as u8) * e4m3(scale[0]) * scales[0];
        }),
        Format::I32 => panic!("integers are no codes"),
    }
}

/// The word of the eight codes among which column `j` of a row of `columns` has its own, and its group's entry of `entry_bytes` bytes.
fn word(format: Format, row: &[u8], (columns, j): (usize, usize), group: u32, entry_bytes: usize) -> (u32, &[u8]) {
    let scales = &row[nibble_bytes(columns as u32) as usize + j / BLOCK as usize * format.block_scales() as usize..];
    let word = row[j / 8 * 4..][..4].try_into().expect("4 bytes");
    (u32::from_le_bytes(word), &scales[j % BLOCK as usize / group as usize * entry_bytes..][..entry_bytes])
}

#[cfg(test)]
mod tests {
    use super::super::e2m1_word;
    use super::*;

    /// Values of ml_dtypes' float8_e4m3fn and float4_e2m1fn.
    #[test]
    fn codes_have_their_published_values() {
        for (code, value) in [
            (0x00, 0.0),
            (0x01, 0.001_953_125),
            (0x07, 0.013_671_875),
            (0x08, 0.015_625),
            (0x38, 1.0),
            (0x3b, 1.375),
            (0x7e, 448.0),
            (0xb9, -1.125),
            (0xfe, -448.0),
        ] {
            assert_eq!(e4m3(code), value, "{code:#x}");
        }
        assert!(e4m3(0x7f).is_nan() && e4m3(0xff).is_nan() && e4m3(0x80).is_sign_negative());
        assert_eq!([1, 7, 9, 15].map(e2m1), [0.5, 6.0, -0.5, -6.0]);
    }

    #[test]
    fn columns_find_their_codes_and_scales() {
        // 258 columns: a whole block, and one of a single chunk; 16 bytes fill the row up.
        let mut row = vec![0u8; Format::Nvfp4.row_bytes(258) as usize];
        assert_eq!(row.len(), 128 + 16 + 16 + 16 + 16);
        row[0..4].copy_from_slice(&e2m1_word(0x7200).to_le_bytes()); // columns 2 and 3: 1 and 6
        row[128..132].copy_from_slice(&e2m1_word(0x0001).to_le_bytes()); // column 256: 0.5
        (row[144], row[160]) = (0x38, 0x40); // times 1 and 2
        let mut out = vec![0.0; 258];
        unpack(Format::Nvfp4, &row, &[10.0], &mut out);
        assert_eq!((out[2], out[3], out[256]), (10.0, 60.0, 10.0));

        let format = Format::Int4 { group: 64, zeros: true };
        let mut row = vec![0u8; format.row_bytes(96) as usize];
        row[48 + 4..48 + 8].copy_from_slice(&(0.5f32.to_bits() | 3).to_le_bytes()); // columns 64 to 127: scale 0.5, zero 3
        row[32] = 0xf1;
        let mut out = vec![0.0; 96];
        unpack(format, &row, &[], &mut out);
        assert_eq!((out[64], out[65]), (-1.0, 6.0));
    }
}
