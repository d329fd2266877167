//! The formats of `quant_gemm`: what a lane makes of its codes, in the order of the columns.
//!
//! A lane has the pairs of columns that the tensor core's first operand wants of it: of each eight columns those two that its
//! number among four says, of its row in the warp's 16 and of the row eight further on.
use super::ring::Stage;
use super::{CODE_BYTES, QuantGemm};
use crate::format::{BLOCK, INT4_ZEROS};
use cuda_std::unroll::{array, unroll};
use cuda_std::{codes, fragment, shared, thread, wgmma};

/// Bytes from a row's codes in a stage to those of the row eight further on.
const BELOW: u32 = 8 * CODE_BYTES;

/// Where the f32 scales of a format stand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scales {
    /// Beside the codes, one of each row.
    OfRows,
    /// Beside the codes, of groups of units.
    OfGroups,
    /// Among the codes, of groups of so many columns, each of whole units within a step.
    Among(u32),
}

/// A format's codes in registers: `STEPS` operands of 16 columns together, which is a unit.
pub trait Codes<const STEPS: usize>: Copy {
    /// Bits of a code.
    const BITS: u32;
    /// Bytes of the scales of a row in a stage; they stand behind the row's codes.
    const ROOM: u32;
    /// What all sums are still to be multiplied by.
    const REST: f32;
    /// Where the f32 scales stand.
    const SCALES: Scales;

    /// Pieces of 16 bytes of a row's codes.
    #[inline(always)]
    fn pieces(args: &QuantGemm) -> u32 {
        args.k.div_ceil(128 / Self::BITS)
    }

    /// The unit number `unit` of a step as operands, and the f32 scales behind the codes that multiply both rows' sums of it; where
    /// there are none, 1.
    ///
    /// # Safety
    /// The stage has landed, and nobody writes it before the next barrier.
    unsafe fn operands(args: &QuantGemm, stage: &Stage, unit: u32) -> ([[u32; 4]; STEPS], [f32; 2]);
}

/// The shared address of a lane's row in a stage, moved so that its exclusive or with 16 times a piece's number is the address of
/// the piece.
#[inline(always)]
fn own_row(stage: &Stage) -> u32 {
    let row = thread::lane_id() / 4;
    stage.codes + (thread::warp_id() * fragment::M + row) * CODE_BYTES + row * 16
}

/// How four codes of a byte become a pair of bf16.
pub trait Widen: Copy {
    /// What they are still to be multiplied by.
    const REST: f32;

    /// The pair of two codes in the lower half.
    fn pair(two: u32) -> u32;
}

/// e4m3.
#[derive(Clone, Copy)]
pub struct E4m3;

impl Widen for E4m3 {
    const REST: f32 = 1.0;

    #[inline(always)]
    fn pair(two: u32) -> u32 {
        codes::e4m3_pair(two)
    }
}

/// Signed integers.
#[derive(Clone, Copy)]
pub struct I8;

impl Widen for I8 {
    const REST: f32 = codes::INTEGER_REST;

    #[inline(always)]
    fn pair(two: u32) -> u32 {
        codes::i8_pair(two)
    }
}

/// `Fp8` and `Int8`, with scales of rows or `IN_GROUPS`.
#[derive(Clone, Copy)]
pub struct Bits8<W, const IN_GROUPS: bool>(core::marker::PhantomData<W>);

impl<W: Widen, const IN_GROUPS: bool, const STEPS: usize> Codes<STEPS> for Bits8<W, IN_GROUPS> {
    const BITS: u32 = 8;
    const ROOM: u32 = 0;
    const REST: f32 = W::REST;
    const SCALES: Scales = if IN_GROUPS { Scales::OfGroups } else { Scales::OfRows };

    #[inline(always)]
    unsafe fn operands(_: &QuantGemm, stage: &Stage, unit: u32) -> ([[u32; 4]; STEPS], [f32; 2]) {
        let row = own_row(stage);
        let within = thread::lane_id() % 4 * 2;
        // All at once: one behind the other, each would be waited for.
        let two: [[u16; 4]; STEPS] = array(
            #[inline(always)]
            |step| {
                let piece = (row ^ (stage.first / 16 + unit * STEPS as u32 + step as u32) * 16) + within;
                // SAFETY: the caller's promise.
                [0, BELOW, 8, 8 + BELOW].map(|further| unsafe { shared::Word::load(piece + further) })
            },
        );
        let operands = array(
            #[inline(always)]
            |step| two[step].map(|two: u16| W::pair(u32::from(two))),
        );
        (operands, [1.0; 2])
    }
}

