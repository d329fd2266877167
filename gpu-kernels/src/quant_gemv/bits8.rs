//! The formats of 8 bits of `quant_gemv`.
use core::marker::PhantomData;

use super::forms::{Form, Matrix, Place, Sums, groups};
use super::ring::Step;
use cuda_std::codes;

/// How four codes of a byte each become pairs of bf16.
pub trait Widen: Copy {
    /// What they are still to be multiplied by.
    const REST: f32;

    /// The pairs, in the order of memory.
    fn widen(word: u32) -> [u32; 2];
}

/// e4m3.
#[derive(Clone, Copy)]
pub struct E4m3;

impl Widen for E4m3 {
    const REST: f32 = 1.0;

    #[inline(always)]
    fn widen(word: u32) -> [u32; 2] {
        codes::e4m3(word)
    }
}

/// Signed integers.
#[derive(Clone, Copy)]
pub struct I8;

impl Widen for I8 {
    const REST: f32 = codes::INTEGER_REST;

    #[inline(always)]
    fn widen(word: u32) -> [u32; 2] {
        codes::i8(word)
    }
}

/// `Fp8` and `Int8`.
#[derive(Clone, Copy)]
pub struct Bits8<W>(PhantomData<W>);

impl<W: Widen> Form for Bits8<W> {
    const BITS: u32 = 8;
    const SCALES: u32 = 0;
    const GROUPS: usize = 1;
    const REST: f32 = W::REST;
    const VARIES: bool = true;
    type Word = [u32; 2];
    type Scales = ();

    #[inline(always)]
    fn is_varied(matrix: &Matrix) -> bool {
        matrix.group > 0
    }

    #[inline(always)]
    unsafe fn of_step(_: &Step<Self>) {}

    #[inline(always)]
    unsafe fn add<const VARIED: bool>(
        sums: &mut Sums,
        matrix: &Matrix,
        place: Place,
        _: &(),
        unit: u32,
        [low, high]: [[u32; 2]; 2],
        [tokens, _]: [[u32; 4]; 2],
    ) {
        // SAFETY: the caller's promise; the last group of a row serves what is behind it, which is zero.
        unsafe {
            sums.multiply::<false>(W::widen(low[0]), W::widen(high[0]), [tokens[0], tokens[1]]);
            let (low, high, tokens) = (W::widen(low[1]), W::widen(high[1]), [tokens[2], tokens[3]]);
            if !VARIED {
                sums.multiply::<true>(low, high, tokens);
            } else {
                sums.multiply::<false>(low, high, tokens);
                let column = place.column + unit * 32;
                if unit + 1 == groups::<Self>() || (column + 32) & (matrix.group - 1) == 0 {
                    let group = (column >> matrix.group.trailing_zeros()).min(matrix.row_scales - 1);
                    sums.close([matrix.scale(place.rows[0], group), matrix.scale(place.rows[1], group)]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn of_rows(matrix: &Matrix, rows: [u32; 2]) -> [f32; 2] {
        if matrix.group > 0 {
            return [0.0; 2];
        }
        // SAFETY: the caller's promise.
        unsafe { [matrix.scale(rows[0], 0), matrix.scale(rows[1], 0)] }
    }
}
