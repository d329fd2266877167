//! The formats of `quant_gemv`: what a lane makes of its codes.
//!
//! A unit is 32 columns of a tile, or 64: a lane has eight or 16 neighbours of its row and of the row eight further on.
use core::marker::PhantomData;

use super::PIECES;
use super::ring::Step;
use crate::Ptr;
use crate::format::{Format, INT4_ZEROS};
use cuda_std::unroll::unroll;
use cuda_std::{codes, global, math, mma, shared, thread};

/// The rows of codes of a product.
#[derive(Clone, Copy)]
pub struct Matrix {
    /// Address of the codes.
    pub codes: u64,
    /// Address of the f32 scales beside them.
    pub scales: u64,
    /// Bytes of a row.
    pub row_bytes: u32,
    /// 16-byte pieces of codes in a row.
    pub pieces: u32,
    /// The format's number.
    pub kind: u32,
    /// Columns of an f32 scale beside the codes; 0 for all of a row.
    pub group: u32,
    /// Such scales of a row.
    pub row_scales: u32,
}

impl Matrix {
    /// The codes of rows of `k` columns in form `F`.
    #[inline(always)]
    pub fn new<F: Form>((codes, scales): (Ptr<crate::Packed>, Ptr<f32>), k: u32, (kind, group): (u32, u32)) -> Matrix {
        let pieces = k.div_ceil(128 / F::BITS);
        let blocks = k.div_ceil(crate::format::BLOCK);
        let row_scales = if F::BITS == 8 && group > 0 { k.div_ceil(group) } else { 1 };
        let row_bytes = pieces * 16 + blocks * F::SCALES;
        Matrix { codes: codes.addr, scales: scales.addr, row_bytes, pieces, kind, group, row_scales }
    }

    /// The f32 scale of group `group` of a row.
    ///
    /// # Safety
    /// It exists.
    #[inline(always)]
    unsafe fn scale(&self, row: u32, group: u32) -> f32 {
        let at = u64::from(row) * u64::from(self.row_scales) + u64::from(group);
        // SAFETY: the caller's promise.
        unsafe { global::load_readonly(self.scales + at * 4) }
    }
}

/// The sums of a lane's two rows with two token rows.
#[derive(Clone, Copy)]
pub struct Sums {
    /// Of what the scale of a group or of the row is still to multiply.
    pub part: [f32; 4],
    /// Of all else.
    pub whole: [f32; 4],
}

impl Sums {
    /// Of nothing.
    pub const ZERO: Sums = Sums { part: [0.0; 4], whole: [0.0; 4] };

    /// Adds the part, each row's multiplied by its scale.
    #[inline(always)]
    pub fn close(&mut self, scales: [f32; 2]) {
        unroll::<4>(
            #[inline(always)]
            |i| self.whole[i] = math::fma(scales[i / 2], self.part[i], self.whole[i]),
        );
        self.part = [0.0; 4];
    }

    /// Adds the products of 16 columns of pairs `low` and `high` of two rows with `tokens`.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    unsafe fn multiply(&mut self, low: [u32; 2], high: [u32; 2], tokens: [u32; 2]) {
        // SAFETY: the caller's promise.
        self.part = unsafe { mma::m16n8k16_bf16([low[0], high[0], low[1], high[1]], tokens, self.part) };
    }

    /// Adds the products of the pairs of eight columns, of both rows, with `tokens`.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    unsafe fn multiply_eight(&mut self, low: [u32; 4], high: [u32; 4], tokens: [u32; 4]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.multiply([low[0], low[1]], [high[0], high[1]], [tokens[0], tokens[1]]);
            self.multiply([low[2], low[3]], [high[2], high[3]], [tokens[2], tokens[3]]);
        }
    }
}

/// A lane's rows and the first column of its warp's step.
#[derive(Clone, Copy)]
pub struct Place {
    /// The numbers of its two rows, or of others where they are not there.
    pub rows: [u32; 2],
    /// Of the step.
    pub column: u32,
}

