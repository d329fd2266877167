//! The entry points of `moe_gemv`.
use super::team::Team;
use super::{GROUP, MoeGemv, groups};
use crate::activation::RELU2;
use crate::gemv::entry::multiply;
use crate::gemv::stream::{Stream, Tiles, Tokens};
use crate::gemv::{NARROW, TILE, WARPS, WIDE};
use crate::relu2::entry::relu2_of;
use crate::row;
use core::num::NonZero;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, fragment, global, grid, kernel, shared, thread};

/// Sums of one warp.
const SUMS: u32 = TILE * GROUP;

shared! {
    fn moe_gemv_sums() -> [f32; 2 * (WARPS * SUMS) as usize];
}

kernel! {
    /// Steps of 128 columns.
    pub fn moe_gemv(args: MoeGemv) {
        run::<{ WIDE as usize }>(&args);
    }

    /// Steps of 64 columns.
    pub fn moe_gemv_narrow(args: MoeGemv) {
        run::<{ NARROW as usize }>(&args);
    }
}

/// The tiles of all groups, one group's behind another's.
#[derive(Clone, Copy)]
struct Experts {
    args: MoeGemv,
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
    fn columns(&self) -> u32 {
        self.args.k
    }

    #[inline(always)]
    fn halves(&self, tile: u32, row: u32) -> [u64; 2] {
        if tile >= self.tiles {
            return [self.args.w.addr; 2];
        }
        let (group, first) = self.place(tile);
        // SAFETY: the tile is there, and so is its group.
        let expert = unsafe { groups::expert(group) };
        let row = u64::from(expert) * u64::from(self.args.n) + u64::from(first + row);
        [row, row + u64::from(TILE / 2)].map(|row| self.args.w.addr + row * u64::from(self.args.k) * 2)
    }

    #[inline(always)]
    fn first_row(&self, tile: u32) -> u32 {
        tile * TILE
    }

    #[inline(always)]
    fn ahead(&self, half: u32) -> u32 {
        half * TILE / 2
    }

    #[inline(always)]
    fn rows(&self) -> u32 {
        self.tiles * TILE
    }
}

/// # Safety
/// The kernel's Requires hold; the whole block comes here.
#[inline(always)]
unsafe fn run<const QUADS: usize>(args: &MoeGemv) {
    if args.ids_settled == 0 {
        grid::wait_for_dependencies();
    }
    // Behind that wait, so that the next kernel may take the ids as settled.
    grid::launch_dependents();
    let Some(per_group) = NonZero::new(args.n / TILE) else { return };
    // SAFETY: tiles and steps are the same for the whole block, so all its threads come to the barriers.
    unsafe {
        let tiles = Experts { args: *args, per_group, tiles: groups::find(args) * per_group.get() };
        let mut stream = Stream::<QUADS, _>::begun(tiles);
        grid::wait_for_dependencies();
        let mut tile = thread::block_idx_x();
        let mut sums = moe_gemv_sums();
        let mut odd = false;
        while tile < tiles.tiles {
            let (group, first) = tiles.place(tile);
            let tokens = tokens(args, group);
            let mut c = [0.0; 4];
            for at in 0..stream.steps {
                let x = tokens.load::<QUADS>(stream.first_group(at));
                let step = stream.next();
                unroll::<QUADS>(
                    #[inline(always)]
                    |quad| c = multiply(c, step.weights(quad), x[quad]),
                );
            }
            finish(args, Team::block(), sums, c, group, first);
            odd = !odd;
            sums = moe_gemv_sums().offset(if odd { WARPS * SUMS } else { 0 });
            tile += thread::grid_dim_x();
        }
    }
}

/// Where the warps' sums meet: two places by turns, so that one barrier to a tile is enough.
#[inline(always)]
pub(crate) fn place_of_sums(odd: bool) -> shared::Shared<f32> {
    moe_gemv_sums().offset(if odd { WARPS * SUMS } else { 0 })
}

/// The token rows of a group; of its first, where there are fewer than eight.
///
/// # Safety
/// The group exists.
#[inline(always)]
pub(crate) unsafe fn tokens(args: &MoeGemv, group: u32) -> Tokens {
    // SAFETY: the caller's promise.
    let choice = unsafe { groups::member(group, thread::lane_id() / 4).or(groups::member(group, 0)) };
    let choice = choice.unwrap_or(0);
    let row = match NonZero::new(args.top_k) {
        Some(top_k) if args.row_per_choice == 0 => choice / top_k,
        _ => choice,
    };
    Tokens { row: args.x.addr + u64::from(row) * u64::from(args.k) * 2, groups: args.k / row::GROUP }
}

/// Joins the sums of a tile of the team's warps and stores the outputs.
///
/// # Safety
/// The whole team comes here; nobody uses its part of `sums`.
#[inline(always)]
pub(crate) unsafe fn finish(
    args: &MoeGemv,
    team: Team,
    sums: shared::Shared<f32>,
    c: [f32; 4],
    group: u32,
    first: u32,
) {
    let own = sums.offset(thread::warp_id() * SUMS).cast::<[f32; 2]>();
    let sums = sums.offset(team.first_warp() * SUMS);
    let (row, mut place) = (team.thread() % TILE, team.thread() / TILE);
    // SAFETY: each thread has its own words, and what is read lies behind the barrier.
    unsafe {
        unroll::<2>(|i| {
            let (row, token) = fragment::c_element(thread::lane_id(), 2 * i as u32);
            own.store((row * GROUP + token) / 2, [c[2 * i], c[2 * i + 1]]);
        });
        team.sync();
        while place < GROUP {
            let Some(choice) = groups::member(group, place) else { return };
            let sum = team.joined(sums.offset(row * GROUP + place), SUMS);
            let value = if args.activation == RELU2 { relu2_of(bf16::round(sum)) } else { sum };
            let at = u64::from(choice) * u64::from(args.n) + u64::from(first + row);
            global::store(args.y.addr + at * 2, bf16::from_f32(value));
            place += team.warps * thread::WARP_SIZE / TILE;
        }
    }
}
