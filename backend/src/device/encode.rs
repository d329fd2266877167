//! Numbers become the nearest e4m3 and e2m1 codes, ties to the even code; what is too large becomes the largest.

/// The largest finite e4m3 code.
const E4M3_MOST: u32 = 0x7e;
/// The least normal e4m3 number, and the distance of those below it.
const E4M3_NORMAL: f32 = 1.0 / 64.0;
const E4M3_STEPS: f32 = 512.0;

/// The e4m3fn code of a number.
pub fn e4m3_code(value: f32) -> u8 {
    let (sign, magnitude) = ((value.to_bits() >> 24 & 0x80) as u8, value.abs());
    let code = if magnitude < E4M3_NORMAL {
        (magnitude * E4M3_STEPS).round_ties_even() as u32
    } else {
        // 20 of the 23 bits of the fraction go; the exponent's bias is 7 instead of 127.
        let bits = magnitude.to_bits();
        let rounded = bits + 0x7_ffff + (bits >> 20 & 1);
        ((rounded >> 20) - ((127 - 7) << 3)).min(E4M3_MOST)
    };
    sign | code as u8
}

/// The e2m1 code of a number.
pub fn e2m1_code(value: f32) -> u8 {
    let (sign, magnitude) = ((value.to_bits() >> 28 & 8) as u8, value.abs());
    let code = match magnitude {
        _ if magnitude <= 0.25 => 0,
        _ if magnitude < 0.75 => 1,
        _ if magnitude <= 1.25 => 2,
        _ if magnitude < 1.75 => 3,
        _ if magnitude <= 2.5 => 4,
        _ if magnitude < 3.5 => 5,
        _ if magnitude <= 5.0 => 6,
        _ => 7,
    };
    sign | code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{e2m1, e4m3};

    /// Every code is its own; halfway between two, the even one is taken; a little to either side, the nearer one.
    fn check(code_of: fn(f32) -> u8, value_of: fn(u8) -> f32, codes: u8, sign: u8) {
        for code in 0..codes {
            let (value, next) = (value_of(code), value_of(code + 1));
            let middle = (value + next) / 2.0;
            let even = if code.is_multiple_of(2) { code } else { code + 1 };
            for (number, want) in
                [(value, code), (middle, even), (middle.next_down(), code), (middle.next_up(), code + 1)]
            {
                assert_eq!((code_of(number), code_of(-number)), (want, want | sign), "{number}");
            }
        }
        assert_eq!((code_of(1e9), code_of(-1e9)), (codes, codes | sign));
    }

    #[test]
    fn numbers_become_the_nearest_codes() {
        check(e4m3_code, e4m3, 0x7e, 0x80);
        check(e2m1_code, e2m1, 7, 8);
        assert_eq!(e4m3_code(f32::INFINITY), 0x7e);
    }
}