/// A format's codes in registers.
pub trait Form: Copy {
    /// Bits of a code.
    const BITS: u32;
    /// Bytes of scales in front of 256 columns.
    const SCALES: u32;
    /// Groups of eight columns that a lane has of a unit.
    const GROUPS: usize;
    /// How many of them are asked for before they are used, 4 or 2: more take too many registers.
    const AHEAD: usize = 4;
    /// Bytes of a lane's codes of a row in a unit.
    const WORD_BYTES: u32 = Self::BITS * Self::GROUPS as u32;
    /// A lane's codes of a row in a unit.
    type Word: shared::Word;
    /// What is read of a step once.
    type Scales: Copy;

    /// Bytes from a row's start to its `number`-th piece of codes.
    #[inline(always)]
    fn piece(number: u32) -> u32 {
        number * 16 + Self::SCALES * (number / 8 + 1)
    }

    /// Bytes from a row's start to the scales of the block that begins with piece `first`.
    #[inline(always)]
    fn scales(first: u32) -> u32 {
        first * 16 + Self::SCALES * (first / 8)
    }

    /// # Safety
    /// The step is the one that its ring gave last.
    unsafe fn of_step(step: &Step<Self>) -> Self::Scales;

    /// What all sums are still to be multiplied by.
    const REST: f32 = 1.0;
    /// Whether f32 scales beside the codes may be those of groups: then `GROUPED` says whether they are.
    const GROUPABLE: bool = false;

    /// Adds the products of a unit.
    ///
    /// # Safety
    /// The whole warp comes here.
    unsafe fn add<const GROUPED: bool>(
        sums: &mut Sums,
        matrix: &Matrix,
        place: Place,
        scales: &Self::Scales,
        unit: u32,
        codes: [Self::Word; 2],
        tokens: [[u32; 4]; 2],
    );

    /// The scales of rows, which multiply their sums at last.
    ///
    /// # Safety
    /// The rows exist.
    unsafe fn of_rows(matrix: &Matrix, rows: [u32; 2]) -> [f32; 2];
}

