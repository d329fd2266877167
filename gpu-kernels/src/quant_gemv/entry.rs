//! The entry points of `quant_gemv`.
use super::bits4::{Groups32, Groups64, Nvfp4};
use super::bits8::{Bits8, E4m3, I8};
use super::forms::{Form, Matrix, Place, Sums, groups};
use super::ring::{AHEAD, EARLY, Ring, Step, Steps, Tiles, first_column, rank_behind};
use super::tokens::{Columns, MOST_BROUGHT, Share, Staged, group_offset};
use super::{BLOCKS, QuantGemv};
use crate::activation::SWIGLU;
use crate::all_reduce::meeting::Outbox;
use crate::gemv::entry::GATED;
use crate::gemv::stream::{Overlap, Tokens};
use crate::gemv::{TILE, WARPS, store};
use crate::row::{self, Row};
use crate::{Gemv, layer_norm_1p, rms_norm};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{grid, kernel, thread};

/// Most groups of eight columns that a lane has of a step.
const MOST_GROUPS: usize = 8;

macro_rules! entries {
    ($($plain:ident $row:ident $rms_norm:ident $layer_norm_1p:ident $gated_norm:ident $form:ty;)*) => { kernel! {$(
        /// Up to eight token rows.
        pub fn $plain(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            let (around, matrix) = (args.around(), matrix::<$form>(&args));
            let ring = Ring::<$form, _, false>::new::<AHEAD>(around, matrix, Overlap::of(&around));
            product(&around, matrix, ring);
            grid::first_block_waits_for_dependencies();
        }

        /// One token row.
        pub fn $row(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            of_row::<$form>(&args);
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

        /// One token row behind `gated_norm`.
        pub fn $gated_norm(args: QuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            behind_gated_norm::<$form>(&args);
        }
    )*} };
}

entries! {
    quant_gemv_fp8 quant_gemv_fp8_row quant_gemv_fp8_rms_norm quant_gemv_fp8_layer_norm_1p quant_gemv_fp8_gated_norm Bits8<E4m3>;
    quant_gemv_int8 quant_gemv_int8_row quant_gemv_int8_rms_norm quant_gemv_int8_layer_norm_1p quant_gemv_int8_gated_norm Bits8<I8>;
    quant_gemv_int4 quant_gemv_int4_row quant_gemv_int4_rms_norm quant_gemv_int4_layer_norm_1p quant_gemv_int4_gated_norm Groups64;
    quant_gemv_int4_32 quant_gemv_int4_32_row quant_gemv_int4_32_rms_norm quant_gemv_int4_32_layer_norm_1p quant_gemv_int4_32_gated_norm Groups32;
    quant_gemv_nvfp4 quant_gemv_nvfp4_row quant_gemv_nvfp4_rms_norm quant_gemv_nvfp4_layer_norm_1p quant_gemv_nvfp4_gated_norm Nvfp4;
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

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn of_row<F: Form>(args: &QuantGemv) {
    let (around, matrix) = (args.around(), matrix::<F>(args));
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let mut ring = Ring::<F, _, true>::new::<EARLY>(around, matrix, Overlap::of(&around));
        let share =
            Share::<MOST_BROUGHT> { first: thread::thread_idx_x(), apart: WARPS * 32, groups: args.k / row::GROUP };
        let words = share.ask(args.x.addr);
        ring.fill_up();
        let staged = Staged::<F>::new(args.k, ring.steps);
        staged.put(share, words);
        sync_threads();
        product_of_row(&around, matrix, ring, staged);
        grid::first_block_waits_for_dependencies();
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_rms_norm<F: Form>(args: &QuantGemv) {
    let (around, matrix) = (Gemv { outbox: Outbox::NONE, ..args.around() }, matrix::<F>(args));
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let weight = Row::load(args.norm_weight.addr, args.k);
        let mut ring = Ring::<F, _, true>::new::<EARLY>(around, matrix, Overlap::of(&around));
        let x = Row::load(args.x.addr, args.k);
        ring.fill_up();
        let staged = Staged::<F>::new(args.k, ring.steps);
        rms_norm::entry::normalise(x, weight, (args.eps, args.roundings), |group, words| staged.store(group, words));
        sync_threads();
        product_of_row(&around, matrix, ring, staged);
        grid::first_block_waits_for_dependencies();
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_layer_norm_1p<F: Form>(args: &QuantGemv) {
    let (around, matrix) = (Gemv { outbox: Outbox::NONE, ..args.around() }, matrix::<F>(args));
    // SAFETY: the block's threads share the row out, and use it behind a barrier.
    unsafe {
        let parameters = [Row::load(args.norm_weight.addr, args.k), Row::load(args.norm_bias.addr, args.k)];
        let mut ring = Ring::<F, _, true>::new::<EARLY>(around, matrix, Overlap::of(&around));
        let x = Row::load(args.x.addr, args.k);
        ring.fill_up();
        let staged = Staged::<F>::new(args.k, ring.steps);
        layer_norm_1p::entry::normalise(x, parameters, args.eps, |group, words| staged.store(group, words));
        sync_threads();
        product_of_row(&around, matrix, ring, staged);
        grid::first_block_waits_for_dependencies();
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn behind_gated_norm<F: Form>(args: &QuantGemv) {
    let (around, matrix) = (Gemv { outbox: Outbox::NONE, ..args.around() }, matrix::<F>(args));
    let Some(row) = around.gated() else { return };
    // SAFETY: the block's warps share the row out, and use it behind a barrier.
    unsafe {
        let weights = row.first_weights::<GATED>(args.norm_groups);
        let mut ring = Ring::<F, _, true>::new::<EARLY>(around, matrix, Overlap::Waits);
        let first = (weights, row.ask_first(args.norm_groups));
        ring.fill_up();
        let staged = Staged::<F>::new(args.k, ring.steps);
        row.normalise(args.norm_groups, first, args.eps, |group, words| staged.store(group, words));
        sync_threads();
        product_of_row(&around, matrix, ring, staged);
    }
}

/// Multiplies with several token rows, which stay where they are.
///
/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn product<F: Form>(args: &Gemv, matrix: Matrix, mut ring: Ring<F, Gemv, false>) {
    let tokens = Tokens::new(args);
    // SAFETY: the caller's promise.
    unsafe {
        for_each_tile::<F, false>(
            args,
            matrix,
            [ring.steps, ring.odd_steps],
            #[inline(always)]
            |sums, place| multiply_next(sums, &mut ring, place, &tokens),
        );
    }
}

/// Multiplies with one token row.
///
/// # Safety
/// The kernel's Requires hold; the whole block comes here, behind a barrier behind which the row is `staged`.
#[inline(always)]
unsafe fn product_of_row<F: Form>(args: &Gemv, matrix: Matrix, mut ring: Ring<F, Gemv, true>, staged: Staged<F>) {
    // SAFETY: the caller's promise.
    unsafe {
        for_each_tile::<F, true>(
            args,
            matrix,
            [ring.steps, ring.odd_steps],
            #[inline(always)]
            |sums, place| {
                let step = ring.next();
                // The same for the whole warp: in a last step, some have no columns.
                if place.column < args.k {
                    multiply_staged(sums, &matrix, place, &step, staged);
                }
            },
        );
    }
}

/// Stores the outputs of the block's tiles. `multiply` adds each of the warp's steps, which [`Ring`] counts, to the sums.
///
/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn for_each_tile<F: Form, const LONE: bool>(
    args: &Gemv,
    matrix: Matrix,
    [steps, odd_steps]: [u32; 2],
    mut multiply: impl FnMut(&mut Sums, Place),
) {
    let mut store = store::Sums::<LONE>::new(args);
    let mut tile = thread::block_idx_x();
    // SAFETY: tiles are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        while tile < args.tiles() {
            let addends = store.addends(tile);
            let rows = existing(args, tile);
            let row_scales = F::of_rows(&matrix, rows);
            let mut sums = Sums::ZERO;
            for at in 0..steps {
                multiply(&mut sums, Place { rows, column: first_column::<F>(store.rank, at) });
            }
            let sums = sums.finished(row_scales);
            store.finish(tile, sums.map(|sum| sum * F::REST), addends);
            store.rank = rank_behind(store.rank, odd_steps);
            tile += thread::grid_dim_x();
        }
    }
}

/// Adds the products of the ring's next step with the lane's token row.
///
/// # Safety
/// The whole warp comes here; the token rows are written.
#[inline(always)]
pub unsafe fn multiply_next<F: Form>(sums: &mut Sums, ring: &mut impl Steps<F>, place: Place, tokens: &Tokens) {
    let (columns, matrix) = (Columns::<F>::new(tokens, place.column), ring.matrix());
    // SAFETY: the caller's promise.
    unsafe {
        let mut x = columns.ask_first();
        let step = ring.next();
        multiply_step(sums, &matrix, place, &step, |i| F::paired(columns.next(&mut x, i)));
    }
}

/// Adds the products of a step with a row in shared memory.
///
/// # Safety
/// As for [`multiply_step`]; the row is there.
#[inline(always)]
pub unsafe fn multiply_staged<F: Form>(
    sums: &mut Sums,
    matrix: &Matrix,
    place: Place,
    step: &Step<F>,
    staged: Staged<F>,
) {
    let columns = staged.columns(place.column);
    // SAFETY: the caller's promise.
    unsafe { multiply_step(sums, matrix, place, step, |i| columns.load(group_offset::<F>(i))) };
}

/// Adds the products of a step with `tokens(i)`, the lane's group number i of eight columns.
///
/// # Safety
/// The step is the one that its ring gave last; the whole warp comes here.
#[inline(always)]
unsafe fn multiply_step<F: Form>(
    sums: &mut Sums,
    matrix: &Matrix,
    place: Place,
    step: &Step<F>,
    tokens: impl FnMut(usize) -> [u32; 4],
) {
    // SAFETY: the caller's promise.
    unsafe {
        if F::VARIES && F::is_varied(matrix) {
            multiply_units::<F, true>(sums, matrix, place, step, tokens);
        } else {
            multiply_units::<F, false>(sums, matrix, place, step, tokens);
        }
    }
}

/// # Safety
/// As for [`multiply_step`].
#[inline(always)]
unsafe fn multiply_units<F: Form, const VARIED: bool>(
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
                    F::add::<VARIED>(sums, matrix, place, &scales, unit, step.codes(unit), x);
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
