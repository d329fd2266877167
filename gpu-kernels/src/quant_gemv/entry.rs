//! The entry points of `quant_gemv`.
use core::marker::PhantomData;

use super::bits4::{Groups32, Groups64, Nvfp4};
use super::bits8::{Bits8, E4m3, I8};
use super::forms::{Form, Matrix, Place, Sums, groups};
use super::ring::{Ring, Step, Tiles};
use super::{BLOCKS, QuantGemv};
use crate::gemv::stream::Tokens;
use crate::gemv::{SWIGLU, TILE, WARPS, store};
use crate::row::{self, Row};
use crate::{Gemv, layer_norm_1p, rms_norm};
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::unroll;
use cuda_std::{global, kernel, thread};

/// Most groups of eight columns that a lane has of a step.
const MOST_GROUPS: usize = 8;

/// Groups of tokens that are asked for before they are used: more take too many registers.
const AHEAD: usize = 4;

macro_rules! entries {
    ($($plain:ident $rms_norm:ident $layer_norm_1p:ident $form:ty;)*) => { kernel! {$(
        /// Up to eight token rows.
        pub fn $plain(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            let (around, matrix) = (args.around(), matrix::<$form>(&args));
            let ring = Ring::<$form, _>::new(around, matrix);
            product(&around, matrix, ring, None);
        }

        /// One token row behind `rms_norm`.
        pub fn $rms_norm(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            behind_rms_norm::<$form>(&args);
        }

        /// One token row behind `layer_norm_1p`.
        pub fn $layer_norm_1p(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            behind_layer_norm_1p::<$form>(&args);
        }
    )*} };
}

entries! {
    quant_gemv_fp8 quant_gemv_fp8_rms_norm quant_gemv_fp8_layer_norm_1p Bits8<E4m3>;
    quant_gemv_int8 quant_gemv_int8_rms_norm quant_gemv_int8_layer_norm_1p Bits8<I8>;
    quant_gemv_int4 quant_gemv_int4_rms_norm quant_gemv_int4_layer_norm_1p Groups64;
    quant_gemv_int4_32 quant_gemv_int4_32_rms_norm quant_gemv_int4_32_layer_norm_1p Groups32;
    quant_gemv_nvfp4 quant_gemv_nvfp4_rms_norm quant_gemv_nvfp4_layer_norm_1p Nvfp4;
}

#[inline(always)]
fn matrix<F: Form>(args: &QuantGemv) -> Matrix {
    Matrix::new::<F>((args.w, args.scales), args.k, (args.format, args.group))
}

/// With gates, a gate's partner is `n / 2` further on, and eight in the tile.
impl Tiles for Gemv {
    #[inline(always)]
    fn rows(&self, tile: u32, row: u32) -> [u32; 2] {
        let own = tile * self.tile_width() + row;
        [own, own + if self.activation == SWIGLU { self.width() } else { TILE / 2 }]
    }

    #[inline(always)]
    fn has(&self, tile: u32, half: u32, row: u32) -> bool {
        // With gates both halves end where the gates do.
        let ahead = if self.activation == SWIGLU { 0 } else { half * TILE / 2 };
        tile * self.tile_width() + ahead + row < self.width()
    }

    #[inline(always)]
    fn has_all(&self, tile: u32) -> bool {
        (tile + 1) * self.tile_width() <= self.width()
    }
}

/// A row in groups of eight elements.
type Normed = Shared<[u32; 4]>;

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_rms_norm<F: Form>(args: &QuantGemv) {
    let (around, matrix) = (args.around(), matrix::<F>(args));
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let weight = Row::load(args.norm_weight.addr, args.k);
        let ring = Ring::<F, _>::new(around, matrix);
        let (x, normed) = (Row::load(args.x.addr, args.k), behind_the_rings::<F>());
        rms_norm::entry::normalise(x, weight, (args.eps, args.roundings), |group, words| normed.store(group, words));
        sync_threads();
        product(&around, matrix, ring, Some(normed));
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_layer_norm_1p<F: Form>(args: &QuantGemv) {
    let (around, matrix) = (args.around(), matrix::<F>(args));
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let parameters = [Row::load(args.norm_weight.addr, args.k), Row::load(args.norm_bias.addr, args.k)];
        let ring = Ring::<F, _>::new(around, matrix);
        let (x, normed) = (Row::load(args.x.addr, args.k), behind_the_rings::<F>());
        layer_norm_1p::entry::normalise(x, parameters, args.eps, |group, words| normed.store(group, words));
        sync_threads();
        product(&around, matrix, ring, Some(normed));
    }
}

/// Room for the normalised row.
#[inline(always)]
fn behind_the_rings<F: Form>() -> Normed {
    shared::dynamic::<u8>().offset(Ring::<F, Gemv>::ALL).cast()
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here, behind a barrier where the row is `normed`.
#[inline(always)]
unsafe fn product<F: Form>(args: &Gemv, matrix: Matrix, mut ring: Ring<F, Gemv>, normed: Option<Normed>) {
    let mut store = store::Sums::new(args);
    let mut tile = thread::block_idx_x();
    let tokens = Tokens::new(args);
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        while tile < args.tiles() {
            let addends = store.addends(tile);
            let rows = existing(args, tile);
            let row_scales = F::of_rows(&matrix, rows);
            let mut sums = Sums::ZERO;
            for at in 0..ring.steps {
                let column = ring.first_column(at);
                let columns = Columns::<F>::new(&tokens, column);
                let place = Place { rows, column };
                match normed {
                    Some(row) => {
                        let step = ring.next();
                        multiply_step(&mut sums, &matrix, place, &step, |i| columns.load(row, i));
                    }
                    None => {
                        let mut x = columns.ask_first();
                        let step = ring.next();
                        multiply_step(&mut sums, &matrix, place, &step, |i| columns.next(&mut x, i));
                    }
                }
            }
            sums.close(row_scales);
            store.finish(tile, sums.whole.map(|sum| sum * F::REST), addends);
            tile += thread::grid_dim_x();
        }
    }
}

