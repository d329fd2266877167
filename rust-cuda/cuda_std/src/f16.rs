//! Pairs of f16 in a register, the earlier element in the low half: of what f16 holds exactly, or nearly.
//!
//! Only bf16 has f32's range, so numbers of another kind come as f16 with a power of two of their own.
use crate::codes::{multiply, twice};
use crate::instruction::ptx;
use crate::{bf16, codes};

/// 2⁸ and −0, twice.
const TWO_TO_8: u32 = twice(0x5c00);
const MINUS_ZERO: u32 = twice(0x8000);
/// 146, twice: times that, 448 is still a number of f16 and 480 is none.
const PAST_448: u32 = twice(0x5890);

/// The nearest two f16, of ties the even ones.
#[inline(always)]
pub fn pack(values: [f32; 2]) -> u32 {
    let pair: u32;
    // SAFETY: arithmetic on registers, the same for the same operands.
    ptx!("cvt.rn.f16x2.f32 {}, {}, {};", out(reg32) pair, in(reg32) values[1], in(reg32) values[0],
        options(pure, nomem, nostack));
    pair
}

/// `a · b + c` of two pairs, each rounded once.
#[inline(always)]
fn fma(a: u32, b: u32, c: u32) -> u32 {
    let sums: u32;
    // SAFETY: arithmetic on registers, the same for the same operands.
    ptx!("fma.rn.f16x2 {}, {}, {}, {};", out(reg32) sums, in(reg32) a, in(reg32) b, in(reg32) c,
        options(pure, nomem, nostack));
    sums
}

macro_rules! e4m3 {
    ($($(#[$meta:meta])* $name:ident $selector:literal $half:literal;)*) => {$(
        $(#[$meta])*
        #[inline(always)]
        pub fn $name(word: u32) -> u32 {
            let numbers = fma(codes::permute::<$selector>(word, 0) << 7 & twice(0xbf80), TWO_TO_8, MINUS_ZERO);
            let mut pair = fma(fma(numbers, PAST_448, MINUS_ZERO), 0, numbers);
            // What stands above is not computed where this overwrites it.
            // SAFETY: arithmetic on registers, the same for the same operands.
            ptx!(concat!("//sm_90: {{ .reg .b16 lower, upper; mov.b32 {{lower, upper}}, {}; ",
                "cvt.rn.f16x2.e4m3x2 {}, ", $half, "; }}"),
                in(reg32) word, inout(reg32) pair, options(pure, nomem, nostack));
            pair
        }
    )*};
}

// Before compute capability 9.0 the bits are put where f16 has its own, and 480, which they say of what is no number, becomes 0
// times infinity.
e4m3! {
    /// The first two of a word's four codes of e4m3 (e4m3fn): exact, and no number of what is none.
    e4m3_lower 0x9180 "lower";
    /// The last two.
    e4m3_upper 0xb3a2 "upper";
}

/// The larger magnitude of a pair of bf16, as the bits of one.
#[inline(always)]
pub fn larger(pair: u32) -> u32 {
    let (low, high) = (pair & 0x7fff, pair >> 16 & 0x7fff);
    if low > high { low } else { high }
}

/// The power of two that brings numbers of bf16 into f16's range, twice, and its inverse. `most` are the bits of their largest magnitude,
/// which comes to lie between 2¹⁴ and 2¹⁵; so those from 2⁻³¹ of it on remain exact.
#[inline(always)]
pub fn factor(most: u32) -> (u32, f32) {
    // That a bf16 has the factor, and an f32 its inverse.
    let exponent = (268 - (most >> 7)).min(253);
    (twice(exponent << 7), f32::from_bits((254 - exponent) << 23))
}

/// A pair of bf16 times a [`factor`], as f16.
#[inline(always)]
pub fn scaled(pair: u32, factor: u32) -> u32 {
    pack(bf16::unpack(multiply(pair, factor)))
}
