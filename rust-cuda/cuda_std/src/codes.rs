//! Codes of 8 and 4 bits as pairs of bf16, by arithmetic on their bits: no table, no branch, every result exact.
//!
//! A pair is a register with the earlier column in the low half. Codes of 8 bits come out in the order of memory, and so do
//! those of e2m1, by the order of their bits. Integers of 4 bits come out as the columns (0, 4), (1, 5), (2, 6), (3, 7), which
//! costs a third less than their order; [`apart_by_4`] pairs eight neighbours of the other operand alike.
#[cfg(target_arch = "nvptx64")]
use crate::instruction::ptx;

mod e2m1;

pub use e2m1::{E2M1_REST, e2m1, e2m1_bits, e2m1_pair, e2m1_scales, e2m1_word};

/// Both halves of a register.
pub(crate) const fn twice(half: u32) -> u32 {
    half << 16 | half
}

/// 2¹²⁰ and −0, twice.
const TWO_TO_120: u32 = twice(0x7b80);
const MINUS_ZERO: u32 = twice(0x8000);
/// 2¹²⁷, 2¹²³ and −128/64, twice.
const TWO_TO_127: u32 = twice(0x7f00);
const TWO_TO_123: u32 = twice(0x7d00);
const MINUS_128_REST: u32 = twice(0xc000);

/// Four bytes of the eight of `low` and `high`: digit i of `selector`, from the right, names byte i of the result. Of digits
/// from 8 on, which name bytes as those less 8 do, eight copies of the byte's highest bit.
#[inline(always)]
pub fn permute<const SELECTOR: u32>(low: u32, high: u32) -> u32 {
    permute_by(low, high, SELECTOR)
}

/// As [`permute`], by a selector that is known at run time.
#[cfg(target_arch = "nvptx64")]
#[inline(always)]
pub fn permute_by(low: u32, high: u32, selector: u32) -> u32 {
    let bytes: u32;
    // SAFETY: arithmetic on registers, the same for the same operands.
    ptx!("prmt.b32 {}, {}, {}, {};", out(reg32) bytes, in(reg32) low, in(reg32) high, in(reg32) selector,
        options(pure, nomem, nostack));
    bytes
}