/// Groups of eight columns that a lane has of a step.
pub const fn groups<F: Form>() -> u32 {
    PIECES * 4 / F::BITS
}

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
    const GROUPABLE: bool = true;
    type Word = [u32; 2];
    type Scales = ();

    #[inline(always)]
    unsafe fn of_step(_: &Step<Self>) {}

    #[inline(always)]
    unsafe fn add<const GROUPED: bool>(
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
            sums.multiply(W::widen(low[0]), W::widen(high[0]), [tokens[0], tokens[1]]);
            sums.multiply(W::widen(low[1]), W::widen(high[1]), [tokens[2], tokens[3]]);
            if GROUPED {
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

/// `Int4` in groups of 64 columns.
#[derive(Clone, Copy)]
pub struct Groups64;

/// `Int4` in groups of 32 columns.
#[derive(Clone, Copy)]
pub struct Groups32;

/// The zero points of two groups as [`codes::u4`] takes them, and their scales.
#[inline(always)]
fn zeros_and_scales(matrix: &Matrix, entries: [u32; 2]) -> ([u32; 2], [f32; 2]) {
    // With zero points they are the lowest bits; else 8, and those bits are the scale's.
    let (mask, zero) = if matrix.kind == INT4_ZEROS { (0xf, 0) } else { (0, 8) };
    let zeros = entries.map(|entry| codes::zero_point(entry & mask | zero));
    (zeros, entries.map(|entry| f32::from_bits(entry & !mask)))
}

impl Form for Groups64 {
    const BITS: u32 = 4;
    const SCALES: u32 = Format::Int4 { group: 64, zeros: false }.block_scales();
    const REST: f32 = codes::INTEGER_REST;
    const GROUPS: usize = 2;
    type Word = [u32; 2];
    type Scales = [[u32; 4]; 2];

    #[inline(always)]
    unsafe fn of_step(step: &Step<Self>) -> [[u32; 4]; 2] {
        // SAFETY: the caller's promise.
        unsafe { step.scales(0) }
    }

    #[inline(always)]
    unsafe fn add<const GROUPED: bool>(
        sums: &mut Sums,
        matrix: &Matrix,
        _: Place,
        entries: &[[u32; 4]; 2],
        unit: u32,
        [low, high]: [[u32; 2]; 2],
        tokens: [[u32; 4]; 2],
    ) {
        let (zeros, scales) = zeros_and_scales(matrix, entries.map(|entries| entries[unit as usize]));
        unroll::<2>(
            #[inline(always)]
            |i| {
                let (low, high) = (codes::u4(low[i], zeros[0]), codes::u4(high[i], zeros[1]));
                // SAFETY: the caller's promise.
                unsafe { sums.multiply_eight(low, high, codes::apart_by_4(tokens[i])) };
            },
        );
        sums.close(scales);
    }

    #[inline(always)]
    unsafe fn of_rows(_: &Matrix, _: [u32; 2]) -> [f32; 2] {
        [0.0; 2]
    }
}

impl Form for Groups32 {
    const BITS: u32 = 4;
    const SCALES: u32 = Format::Int4 { group: 32, zeros: false }.block_scales();
    const REST: f32 = codes::INTEGER_REST;
    const GROUPS: usize = 1;
    type Word = u32;
    type Scales = [[[u32; 4]; 2]; 2];

    #[inline(always)]
    unsafe fn of_step(step: &Step<Self>) -> [[[u32; 4]; 2]; 2] {
        // SAFETY: the caller's promise.
        unsafe { [step.scales(0), step.scales(16)] }
    }

    #[inline(always)]
    unsafe fn add<const GROUPED: bool>(
        sums: &mut Sums,
        matrix: &Matrix,
        _: Place,
        entries: &[[[u32; 4]; 2]; 2],
        unit: u32,
        [low, high]: [u32; 2],
        [tokens, _]: [[u32; 4]; 2],
    ) {
        let entries = entries[unit as usize / 4].map(|entries| entries[unit as usize % 4]);
        let (zeros, scales) = zeros_and_scales(matrix, entries);
        let (low, high) = (codes::u4(low, zeros[0]), codes::u4(high, zeros[1]));
        // SAFETY: the caller's promise.
        unsafe { sums.multiply_eight(low, high, codes::apart_by_4(tokens)) };
        sums.close(scales);
    }

    #[inline(always)]
    unsafe fn of_rows(_: &Matrix, _: [u32; 2]) -> [f32; 2] {
        [0.0; 2]
    }
}

/// `Nvfp4`.
#[derive(Clone, Copy)]
pub struct Nvfp4;

impl Form for Nvfp4 {
    const BITS: u32 = 4;
    const SCALES: u32 = Format::Nvfp4.block_scales();
    const AHEAD: usize = 2;
    const REST: f32 = codes::E2M1_REST;
    const GROUPS: usize = 2;
    type Word = [u32; 2];
    type Scales = [[u32; 4]; 2];

    #[inline(always)]
    unsafe fn of_step(step: &Step<Self>) -> [[u32; 4]; 2] {
        // SAFETY: the caller's promise.
        unsafe { step.scales(0) }
    }

    #[inline(always)]
    unsafe fn add<const GROUPED: bool>(
        sums: &mut Sums,
        _: &Matrix,
        _: Place,
        scales: &[[u32; 4]; 2],
        unit: u32,
        [low, high]: [[u32; 2]; 2],
        tokens: [[u32; 4]; 2],
    ) {
        // Each lane's 16 columns have a scale of their own.
        let own = thread::lane_id() % 4;
        let [low_scale, high_scale] = scales.map(|scales| codes::e2m1_scale(scales[unit as usize], own));
        unroll::<2>(
            #[inline(always)]
            |i| {
                let (low, high) = (codes::e2m1(low[i], low_scale), codes::e2m1(high[i], high_scale));
                // SAFETY: the caller's promise.
                unsafe { sums.multiply_eight(low, high, codes::apart_by_4(tokens[i])) };
            },
        );
    }

    #[inline(always)]
    unsafe fn of_rows(matrix: &Matrix, rows: [u32; 2]) -> [f32; 2] {
        // SAFETY: the caller's promise.
        unsafe { [matrix.scale(rows[0], 0), matrix.scale(rows[1], 0)] }
    }
}