/// Piece `piece` of a step's codes of 4 bits, 32 columns, of a lane's two rows: a word has eight columns.
///
/// # Safety
/// As for [`Codes::operands`].
#[inline(always)]
unsafe fn words(stage: &Stage, piece: u32) -> [[u32; 4]; 2] {
    let piece = own_row(stage) ^ (stage.first / 32 + piece) * 16;
    // SAFETY: the caller's promise.
    [0, BELOW].map(|below| unsafe { shared::Word::load(piece + below) })
}

/// Operands of pairs that `pair` makes of a row and eight columns.
#[inline(always)]
fn of_pairs<const STEPS: usize>(pair: impl Fn(usize, usize) -> u32) -> [[u32; 4]; STEPS] {
    array(
        #[inline(always)]
        |step| {
            let eight = 2 * step;
            [pair(0, eight), pair(1, eight), pair(0, eight + 1), pair(1, eight + 1)]
        },
    )
}

/// The shared address of a lane's row of scales in a stage.
#[inline(always)]
fn own_scales(stage: &Stage, room: u32) -> u32 {
    stage.scales + (thread::warp_id() * fragment::M + thread::lane_id() / 4) * room
}

/// `Int4`, in groups of `GROUP` columns.
#[derive(Clone, Copy)]
pub struct Int4<const GROUP: u32>;

impl<const GROUP: u32, const STEPS: usize> Codes<STEPS> for Int4<GROUP> {
    const BITS: u32 = 4;
    const ROOM: u32 = BLOCK / GROUP * 4;
    const REST: f32 = codes::INTEGER_REST;
    const SCALES: Scales = Scales::Among(GROUP);

    #[inline(always)]
    unsafe fn operands(args: &QuantGemm, stage: &Stage, unit: u32) -> ([[u32; 4]; STEPS], [f32; 2]) {
        let pieces = STEPS as u32 / 2;
        let room = BLOCK / GROUP * 4;
        let entry = own_scales(stage, room) + (stage.first / GROUP + unit * STEPS as u32 * wgmma::K / GROUP) * 4;
        // SAFETY: the caller's promise.
        let entries: [u32; 2] = unsafe { [0, 8 * room].map(|below| shared::Word::load(entry + below)) };
        let words: [_; 2] = array(
            #[inline(always)]
            // SAFETY: the caller's promise.
            |i| {
                if (i as u32) < pieces { unsafe { words(stage, unit * pieces + i as u32) } } else { Default::default() }
            },
        );
        // With zero points they are the lowest bits; else 8, and those bits are the scale's.
        let mask = if args.format == INT4_ZEROS { 0xf } else { 0 };
        let zeros = entries.map(|entry| codes::zero_point(entry & mask | !mask & 8));
        let own = thread::lane_id() % 4;
        let operands = of_pairs(
            #[inline(always)]
            |row, eight| codes::u4_pair(words[eight / 4][row][eight % 4], own, zeros[row]),
        );
        (operands, entries.map(|entry| f32::from_bits(entry & !mask)))
    }
}

/// `Nvfp4`.
#[derive(Clone, Copy)]
pub struct Nvfp4;

impl Codes<4> for Nvfp4 {
    const BITS: u32 = 4;
    const ROOM: u32 = 16;
    const REST: f32 = codes::E2M1_REST;
    const SCALES: Scales = Scales::OfRows;

    #[inline(always)]
    unsafe fn operands(_: &QuantGemm, stage: &Stage, unit: u32) -> ([[u32; 4]; 4], [f32; 2]) {
        let at = own_scales(stage, Self::ROOM) + (stage.first / 64 + unit) * 4;
        // SAFETY: the caller's promise.
        let (words, scales): (_, [u32; 2]) = unsafe {
            let words = [words(stage, unit * 2), words(stage, unit * 2 + 1)];
            (words, [0, 8 * Self::ROOM].map(|below| shared::Word::load(at + below)))
        };
        let mut steps = [[0; 2]; 4];
        unroll::<4>(
            #[inline(always)]
            |step| steps[step] = codes::e2m1_scales(scales, step as u32),
        );
        let own = thread::lane_id() % 4;
        let operands = of_pairs(
            #[inline(always)]
            |row, eight| codes::e2m1_pair(words[eight / 4][row][eight % 4], own, steps[eight / 2][row]),
        );
        (operands, [1.0; 2])
    }
}
