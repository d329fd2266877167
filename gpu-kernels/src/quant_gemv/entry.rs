//! The entry points of `quant_gemv`.
use core::marker::PhantomData;

use super::QuantGemv;
use super::forms::{Bits8, E4m3, Form, Groups32, Groups64, I8, Matrix, Nvfp4, Place, Sums};
use super::ring::{Bytes128, Bytes256, Ring, Shape, Step, Tiles};
use crate::gemv::stream::Tokens;
use crate::gemv::{BLOCKS, SWIGLU, TILE, WARPS, store};
use crate::row::{self, Row};
use crate::{Gemv, layer_norm_1p, rms_norm};
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::unroll;
use cuda_std::{global, kernel, thread};

/// Most groups of eight columns that a lane has of a step.
pub const MOST_GROUPS: usize = 8;

macro_rules! entries {
    ($($plain:ident $normed:ident $shape:ty, $form:ty;)*) => { kernel! {$(
        /// Up to eight token rows.
        pub fn $plain(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            let around = args.around();
            product(&around, matrix::<$form>(&args), Ring::<$shape, $form, _>::new(around, matrix::<$form>(&args)), None);
        }

        /// One token row behind a norm.
        pub fn $normed(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            behind_norm::<$shape, $form>(&args);
        }
    )*} };
}

entries! {
    quant_gemv_fp8 quant_gemv_fp8_norm Bytes256, Bits8<E4m3>;
    quant_gemv_fp8_narrow quant_gemv_fp8_norm_narrow Bytes128<3>, Bits8<E4m3>;
    quant_gemv_int8 quant_gemv_int8_norm Bytes256, Bits8<I8>;
    quant_gemv_int8_narrow quant_gemv_int8_norm_narrow Bytes128<3>, Bits8<I8>;
    quant_gemv_int4 quant_gemv_int4_norm Bytes128<5>, Groups64;
    quant_gemv_int4_narrow quant_gemv_int4_norm_narrow Bytes128<3>, Groups64;
    quant_gemv_int4_32 quant_gemv_int4_32_norm Bytes128<4>, Groups32;
    quant_gemv_int4_32_narrow quant_gemv_int4_32_norm_narrow Bytes128<3>, Groups32;
    quant_gemv_nvfp4 quant_gemv_nvfp4_norm Bytes128<5>, Nvfp4;
    quant_gemv_nvfp4_narrow quant_gemv_nvfp4_norm_narrow Bytes128<3>, Nvfp4;
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
unsafe fn behind_norm<S: Shape, F: Form>(args: &QuantGemv) {
    let around = args.around();
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let weight = Row::load(args.norm_weight.addr, args.k);
        let bias = Row::load(args.norm_bias.addr, if args.norm_bias.is_null() { 0 } else { args.k });
        let ring = Ring::<S, F, _>::new(around, matrix::<F>(args));
        let x = Row::load(args.x.addr, args.k);
        let normed: Normed = shared::dynamic::<u8>().offset(Ring::<S, F, Gemv>::ALL).cast();
        let store = |group: u32, words: [u32; 4]| normed.store(group, words);
        if args.norm_bias.is_null() {
            rms_norm::entry::normalise(x, weight, (args.eps, args.roundings), store);
        } else {
            layer_norm_1p::entry::normalise(x, [weight, bias], args.eps, store);
        }
        sync_threads();
        product(&around, matrix::<F>(args), ring, Some(normed));
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here, behind a barrier where the row is `normed`.
#[inline(always)]
unsafe fn product<S: Shape, F: Form>(args: &Gemv, matrix: Matrix, mut ring: Ring<S, F, Gemv>, normed: Option<Normed>) {
    let mut store = store::Sums::new(args);
    let mut tile = thread::block_idx_x();
    let tokens = Tokens::new(args);
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let mut ahead = [[0; 4]; MOST_GROUPS];
        let first = Groups::<F>::new(&tokens, ring.first_column(0));
        unroll::<MOST_GROUPS>(
            #[inline(always)]
            |at| {
                if normed.is_none() && (at as u32) < groups_of_step::<S, F>() {
                    ahead[at] = first.ask(at);
                }
            },
        );
        while tile < args.tiles() {
            let addends = store.addends(tile);
            let rows = existing(args, tile);
            let row_scales = F::of_rows(&matrix, rows);
            let mut sums = Sums::ZERO;
            for at in 0..ring.steps {
                let behind = if at + 1 == ring.steps { 0 } else { at + 1 };
                let step = ring.next();
                let column = ring.first_column(at);
                let (own, next) = (Groups::new(&tokens, column), Groups::new(&tokens, ring.first_column(behind)));
                let tokens = StepTokens { ahead: &mut ahead, own, next, normed };
                let place = Place { rows, column, units: groups_of_step::<S, F>() / F::GROUPS as u32 };
                if F::GROUPABLE && matrix.group > 0 {
                    multiply_step::<S, F, true>(&mut sums, &matrix, place, &step, tokens);
                } else {
                    multiply_step::<S, F, false>(&mut sums, &matrix, place, &step, tokens);
                }
            }
            sums.close(row_scales);
            store.finish(tile, sums.whole.map(|sum| sum * F::REST), addends);
            tile += thread::grid_dim_x();
        }
    }
}

/// The tokens of a step, and where the next one's go.
struct StepTokens<'a, F> {
    ahead: &'a mut [[u32; 4]; MOST_GROUPS],
    own: Groups<F>,
    next: Groups<F>,
    normed: Option<Normed>,
}

