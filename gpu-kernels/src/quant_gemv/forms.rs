//! The formats of `quant_gemv`: what a lane makes of its codes.
//!
//! A unit is 32 columns of a tile, or 64: a lane has eight or 16 neighbours of its row and of the row eight further on.
use super::PIECES;
use super::ring::Step;
use crate::Ptr;
use crate::format::row_bytes;
use cuda_std::unroll::unroll;
use cuda_std::{global, math, mma, shared};

/// The rows of codes of a product.
#[derive(Clone, Copy)]
pub struct Matrix {
    /// Address of the codes.
    pub codes: u64,
    /// Address of the f32 scales beside them.
    pub scales: u64,
    /// Bytes of a row.
    pub row_bytes: u32,
    /// 16-byte pieces of codes in a row; its scales stand behind them.
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
        let row_scales = if F::BITS == 8 && group > 0 { k.div_ceil(group) } else { 1 };
        let row_bytes = row_bytes(k, pieces * 16, F::SCALES);
        Matrix { codes: codes.addr, scales: scales.addr, row_bytes, pieces, kind, group, row_scales }
    }

    /// The f32 scale of group `group` of a row.
    ///
    /// # Safety
    /// It exists.
    #[inline(always)]
    pub unsafe fn scale(&self, row: u32, group: u32) -> f32 {
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
    /// The same of every other product, where a scale is the whole row's: the tensor core need not wait for one to begin
    /// with the next.
    pub other: [f32; 4],
    /// Of all else.
    pub whole: [f32; 4],
}

impl Sums {
    /// Of nothing.
    pub const ZERO: Sums = Sums { part: [0.0; 4], other: [0.0; 4], whole: [0.0; 4] };

    /// Adds the part, each row's multiplied by its scale.
    #[inline(always)]
    pub fn close(&mut self, scales: [f32; 2]) {
        unroll::<4>(
            #[inline(always)]
            |i| self.whole[i] = math::fma(scales[i / 2], self.part[i], self.whole[i]),
        );
        self.part = [0.0; 4];
    }

    /// All of the tile's sums, the rows' multiplied by their scales.
    #[inline(always)]
    pub fn finished(mut self, scales: [f32; 2]) -> [f32; 4] {
        unroll::<4>(
            #[inline(always)]
            |i| self.part[i] += self.other[i],
        );
        self.close(scales);
        self.whole
    }

    /// Adds the products of 16 columns of pairs `low` and `high` of two rows with `tokens`; with `OTHER` to the other part.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    pub unsafe fn multiply<const OTHER: bool>(&mut self, low: [u32; 2], high: [u32; 2], tokens: [u32; 2]) {
        let part = if OTHER { &mut self.other } else { &mut self.part };
        // SAFETY: the caller's promise.
        *part = unsafe { mma::m16n8k16_bf16([low[0], high[0], low[1], high[1]], tokens, *part) };
    }

    /// Adds the products of the pairs of eight columns, of both rows, with `tokens`.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    pub unsafe fn multiply_eight<const OTHER: bool>(&mut self, low: [u32; 4], high: [u32; 4], tokens: [u32; 4]) {
        // SAFETY: the caller's promise.
        unsafe {
            self.multiply::<false>([low[0], low[1]], [high[0], high[1]], [tokens[0], tokens[1]]);
            self.multiply::<OTHER>([low[2], low[3]], [high[2], high[3]], [tokens[2], tokens[3]]);
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
    /// Bytes of scales of 256 columns.
    const SCALES: u32;
    /// Groups of eight columns that a lane has of a unit.
    const GROUPS: usize;
    /// Bytes of a lane's codes of a row in a unit.
    const WORD_BYTES: u32 = Self::BITS * Self::GROUPS as u32;
    /// A lane's codes of a row in a unit.
    type Word: shared::Word;
    /// What is read of a step once.
    type Scales: Copy;

    /// Eight columns of a token row, paired as the form's codes are.
    #[inline(always)]
    fn paired(tokens: [u32; 4]) -> [u32; 4] {
        tokens
    }

    /// # Safety
    /// The step is the one that its ring gave last.
    unsafe fn of_step(step: &Step<Self>) -> Self::Scales;

    /// What all sums are still to be multiplied by.
    const REST: f32 = 1.0;
    /// Whether there are weights of this form with scales beside the codes for groups of columns, or with zero points: of those `add` is
    /// called with `VARIED`.
    const VARIES: bool = false;

    /// Whether the weight is such a one.
    #[inline(always)]
    fn is_varied(_: &Matrix) -> bool {
        false
    }

    /// Adds the products of a unit.
    ///
    /// # Safety
    /// The whole warp comes here.
    unsafe fn add<const VARIED: bool>(
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
