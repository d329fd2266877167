//! The formats of 4 bits of `quant_gemv`.
use super::forms::{Form, Matrix, Place, Sums};
use super::ring::Step;
use crate::format::{Format, INT4_ZEROS};
use cuda_std::unroll::unroll;
use cuda_std::{codes, thread};

/// `Int4` in groups of 64 columns.
#[derive(Clone, Copy)]
pub struct Groups64;

/// `Int4` in groups of 32 columns. It does not vary by zero points, which would take more registers than there are.
#[derive(Clone, Copy)]
pub struct Groups32;

/// The zero points of two groups as [`codes::u4`] takes them, and their scales.
#[inline(always)]
fn zeros_and_scales(has_zeros: bool, entries: [u32; 2]) -> ([u32; 2], [f32; 2]) {
    // With zero points they are the lowest bits; else 8, and those bits are the scale's.
    let (mask, zero) = if has_zeros { (0xf, 0) } else { (0, 8) };
    let zeros = entries.map(|entry| codes::zero_point(entry & mask | zero));
    (zeros, entries.map(|entry| f32::from_bits(entry & !mask)))
}

impl Form for Groups64 {
    const BITS: u32 = 4;
    const SCALES: u32 = Format::Int4 { group: 64, zeros: false }.block_scales();
    const REST: f32 = codes::INTEGER_REST;
    const GROUPS: usize = 2;
    const VARIES: bool = true;
    type Word = [u32; 2];
    type Scales = [[u32; 4]; 2];

    #[inline(always)]
    fn paired(tokens: [u32; 4]) -> [u32; 4] {
        codes::apart_by_4(tokens)
    }

    #[inline(always)]
    fn is_varied(matrix: &Matrix) -> bool {
        matrix.kind == INT4_ZEROS
    }

    #[inline(always)]
    unsafe fn of_step(step: &Step<Self>) -> [[u32; 4]; 2] {
        // SAFETY: the caller's promise.
        unsafe { step.scales(0) }
    }

    #[inline(always)]
    unsafe fn add<const VARIED: bool>(
        sums: &mut Sums,
        _: &Matrix,
        _: Place,
        entries: &[[u32; 4]; 2],
        unit: u32,
        [low, high]: [[u32; 2]; 2],
        tokens: [[u32; 4]; 2],
    ) {
        let (zeros, scales) = zeros_and_scales(VARIED, entries.map(|entries| entries[unit as usize]));
        unroll::<2>(
            #[inline(always)]
            |i| {
                let (low, high) = (codes::u4(low[i], zeros[0]), codes::u4(high[i], zeros[1]));
                // SAFETY: the caller's promise.
                unsafe { sums.multiply_eight::<false>(low, high, tokens[i]) };
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
    fn paired(tokens: [u32; 4]) -> [u32; 4] {
        codes::apart_by_4(tokens)
    }

    #[inline(always)]
    unsafe fn of_step(step: &Step<Self>) -> [[[u32; 4]; 2]; 2] {
        // SAFETY: the caller's promise.
        unsafe { [step.scales(0), step.scales(16)] }
    }

    #[inline(always)]
    unsafe fn add<const VARIED: bool>(
        sums: &mut Sums,
        matrix: &Matrix,
        _: Place,
        entries: &[[[u32; 4]; 2]; 2],
        unit: u32,
        [low, high]: [u32; 2],
        [tokens, _]: [[u32; 4]; 2],
    ) {
        let entries = entries[unit as usize / 4].map(|entries| entries[unit as usize % 4]);
        let (zeros, scales) = zeros_and_scales(matrix.kind == INT4_ZEROS, entries);
        let (low, high) = (codes::u4(low, zeros[0]), codes::u4(high, zeros[1]));
        // SAFETY: the caller's promise.
        unsafe { sums.multiply_eight::<false>(low, high, tokens) };
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
    const REST: f32 = codes::E2M1_REST;
    const GROUPS: usize = 2;
    type Word = [u32; 2];
    /// Not the scales themselves, which would take too many registers.
    type Scales = Step<Nvfp4>;

    #[inline(always)]
    unsafe fn of_step(step: &Step<Self>) -> Step<Self> {
        *step
    }

    #[inline(always)]
    unsafe fn add<const VARIED: bool>(
        sums: &mut Sums,
        _: &Matrix,
        _: Place,
        step: &Step<Self>,
        unit: u32,
        [low, high]: [[u32; 2]; 2],
        tokens: [[u32; 4]; 2],
    ) {
        // Each lane's 16 columns have a scale of their own.
        let own = thread::lane_id() % 4;
        // SAFETY: the step is the one that its ring gave last.
        let scales: [u32; 2] = unsafe { step.scales(unit * 4) };
        let [low_scale, high_scale] = codes::e2m1_scales(scales, own);
        unroll::<2>(
            #[inline(always)]
            |i| {
                let (low, high) = (codes::e2m1(low[i], low_scale), codes::e2m1(high[i], high_scale));
                // SAFETY: the caller's promise.
                unsafe { sums.multiply_eight::<true>(low, high, tokens[i]) };
            },
        );
    }

    #[inline(always)]
    unsafe fn of_rows(matrix: &Matrix, rows: [u32; 2]) -> [f32; 2] {
        // SAFETY: the caller's promise.
        unsafe { [matrix.scale(rows[0], 0), matrix.scale(rows[1], 0)] }
    }
}
