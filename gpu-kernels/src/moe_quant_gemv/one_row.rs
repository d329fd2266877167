//! The experts of one token row in `moe_quant_gemv`, each a choice of its own. The teams of a block take tiles of one expert at a time,
//! so that one row of tokens, copied to shared memory once, serves them all.
use super::ring::Ring;
use super::{BROUGHT, CHOICE, MoeQuantGemv};
use crate::activation::RELU2;
use crate::gemv::{TILE, WARPS};
use crate::moe_gemv::team::Team;
use crate::quant_gemv::entry::multiply_staged;
use crate::quant_gemv::forms::{Form, Matrix, Place, Sums};
use crate::quant_gemv::ring::{EARLY, Steps, Tiles};
use crate::quant_gemv::tokens::{Share, Staged};
use crate::relu2::entry::relu2_of;
use crate::row;
use cuda_std::barrier::sync_threads;
use cuda_std::{bf16, global, grid, shared, thread};

shared! {
    // The warps' sums of a tile: two places by turns, so that one barrier to a tile is enough.
    fn moe_quant_gemv_sums() -> [f32; (2 * WARPS * TILE) as usize];
}

/// The tiles of all choices: the number of a tile is that of its choice times [`CHOICE`], and behind it that in the expert.
#[derive(Clone, Copy)]
struct Choices {
    /// Address of the experts.
    ids: u64,
    /// Rows of an expert.
    n: u32,
    top_k: u32,
}

impl Choices {
    /// The team's first tile, in the choice of the block's row. Teams without one, the last of a block, are other warps in the second
    /// half of the blocks than in the first: a multiprocessor, which has one block of each, would give some of its schedulers twice
    /// what it gives others.
    #[inline(always)]
    fn first_tile(team: Team) -> u32 {
        let [x, y] = [thread::block_idx_x(), thread::block_idx_y()];
        let is_second = 2 * (y * thread::grid_dim_x() + x) >= thread::grid_dim_x() * thread::grid_dim_y();
        // Two warps further on are two schedulers further on.
        let ahead = if team.warps == 1 { 2 } else { 1 };
        let place = (team.number + if is_second { ahead } else { 0 }) % team.teams();
        y * CHOICE + x + place * thread::grid_dim_x()
    }
}

impl Tiles for Choices {
    #[inline(always)]
    fn rows(&self, tile: u32, row: u32) -> [u32; 2] {
        if !self.has_all(tile) {
            return [0; 2];
        }
        // SAFETY: the choice is there.
        let expert: u32 = unsafe { global::load(self.ids + 4 * u64::from(tile / CHOICE)) };
        let own = expert * self.n + tile % CHOICE * TILE + row;
        [own, own + TILE / 2]
    }

    #[inline(always)]
    fn has(&self, tile: u32, _: u32, _: u32) -> bool {
        self.has_all(tile)
    }

    #[inline(always)]
    fn has_all(&self, tile: u32) -> bool {
        tile / CHOICE < self.top_k && tile % CHOICE * TILE < self.n
    }
}

/// # Safety
/// The kernel's Requires hold, of one row; the whole block comes here.
#[inline(always)]
pub unsafe fn of_one_row<F: Form>(args: &MoeQuantGemv) {
    if args.ids_settled == 0 {
        grid::wait_for_dependencies();
    }
    // Behind that wait, so that the next kernel may take the ids as settled.
    grid::launch_dependents();
    let matrix = Matrix::new::<F>((args.w, args.scales), args.k, (args.format, args.group));
    let team = Team::of(args.team);
    let tiles = Choices { ids: args.ids.addr, n: args.n, top_k: args.top_k };
    let (mut choice, mut tile, apart) =
        (thread::block_idx_y(), Choices::first_tile(team), thread::grid_dim_y() * CHOICE);
    // SAFETY: choices are the same for the whole block, tiles for the whole team, so all their threads come to the barriers.
    unsafe {
        // The row comes behind all that was asked for before it.
        let mut words = [[0; 4]; BROUGHT];
        if args.ids_settled == 0 {
            words = ask(args, choice);
        }
        let mut ring = Ring::<F, _>::begun::<EARLY>(tiles, matrix, team, (tile, apart));
        grid::wait_for_dependencies();
        if args.ids_settled != 0 {
            words = ask(args, choice);
        }
        ring.fill_up();
        let staged = staged::<F>(args);
        let mut odd = false;
        while choice < args.top_k {
            staged.put(share(args), words);
            sync_threads();
            multiply(args, &mut ring, (tiles, tile), staged, odd);
            odd = !odd;
            choice += thread::grid_dim_y();
            tile += apart;
            if choice < args.top_k {
                words = ask(args, choice);
                // The block is done with the row in front.
                sync_threads();
            }
        }
    }
}

