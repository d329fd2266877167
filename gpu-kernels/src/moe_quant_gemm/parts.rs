//! The parts of a block of `moe_quant_gemm`: rows of an expert's weight with some of the choices of a tile, one after the other.
use super::MoeQuantGemm;
use crate::format::{Format, NVFP4};
use crate::moe_sort::max_tiles;
use crate::quant_gemm::QuantGemm;
use crate::quant_gemm::bits::Codes;
use crate::quant_gemm::ring::{TOGETHER, Tiles};
use crate::skinny_gemm::cluster::Blocks;
use crate::skinny_gemm::{ROW_BYTES, TILE};
use crate::{Ptr, SkinnyGemm, row};
use core::marker::PhantomData;
use core::num::NonZero;
use cuda_std::unroll::{array, unroll};
use cuda_std::{cp_async, global, thread};

/// No token row.
pub const NONE: u32 = u32::MAX;

/// A part of a block, and how to come to the next one, of experts in a format: `TILE` rows of a weight, and at most `MOST` choices.
#[derive(Clone, Copy)]
pub struct Part<F, const STEPS: usize, const TILE: u32, const MOST: u32> {
    /// The product with the expert's weight, of as many token rows as choices are left of the tile.
    pub product: QuantGemm,
    /// Which rows of which tile, counted through all tiles.
    item: u32,
    /// The first choice's place.
    pub first: u32,
    /// Which rows of the expert's weight.
    pub rows: u32,
    form: PhantomData<F>,
}

impl<F: Codes<STEPS>, const STEPS: usize, const TILE: u32, const MOST: u32> Part<F, STEPS, TILE, MOST> {
    /// The block's first part.
    ///
    /// # Safety
    /// The kernel's Requires hold; the tiles are written.
    #[inline(always)]
    pub unsafe fn of_block(args: &MoeQuantGemm) -> Self {
        let product = args.of_experts();
        let mut part = Part { product, item: thread::block_idx_x(), first: 0, rows: 0, form: PhantomData };
        // SAFETY: the caller's promise.
        unsafe { part.find(args) };
        part
    }

    /// Whether there is one.
    #[inline(always)]
    pub fn is_live(&self) -> bool {
        self.product.rows > 0
    }

    /// Goes on to the next part.
    ///
    /// # Safety
    /// As for [`Part::of_block`].
    #[inline(always)]
    pub unsafe fn advance(&mut self, args: &MoeQuantGemm) {
        if self.product.rows > MOST {
            self.product.rows -= MOST;
            self.first += MOST;
            return;
        }
        self.item += thread::grid_dim_x();
        // SAFETY: the caller's promise.
        unsafe { self.find(args) };
    }

    /// Finds the first part of its item, where there is such an item.
    ///
    /// # Safety
    /// As for [`Part::of_block`].
    #[inline(always)]
    unsafe fn find(&mut self, args: &MoeQuantGemm) {
        self.product.rows = 0;
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let Some(of_tile) = NonZero::new(args.n.div_ceil(TILE)) else { return };
        let tile = self.item / of_tile;
        if tile >= max_tiles(args.rows * args.top_k, args.experts) {
            return;
        }
        self.rows = self.item - tile * of_tile.get();
        // SAFETY: the tile is there.
        let [expert, first, places, _]: [u32; 4] = unsafe { global::load(args.tiles.addr + 16 * u64::from(tile)) };
        (self.first, self.product.rows) = (first, places);
        let row = u64::from(expert) * u64::from(args.n);
        self.product.w.addr = args.w.addr + row * u64::from(args.row_bytes);
        self.product.scales.addr = args.scales.addr + row * scales_bytes(args);
    }
}

/// Bytes of the scales that stand beside a row's codes.
#[inline(always)]
fn scales_bytes(args: &MoeQuantGemm) -> u64 {
    if args.scales.is_null() {
        return 0;
    }
    // Those of NVFP4's groups are behind the codes.
    let of_row = match NonZero::new(args.group) {
        Some(group) if args.format != NVFP4 => args.k.div_ceil(group.get()),
        _ => 1,
    };
    u64::from(of_row) * 4
}

