//! The entry points of `moe_quant_gemv`.
use super::MoeQuantGemv;
use super::one_row::of_one_row;
use super::ring::Ring;
use crate::gemv::{TILE, WARPS};
use crate::moe_gemv::team::Team;
use crate::moe_gemv::{entry as moe, groups};
use crate::quant_gemv::BLOCKS;
use crate::quant_gemv::bits4::{Groups32, Groups64, Nvfp4};
use crate::quant_gemv::bits8::{Bits8, E4m3, I8};
use crate::quant_gemv::entry::multiply_next;
use crate::quant_gemv::forms::{Form, Matrix, Place, Sums};
use crate::quant_gemv::ring::{AHEAD, Tiles};
use core::num::NonZero;
use cuda_std::{grid, kernel, thread};

macro_rules! entries {
    ($($name:ident $row:ident $form:ty;)*) => { kernel! {$(
        /// The experts of a few rows.
        pub fn $name(args: MoeQuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            of_rows::<$form>(&args);
        }

        /// The experts of one row.
        pub fn $row(args: MoeQuantGemv) {
            thread::blocks_at_once::<{ WARPS * 32 }, BLOCKS>();
            of_one_row::<$form>(&args);
        }
    )*} };
}

entries! {
    moe_quant_gemv_fp8 moe_quant_gemv_fp8_row Bits8<E4m3>;
    moe_quant_gemv_int8 moe_quant_gemv_int8_row Bits8<I8>;
    moe_quant_gemv_int4 moe_quant_gemv_int4_row Groups64;
    moe_quant_gemv_int4_32 moe_quant_gemv_int4_32_row Groups32;
    moe_quant_gemv_nvfp4 moe_quant_gemv_nvfp4_row Nvfp4;
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
unsafe fn of_rows<F: Form>(args: &MoeQuantGemv) {
    if args.ids_settled == 0 {
        grid::wait_for_dependencies();
    }
    // Behind that wait, so that the next kernel may take the ids as settled.
    grid::launch_dependents();
    let Some(per_group) = NonZero::new(args.n / TILE) else { return };
    let around = args.around();
    let matrix = Matrix::new::<F>((args.w, args.scales), args.k, (args.format, args.group));
    let team = Team::of(args.team);
    // SAFETY: tiles are the same for the whole team, so all its threads come to the barriers.
    unsafe {
        let groups = groups::of_rows(&around);
        let tiles = Experts { n: args.n, per_group, tiles: groups * per_group.get() };
        let (mut tile, apart) = team.tiles();
        let mut ring = Ring::<F, _>::begun::<AHEAD>(tiles, matrix, team, (tile, apart));
        grid::wait_for_dependencies();
        let mut odd = false;
        while tile < tiles.tiles {
            let (group, first) = tiles.place(tile);
            let tokens = moe::tokens(&around, group);
            let rows = tiles.rows(tile, thread::lane_id() / 4);
            let row_scales = F::of_rows(&matrix, rows);
            let mut sums = Sums::ZERO;
            let (mut column, step) = ring.columns();
            while column < args.k {
                multiply_next(&mut sums, &mut ring, Place { rows, column }, &tokens);
                column += step;
            }
            let sums = sums.finished(row_scales);
            moe::finish(&around, team, moe::place_of_sums(odd), sums.map(|sum| sum * F::REST), group, first);
            odd = !odd;
            tile += apart;
        }
    }
}