/// Adds the products of a step with `tokens(i)`, the lane's group number i of eight columns.
///
/// # Safety
/// The step is the one that its ring gave last; the whole warp comes here.
#[inline(always)]
pub unsafe fn multiply_step<F: Form>(
    sums: &mut Sums,
    matrix: &Matrix,
    place: Place,
    step: &Step<F>,
    tokens: impl FnMut(usize) -> [u32; 4],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if F::GROUPABLE && matrix.group > 0 {
            multiply_units::<F, true>(sums, matrix, place, step, tokens);
        } else {
            multiply_units::<F, false>(sums, matrix, place, step, tokens);
        }
    }
}

/// # Safety
/// As for [`multiply_step`].
#[inline(always)]
unsafe fn multiply_units<F: Form, const GROUPED: bool>(
    sums: &mut Sums,
    matrix: &Matrix,
    place: Place,
    step: &Step<F>,
    mut tokens: impl FnMut(usize) -> [u32; 4],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let scales = F::of_step(step);
        unroll::<MOST_GROUPS>(
            #[inline(always)]
            |first| {
                if first % F::GROUPS == 0 && (first as u32) < groups::<F>() {
                    let unit = (first / F::GROUPS) as u32;
                    let x = [tokens(first), if F::GROUPS > 1 { tokens(first + 1) } else { [0; 4] }];
                    F::add::<GROUPED>(sums, matrix, place, &scales, unit, step.codes(unit), x);
                }
            },
        );
    }
}

/// The lane's rows of a tile; of one that is not there, the last one that is.
#[inline(always)]
fn existing(args: &Gemv, tile: u32) -> [u32; 2] {
    let [own, partner] = args.rows(tile, thread::lane_id() / 4);
    [own.min(args.width() - 1), partner.min(args.n - 1)]
}

/// The groups of eight columns of a step that a lane multiplies with.
pub struct Columns<F> {
    /// The number of the first.
    first: u32,
    /// Its address in the lane's token row.
    address: u64,
    /// How many there are from it to the end of the row.
    left: u32,
    form: PhantomData<F>,
}

impl<F: Form> Columns<F> {
    /// Of the step that begins with column `column`.
    #[inline(always)]
    pub fn new(tokens: &Tokens, column: u32) -> Columns<F> {
        let first = column / row::GROUP + thread::lane_id() % 4 * F::GROUPS as u32;
        // Hidden from the compiler, the others' distances are part of the loads.
        let address = thread::hidden(row::at(tokens.row, first));
        Columns { first, address, left: tokens.groups.saturating_sub(first), form: PhantomData }
    }

    /// How far behind the first the `at`-th is.
    #[inline(always)]
    const fn offset(at: usize) -> u32 {
        ((at / F::GROUPS) * 4 * F::GROUPS + at % F::GROUPS) as u32
    }

    /// Asks for the first ones of the lane's token row; zeros behind the row.
    ///
    /// # Safety
    /// The token rows are written.
    #[inline(always)]
    pub unsafe fn ask_first(&self) -> [[u32; 4]; AHEAD] {
        // SAFETY: the caller's promise.
        unsafe { [self.ask(0), self.ask(1), self.ask(2), self.ask(3)] }
    }

    /// The `at`-th, in whose place the one `AHEAD` behind it is asked for.
    ///
    /// # Safety
    /// As for [`Columns::ask_first`]; they are taken in their order.
    #[inline(always)]
    pub unsafe fn next(&self, x: &mut [[u32; 4]; AHEAD], at: usize) -> [u32; 4] {
        let own = x[at % AHEAD];
        if ((at + AHEAD) as u32) < groups::<F>() {
            // SAFETY: the caller's promise.
            x[at % AHEAD] = unsafe { self.ask(at + AHEAD) };
        }
        own
    }

    /// Asks for the `at`-th of the lane's token row; zeros behind the row.
    ///
    /// # Safety
    /// The token rows are written.
    #[inline(always)]
    unsafe fn ask(&self, at: usize) -> [u32; 4] {
        if Self::offset(at) >= self.left {
            return [0; 4];
        }
        // SAFETY: the group is within the row.
        unsafe { global::load(self.address + u64::from(Self::offset(at)) * 16) }
    }

    /// The `at`-th of the normalised row; zeros behind the row.
    ///
    /// # Safety
    /// The row is written.
    #[inline(always)]
    unsafe fn load(&self, normed: Normed, at: usize) -> [u32; 4] {
        if Self::offset(at) >= self.left {
            return [0; 4];
        }
        // SAFETY: the group is within the row.
        unsafe { normed.offset(self.first).load(Self::offset(at)) }
    }
}