impl MoeQuantGemm {
    /// The product with an expert's weight, which is none yet.
    #[inline(always)]
    pub fn of_experts(&self) -> QuantGemm {
        let around = SkinnyGemm::new(self.x, Ptr::NULL, [0, self.n, self.k]);
        let product = QuantGemm::of(around, (self.w, self.scales), Format::Nvfp4);
        let MoeQuantGemm { format, group, row_bytes, code_bytes, .. } = *self;
        QuantGemm { format, group, row_bytes, code_bytes, ..product }
    }

    /// The choice at a place of the order.
    ///
    /// # Safety
    /// The place is there, and written.
    #[inline(always)]
    pub unsafe fn choice(&self, place: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { global::load(self.order.addr + 4 * u64::from(place)) }
    }

    /// The token row of a choice.
    #[inline(always)]
    pub fn token(&self, choice: u32) -> u32 {
        match NonZero::new(self.top_k) {
            Some(top_k) if self.row_per_choice == 0 => choice / top_k,
            _ => choice,
        }
    }
}

/// A part of 128 rows of a weight.
pub type Narrow<F, const STEPS: usize, const MOST: u32> = Part<F, STEPS, TILE, MOST>;

/// The parts that a block asks for, with the token rows of which this thread copies a piece, `COPIES` at most.
#[derive(Clone, Copy)]
pub struct Asked<'a, F, const STEPS: usize, const MOST: u32, const COPIES: usize> {
    args: &'a MoeQuantGemm,
    part: Narrow<F, STEPS, MOST>,
    /// The thread's token rows; [`NONE`] where there is none. Addresses would take twice the registers.
    tokens: [u32; COPIES],
    /// The number of the first of them.
    row: u32,
}

impl<'a, F: Codes<STEPS>, const STEPS: usize, const MOST: u32, const COPIES: usize> Asked<'a, F, STEPS, MOST, COPIES> {
    /// The block's parts from the first on, for a thread whose token rows are every `TOGETHER`th from `row` on.
    ///
    /// # Safety
    /// As for [`Part::of_block`].
    #[inline(always)]
    pub unsafe fn new(args: &'a MoeQuantGemm, part: Narrow<F, STEPS, MOST>, row: u32) -> Self {
        const { assert!(COPIES as u32 * TOGETHER == MOST) };
        let mut asked = Asked { args, part, tokens: [NONE; COPIES], row };
        // SAFETY: the caller's promise.
        unsafe { asked.find_tokens() };
        asked
    }

    /// # Safety
    /// As for [`Part::of_block`].
    #[inline(always)]
    unsafe fn find_tokens(&mut self) {
        self.tokens = array(
            #[inline(always)]
            |i| {
                let row = self.row + i as u32 * TOGETHER;
                // SAFETY: the place is there.
                if row < self.part.product.rows {
                    self.args.token(unsafe { self.args.choice(self.part.first + row) })
                } else {
                    NONE
                }
            },
        );
    }
}

impl<F: Codes<STEPS>, const STEPS: usize, const MOST: u32, const COPIES: usize> Tiles
    for Asked<'_, F, STEPS, MOST, COPIES>
{
    #[inline(always)]
    fn product(&self) -> &QuantGemm {
        &self.part.product
    }

    #[inline(always)]
    fn split(&self) -> [u32; 2] {
        Blocks::<false>::split()
    }

    #[inline(always)]
    fn number(&self) -> u32 {
        self.part.rows
    }

    #[inline(always)]
    fn is_live(&self) -> bool {
        self.part.is_live()
    }

    #[inline(always)]
    unsafe fn advance(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.part.advance(self.args);
            self.find_tokens();
        }
    }

    #[inline(always)]
    unsafe fn copy_tokens<const TILES: usize>(&self, _: u32, group: u32, within: bool, to: u32) {
        unroll::<COPIES>(
            #[inline(always)]
            |i| {
                let bytes = if within && self.tokens[i] != NONE { 16 } else { 0 };
                let from = self.args.x.addr + u64::from(self.tokens[i]) * u64::from(self.args.k * 2);
                let to = to + i as u32 * TOGETHER * ROW_BYTES;
                // SAFETY: only groups within rows that are there are read.
                unsafe { cp_async::copy_16_or_zero_of_256(to, row::at(from, group), bytes) };
            },
        );
    }
}