/// What this thread brings of a row.
#[inline(always)]
fn share(args: &MoeQuantGemv) -> Share<BROUGHT> {
    Share { first: thread::thread_idx_x(), apart: WARPS * thread::WARP_SIZE, groups: args.k / row::GROUP }
}

/// Asks for this thread's share of the token row of a choice.
///
/// # Safety
/// The row is written.
#[inline(always)]
unsafe fn ask(args: &MoeQuantGemv, choice: u32) -> [[u32; 4]; BROUGHT] {
    let row = if args.row_per_choice == 0 { 0 } else { choice };
    // SAFETY: the caller's promise.
    unsafe { share(args).ask(args.x.addr + u64::from(row) * u64::from(args.k) * 2) }
}

/// The block's place for a token row, behind the rings.
///
/// # Safety
/// The whole block comes here.
#[inline(always)]
unsafe fn staged<F: Form>(args: &MoeQuantGemv) -> Staged<F> {
    let room = shared::dynamic::<u8>().offset(Ring::<F, Choices>::ALL).cast();
    let all = args.k.next_multiple_of(Ring::<F, Choices>::STEP) / row::GROUP;
    // SAFETY: the caller's promise.
    unsafe { Staged::in_room(room, [args.k / row::GROUP, all], (thread::thread_idx_x(), thread::block_dim_x())) }
}

/// Multiplies with the team's tile, if there is one, and stores the outputs.
///
/// # Safety
/// The whole block comes here, behind a barrier behind which the row is `staged`.
#[inline(always)]
unsafe fn multiply<F: Form>(
    args: &MoeQuantGemv,
    ring: &mut Ring<F, Choices>,
    (tiles, tile): (Choices, u32),
    staged: Staged<F>,
    odd: bool,
) {
    // A team without a tile of one choice has none of the others.
    if !tiles.has_all(tile) {
        return;
    }
    let rows = tiles.rows(tile, thread::lane_id() / 4);
    // SAFETY: the caller's promise.
    unsafe {
        let row_scales = F::of_rows(&ring.matrix, rows);
        let mut sums = Sums::ZERO;
        let (mut column, apart) = ring.columns();
        while column < args.k {
            let step = ring.next();
            multiply_staged(&mut sums, &ring.matrix, Place { rows, column }, &step, staged);
            column += apart;
        }
        let sums = sums.finished(row_scales).map(|sum| sum * F::REST);
        finish(args, ring.team, sums, odd, (tile / CHOICE, tile % CHOICE * TILE));
    }
}

/// Joins the sums of a tile of the team's warps and stores the outputs.
///
/// # Safety
/// The whole team comes here.
#[inline(always)]
unsafe fn finish(args: &MoeQuantGemv, team: Team, sums: [f32; 4], odd: bool, (choice, first): (u32, u32)) {
    let all = moe_quant_gemv_sums().offset(if odd { WARPS * TILE } else { 0 });
    let (own, row) = (all.offset(thread::warp_id() * TILE + thread::lane_id() / 4), team.thread());
    // SAFETY: each thread has its own words, and what is read lies behind the barrier.
    unsafe {
        // The token's are the first column of the tensor core's.
        if thread::lane_id().is_multiple_of(4) {
            own.store(0, sums[0]);
            own.store(TILE / 2, sums[2]);
        }
        team.sync();
        if row < TILE {
            let sum = team.joined(all.offset(team.first_warp() * TILE + row), TILE);
            let value = if args.activation == RELU2 { relu2_of(bf16::round(sum)) } else { sum };
            let at = u64::from(choice) * u64::from(args.n) + u64::from(first + row);
            global::store(args.y.addr + at * 2, bf16::from_f32(value));
        }
    }
}