/// As [`permute`], by a selector that is known at run time.
#[cfg(not(target_arch = "nvptx64"))]
pub fn permute_by(low: u32, high: u32, selector: u32) -> u32 {
    let bytes = u64::from(high) << 32 | u64::from(low);
    let byte = |i: u32| {
        let (digit, own) = (selector >> (4 * i), bytes >> ((selector >> (4 * i) & 7) * 8));
        if digit & 8 == 0 { own as u32 & 0xff } else { (own >> 7 & 1) as u32 * 0xff }
    };
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

/// Each half of a register, twice. Where moves of halves say so, `ptxas` lets a multiplication choose the half by itself, which
/// it does not where `prmt` does.
#[cfg(target_arch = "nvptx64")]
#[inline(always)]
fn halves(pair: u32) -> [u32; 2] {
    let (low, high): (u16, u16);
    // SAFETY: moves of registers.
    ptx!("mov.b32 {{{}, {}}}, {};", out(reg16) low, out(reg16) high, in(reg32) pair, options(pure, nomem, nostack));
    [low, high].map(
        #[inline(always)]
        |half| {
            let both: u32;
            // SAFETY: as above.
            ptx!("mov.b32 {}, {{{}, {}}};", out(reg32) both, in(reg16) half, in(reg16) half,
                options(pure, nomem, nostack));
            both
        },
    )
}

/// Each half of a register, twice.
#[cfg(not(target_arch = "nvptx64"))]
fn halves(pair: u32) -> [u32; 2] {
    [twice(pair & 0xffff), twice(pair >> 16)]
}

/// `a · b + c` of two pairs of bf16, each rounded once.
#[cfg(target_arch = "nvptx64")]
#[inline(always)]
pub fn fma(a: u32, b: u32, c: u32) -> u32 {
    let sums: u32;
    // SAFETY: arithmetic on registers, the same for the same operands.
    ptx!("fma.rn.bf16x2 {}, {}, {}, {};", out(reg32) sums, in(reg32) a, in(reg32) b, in(reg32) c,
        options(pure, nomem, nostack));
    sums
}

/// `a · b + c` of two pairs of bf16, for results that bf16 holds.
#[cfg(not(target_arch = "nvptx64"))]
pub fn fma(a: u32, b: u32, c: u32) -> u32 {
    use crate::bf16::{pack, unpack};
    let ([a0, a1], [b0, b1], [c0, c1]) = (unpack(a), unpack(b), unpack(c));
    pack([a0 * b0 + c0, a1 * b1 + c1])
}

/// `a · b` of two pairs of bf16, for products that bf16 holds.
#[inline(always)]
pub fn multiply(a: u32, b: u32) -> u32 {
    fma(a, b, MINUS_ZERO)
}

/// Four floats of 1 sign, 4 exponent and 3 mantissa bits (e4m3fn), neither of them NaN.
///
/// The bits are put where bf16 has its own; what is between the biases of the exponents is multiplied in, which makes
/// subnormal codes right too.
#[inline(always)]
pub fn e4m3(word: u32) -> [u32; 2] {
    [permute::<0x9180>(word, 0), permute::<0xb3a2>(word, 0)].map(e4m3_of_signed)
}

/// The magnitudes of 448, the largest e4m3, and of 2⁻⁶, its least normal one, as f32; and 2¹⁴, whose neighbours are as far away
/// as those of the numbers below 2⁻⁶ are in e4m3.
const E4M3_MOST: u32 = 448f32.to_bits();
const E4M3_NORMAL: u32 = 0.015_625_f32.to_bits();
const E4M3_SUBNORMAL: f32 = 16_384.0;
/// The code of what is no number.
const E4M3_NAN: u32 = 0x7f;

/// The code of the nearest float of e4m3, ties to the even code; beyond 448 that of 448, and 0x7f of a NaN.
#[inline(always)]
pub fn to_e4m3(value: f32) -> u32 {
    let (sign, magnitude) = (value.to_bits() >> 24 & 0x80, value.to_bits() & 0x7fff_ffff);
    let most = if magnitude < E4M3_MOST { magnitude } else { E4M3_MOST };
    // 20 of the 23 bits of the fraction go; the exponent's bias is 7 instead of 127.
    let normal = ((most + 0x7_ffff + (most >> 20 & 1)) >> 20).wrapping_sub((127 - 7) << 3);
    // The sum is rounded to what is the last bit of the code.
    let subnormal = (f32::from_bits(most) + E4M3_SUBNORMAL).to_bits() - E4M3_SUBNORMAL.to_bits();
    let code = if most < E4M3_NORMAL { subnormal } else { normal };
    if magnitude > f32::INFINITY.to_bits() { E4M3_NAN } else { sign | code }
}

/// `seen` with the highest bit of some bytes set where one of the four codes of `word` is that of a NaN; [`e4m3`] makes 480 of
/// it. [`to_e4m3`] makes no other: byte 0x7f alone changes its sign when it grows by one, and no 0xff carries over.
#[inline(always)]
pub fn note_nan(seen: u32, word: u32) -> u32 {
    seen | (word ^ word.wrapping_add(0x0101_0101))
}

/// Two bf16 that are no numbers.
pub const NANS: u32 = twice(0x7fff);

/// Whether [`note_nan`] has seen one.
#[inline(always)]
pub fn has_nan(seen: u32) -> bool {
    seen & 0x8080_8080 != 0
}

/// Two codes of e4m3, each with its sign in all bits in front of it: so one shift moves all of it but the sign.
#[inline(always)]
fn e4m3_of_signed(codes: u32) -> u32 {
    multiply(e4m3_bits(codes), TWO_TO_120)
}

/// The bits of those at their places in bf16.
#[inline(always)]
fn e4m3_bits(codes: u32) -> u32 {
    codes << 4 & twice(0x87f0)
}

/// By this the products of [`i8()`] and [`u4`] are still to be multiplied.
pub const INTEGER_REST: f32 = 64.0;

/// Four signed integers of 8 bits, but for [`INTEGER_REST`].
///
/// With 128 added they are no sign, and the lower byte of a bf16 without one: as a number that is 2⁻¹³³ for each unit, up to
/// 255, since the smallest normal numbers lie as close as the subnormal ones.
#[inline(always)]
pub fn i8(word: u32) -> [u32; 2] {
    let unsigned = word ^ twice(0x8080);
    let pair = |codes: u32| fma(codes, TWO_TO_127, MINUS_128_REST);
    [pair(permute::<0x4140>(unsigned, 0)), pair(permute::<0x4342>(unsigned, 0))]
}

/// What [`u4`] subtracts for a zero point of 0 to 15.
#[inline(always)]
pub fn zero_point(zero: u32) -> u32 {
    multiply(twice(1) * zero, TWO_TO_127 | twice(0x8000))
}

/// Eight unsigned integers of 4 bits less a zero point, as [`zero_point`] made it, but for [`INTEGER_REST`].
///
/// As for [`i8()`], 4 bits are a number where they stand in the lower byte of a bf16, in its upper half 16 times theirs.
#[inline(always)]
pub fn u4(word: u32, zero: u32) -> [u32; 4] {
    let (low, high) = (word, word >> 8);
    [
        fma(low & twice(0x0f), TWO_TO_127, zero),
        fma(low & twice(0xf0), TWO_TO_123, zero),
        fma(high & twice(0x0f), TWO_TO_127, zero),
        fma(high & twice(0xf0), TWO_TO_123, zero),
    ]
}

/// Two codes of e4m3 in the lower half, in their order.
#[inline(always)]
pub fn e4m3_pair(two: u32) -> u32 {
    e4m3_of_signed(permute::<0x9180>(two, 0))
}

/// Two signed integers of 8 bits in the lower half, in their order, but for [`INTEGER_REST`].
#[inline(always)]
pub fn i8_pair(two: u32) -> u32 {
    fma(permute::<0x4140>(two ^ 0x8080, 0), TWO_TO_127, MINUS_128_REST)
}

/// The two unsigned integers of 4 bits of byte `byte` less a zero point, in their order, as [`u4`] has them.
#[inline(always)]
pub fn u4_pair(word: u32, byte: u32, zero: u32) -> u32 {
    let both = permute_by(word, 0, 0x4040 + byte * 0x0101) & 0x00f0_000f;
    fma(both, TWO_TO_123 & !0xffff | TWO_TO_127 & 0xffff, zero)
}

/// Eight neighbours of bf16 as pairs of columns four apart.
#[inline(always)]
pub fn apart_by_4([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    [permute::<0x5410>(a, c), permute::<0x7632>(a, c), permute::<0x5410>(b, d), permute::<0x7632>(b, d)]
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;
    use crate::bf16::{pack, unpack};

    /// By the definition of OCP's formats: bias, exponent and mantissa.
    pub(super) fn float(code: u32, exponent_bits: u32, mantissa_bits: u32, bias: i32) -> f32 {
        let sign = if code >> (exponent_bits + mantissa_bits) & 1 == 1 { -1.0 } else { 1.0 };
        let exponent = (code >> mantissa_bits & ((1 << exponent_bits) - 1)) as i32;
        let mantissa = (code & ((1 << mantissa_bits) - 1)) as f32 / (1 << mantissa_bits) as f32;
        let (one, exponent) = if exponent == 0 { (0.0, 1) } else { (1.0, exponent) };
        sign * (one + mantissa) * 2f32.powi(exponent - bias)
    }

    pub(super) fn floats<const N: usize>(pairs: [u32; N]) -> Vec<f32> {
        pairs.iter().flat_map(|pair| unpack(*pair)).collect()
    }

    pub(super) fn same(got: f32, want: f32) {
        assert_eq!(got.to_bits(), want.to_bits(), "got {got}, want {want}");
    }

    #[test]
    fn every_e4m3_at_every_place() {
        for code in (0..=255u32).filter(|code| code & 0x7f != 0x7f) {
            for place in 0..4 {
                let others = 0x38c3_0538 & !(0xff << (8 * place));
                let got = floats(e4m3(others | code << (8 * place)));
                same(got[place as usize], float(code, 4, 3, 7));
            }
        }
        assert_eq!(floats(e4m3(0x7e01_3800)), [0.0, 1.0, 2f32.powi(-9), 448.0]);
    }

    #[test]
    fn codes_that_are_made_are_those_that_are_read() {
        for code in (0..=255u32).filter(|code| code & 0x7f != 0x7f) {
            let value = float(code, 4, 3, 7);
            assert_eq!(to_e4m3(value), code);
            assert!(!has_nan(note_nan(0, code << 8 | 0x7e80_007e)), "{code:#x}");
        }
        assert_eq!([449.0, f32::INFINITY, -1e30, f32::NAN, -f32::NAN].map(to_e4m3), [0x7e, 0x7e, 0xfe, 0x7f, 0x7f]);
        assert!((0..4).all(|place| has_nan(note_nan(0, 0x7f << (8 * place) | 0x00fe_0080 & !(0xff << (8 * place))))));
    }

    #[test]
    fn every_i8_at_every_place() {
        for code in i8::MIN..=i8::MAX {
            for place in 0..4 {
                let word = 0x7f80_ff01 & !(0xff << (8 * place)) | u32::from(code as u8) << (8 * place);
                same(floats(i8(word))[place as usize] * INTEGER_REST, f32::from(code));
            }
        }
    }

    /// Where a column stands among the pairs.
    const ORDER: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

    #[test]
    fn every_u4_with_every_zero_point_at_every_place() {
        for (code, zero) in (0..16u32).flat_map(|code| (0..16u32).map(move |zero| (code, zero))) {
            let zeros = zero_point(zero);
            for (at, column) in ORDER.into_iter().enumerate() {
                let word = 0x1f80_ff01 & !(0xf << (4 * column)) | code << (4 * column);
                same(floats(u4(word, zeros))[at] * INTEGER_REST, code as f32 - zero as f32);
            }
        }
    }

    #[test]
    fn pairs_in_their_order_are_those_of_words() {
        for code in (0..=255u32).filter(|code| code & 0x7f != 0x7f && code >> 4 != 0xf) {
            let (word, eight) = (code << 8 | 0x7ec3_0038, [0x38, code]);
            let of = |pairs: [u32; 2]| pairs[0];
            assert_eq!(e4m3_pair(eight[0] | eight[1] << 8), of(e4m3(word)), "{code}");
            assert_eq!(i8_pair(eight[0] | eight[1] << 8), of(i8(word)), "{code}");
        }
        for (byte, code, zero) in (0..4).flat_map(|byte| (0..=255u32).map(move |code| (byte, code, code % 16))) {
            let word = 0x1f80_ff01 & !(0xff << (8 * byte)) | code << (8 * byte);
            let at = |column: u32| ORDER.iter().position(|own| *own == column as usize).expect("one of eight");
            let columns = [2 * byte, 2 * byte + 1].map(at);
            let zero = zero_point(zero);
            let want = |all: [u32; 4]| columns.map(|column| floats(all)[column]);
            assert_eq!(floats([u4_pair(word, byte, zero)]), want(u4(word, zero)), "{byte}: {code}");
        }
    }

    #[test]
    fn the_other_operand_is_paired_alike() {
        let columns = [0, 1, 2, 3].map(|i| pack([2.0 * i as f32, 2.0 * i as f32 + 1.0]));
        assert_eq!(floats(apart_by_4(columns)), ORDER.map(|column| column as f32));
    }
}