/// Adds the products of a step to `sums`, and asks for the tokens of the next.
///
/// # Safety
/// The step is the one that its ring gave last; the whole warp comes here.
#[inline(always)]
unsafe fn multiply_step<S: Shape, F: Form, const GROUPED: bool>(
    sums: &mut Sums,
    matrix: &Matrix,
    place: Place,
    step: &Step<S, F>,
    tokens: StepTokens<F>,
) {
    let StepTokens { ahead, own, next, normed } = tokens;
    // SAFETY: the caller's promise.
    unsafe {
        let scales = F::of_step(step);
        unroll::<MOST_GROUPS>(
            #[inline(always)]
            |first| {
                if first % F::GROUPS != 0 || first as u32 >= groups_of_step::<S, F>() {
                    return;
                }
                let unit = (first / F::GROUPS) as u32;
                let group = |i: usize| match normed {
                    _ if i == F::GROUPS => [0; 4],
                    None => ahead[first + i],
                    Some(row) => own.load(row, first + i),
                };
                let x = [group(0), group(1)];
                F::add::<GROUPED>(sums, matrix, place, &scales, unit, step.codes(unit), x);
                // A step ahead of the weights: tokens come from L2 meanwhile.
                unroll::<2>(
                    #[inline(always)]
                    |i| {
                        if i < F::GROUPS && normed.is_none() {
                            ahead[first + i] = next.ask(first + i);
                        }
                    },
                );
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

/// Groups of eight columns that a lane has of a step.
#[inline(always)]
pub const fn groups_of_step<S: Shape, F: Form>() -> u32 {
    S::PIECES * 4 / F::BITS
}

/// The groups of eight columns of a step that a lane multiplies with.
pub struct Groups<F> {
    /// The number of the first.
    first: u32,
    /// Its address in the lane's token row.
    address: u64,
    /// How many there are from it to the end of the row.
    left: u32,
    form: PhantomData<F>,
}

impl<F: Form> Groups<F> {
    /// Of the step that begins with column `column`.
    #[inline(always)]
    pub fn new(tokens: &Tokens, column: u32) -> Groups<F> {
        let first = column / row::GROUP + thread::lane_id() % 4 * F::GROUPS as u32;
        // Hidden from the compiler, the others' distances are part of the loads.
        let address = thread::hidden(row::at(tokens.row, first));
        Groups { first, address, left: tokens.groups.saturating_sub(first), form: PhantomData }
    }

    /// How far behind the first the `at`-th is.
    #[inline(always)]
    const fn offset(at: usize) -> u32 {
        ((at / F::GROUPS) * 4 * F::GROUPS + at % F::GROUPS) as u32
    }

    /// Asks for the `at`-th of the lane's token row; zeros behind the row.
    ///
    /// # Safety
    /// The token rows are written.
    #[inline(always)]
    pub unsafe fn ask(&self, at: usize) -> [u32; 4] {
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
