//! The entry points of `moe_quant_gemv`.
use super::MoeQuantGemv;
use crate::gemv::{BLOCKS, TILE, WARPS};
use crate::moe_gemv::{entry as moe, groups};
use crate::quant_gemv::entry::{Groups, MOST_GROUPS, groups_of_step};
use crate::quant_gemv::forms::{Bits8, E4m3, Form, Groups32, Groups64, I8, Matrix, Nvfp4, Place, Sums};
use crate::quant_gemv::ring::{Bytes128, Bytes256, Ring, Shape, Step, Tiles};
use core::num::NonZero;
use cuda_std::unroll::unroll;
use cuda_std::{grid, kernel, thread};

macro_rules! entries {
    ($($name:ident $shape:ty, $form:ty;)*) => { kernel! {$(
        /// The experts of a few rows.
        pub fn $name(args: MoeQuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            run::<$shape, $form>(&args);
        }
    )*} };
}

entries! {
    moe_quant_gemv_fp8 Bytes256, Bits8<E4m3>;
    moe_quant_gemv_fp8_narrow Bytes128<3>, Bits8<E4m3>;
    moe_quant_gemv_int8 Bytes256, Bits8<I8>;
    moe_quant_gemv_int8_narrow Bytes128<3>, Bits8<I8>;
    moe_quant_gemv_int4 Bytes128<5>, Groups64;
    moe_quant_gemv_int4_narrow Bytes128<3>, Groups64;
    moe_quant_gemv_int4_32 Bytes128<4>, Groups32;
    moe_quant_gemv_int4_32_narrow Bytes128<3>, Groups32;
    moe_quant_gemv_nvfp4 Bytes128<5>, Nvfp4;
    moe_quant_gemv_nvfp4_narrow Bytes128<3>, Nvfp4;
}

/// The tiles of all groups of choices, one group's behind another's.
#[derive(Clone, Copy)]
struct Experts {
    /// Rows of an expert.
    n: u32,
    /// Tiles of a group, and of all.
    per_group: NonZero<u32>,
    tiles: u32,
}

impl Experts {
    /// Group of a tile, and its first row in the expert's weight.
    #[inline(always)]
    fn place(&self, tile: u32) -> (u32, u32) {
        let group = tile / self.per_group;
        (group, (tile - group * self.per_group.get()) * TILE)
    }
}

impl Tiles for Experts {
    #[inline(always)]
    fn rows(&self, tile: u32, row: u32) -> [u32; 2] {
        if tile >= self.tiles {
            return [0; 2];
        }
        let (group, first) = self.place(tile);
        // SAFETY: the tile is there, and so is its group.
        let own = unsafe { groups::expert(group) } * self.n + first + row;
        [own, own + TILE / 2]
    }

    #[inline(always)]
    fn has(&self, tile: u32, _: u32, _: u32) -> bool {
        tile < self.tiles
    }

    #[inline(always)]
    fn has_all(&self, tile: u32) -> bool {
        tile < self.tiles
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn run<S: Shape, F: Form>(args: &MoeQuantGemv) {
    grid::launch_dependents();
    grid::wait_for_dependencies();
    let Some(per_group) = NonZero::new(args.n / TILE) else { return };
    let around = args.around();
    let matrix = Matrix::new::<F>((args.w, args.scales), args.k, (args.format, args.group));
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let tiles = Experts { n: args.n, per_group, tiles: groups::find(&around) * per_group.get() };
        let mut ring = Ring::<S, F, _>::behind_the_wait(tiles, matrix);
        let mut tile = thread::block_idx_x();
        let mut odd = false;
        while tile < tiles.tiles {
            let (group, first) = tiles.place(tile);
            let tokens = moe::tokens(&around, group);
            let rows = tiles.rows(tile, thread::lane_id() / 4);
            let row_scales = F::of_rows(&matrix, rows);
            let mut sums = Sums::ZERO;
            for at in 0..ring.steps {
                let column = ring.first_column(at);
                let own = Groups::<F>::new(&tokens, column);
                let mut x = [[0; 4]; MOST_GROUPS];
                unroll::<MOST_GROUPS>(
                    #[inline(always)]
                    |i| {
                        if (i as u32) < groups_of_step::<S, F>() {
                            x[i] = own.ask(i);
                        }
                    },
                );
                let step = ring.next();
                let place = Place { rows, column, units: groups_of_step::<S, F>() / F::GROUPS as u32 };
                if F::GROUPABLE && matrix.group > 0 {
                    multiply_step::<S, F, true>(&mut sums, &matrix, place, &step, x);
                } else {
                    multiply_step::<S, F, false>(&mut sums, &matrix, place, &step, x);
                }
            }
            sums.close(row_scales);
            moe::finish(&around, moe::place_of_sums(odd), sums.whole.map(|sum| sum * F::REST), group, first);
            odd = !odd;
            tile += thread::grid_dim_x();
        }
    }
}

/// Adds the products of a step with the tokens `x`.
///
/// # Safety
/// The step is the one that its ring gave last; the whole warp comes here.
#[inline(always)]
unsafe fn multiply_step<S: Shape, F: Form, const GROUPED: bool>(
    sums: &mut Sums,
    matrix: &Matrix,
    place: Place,
    step: &Step<S, F>,
    x: [[u32; 4]; MOST_GROUPS],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let scales = F::of_step(step);
        unroll::<MOST_GROUPS>(
            #[inline(always)]
            |i| {
                if i % F::GROUPS == 0 && (i as u32) < groups_of_step::<S, F>() {
                    let unit = (i / F::GROUPS) as u32;
                    let second = if F::GROUPS > 1 { x[(i + 1) % MOST_GROUPS] } else { [0; 4] };
                    F::add::<GROUPED>(sums, matrix, place, &scales, unit, step.codes(unit), [x[i], second]);
                }
            },
        );
    }
}
