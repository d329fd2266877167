//! The entry point of `moe_route` for many rows: a tile of rows and experts to a block, sums in the order of one row's.
use super::choose::choose;
use super::entry::is_last;
use super::{DEPTH, MOST_AHEAD, MoeRoute, ROWS as MOST_CHOOSING, STAGE_BYTES, TILE_EXPERTS, TILE_ROWS, WARPS};
use crate::row::{self, GROUP};
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, cp_async, global, grid, kernel, math, thread, warp};

/// Token rows and experts of a warp.
const WARP_ROWS: u32 = 16;
const WARP_EXPERTS: u32 = 8;
const ROWS: usize = WARP_ROWS as usize;
const EXPERTS: usize = WARP_EXPERTS as usize;
/// Sums that a lane has when all lanes are joined.
const OWN: usize = ROWS * EXPERTS / thread::WARP_SIZE as usize;

/// Sums of a warp, expert by expert; each lane has its own part of every one. A flat array would lie in local memory: the loop
/// that clears it is not unrolled.
type Sums = [[f32; ROWS]; EXPERTS];

/// Bytes of a row of tokens in a stage, and of half the pieces of a row of weights.
const ROW_BYTES: u32 = DEPTH * 2;
/// Where a stage's weights begin.
const WEIGHTS: u32 = TILE_ROWS * ROW_BYTES;
/// Pieces of 16 bytes, and copies of a thread, for the tokens and for the weights of a stage.
const TOKEN_PIECES: u32 = DEPTH / 8;
const WEIGHT_PIECES: u32 = DEPTH / 4;
const TOKEN_COPIES: usize = (TILE_ROWS * TOKEN_PIECES / (WARPS * 32)) as usize;
const WEIGHT_COPIES: usize = (TILE_EXPERTS * WEIGHT_PIECES / (WARPS * 32)) as usize;

/// Parts of a stage's products, with a part of the copies behind each.
const PARTS: usize = 4;

kernel! {
    /// 32 token rows and 32 experts.
    pub fn moe_route_tiles(args: MoeRoute) {
        route::<1>(&args);
    }

    /// The same where shared memory has room for more stages.
    pub fn moe_route_tiles_ahead(args: MoeRoute) {
        route::<{ MOST_AHEAD }>(&args);
    }
}

/// The block's tile, by a ring that is `AHEAD` stages ahead.
///
/// # Safety
/// The kernel's Requires hold; shared memory holds a stage more.
#[inline(always)]
unsafe fn route<const AHEAD: u32>(args: &MoeRoute) {
    grid::launch_dependents();
    grid::wait_for_dependencies();
    let first = thread::block_idx_y() * TILE_ROWS;
    let tile = Tile { first, expert: thread::block_idx_x() * TILE_EXPERTS };
    // SAFETY: the caller's promise.
    unsafe {
        tile.store(args, tile.sums::<AHEAD>(args));
        if is_last(args) {
            let end = (first + TILE_ROWS).min(args.rows);
            for part in 0..TILE_ROWS / MOST_CHOOSING {
                let row = first + part * MOST_CHOOSING;
                choose::<WARPS>(args, row, end.saturating_sub(row).min(MOST_CHOOSING));
                sync_threads();
            }
        }
    }
}

/// A block's first row and expert.
struct Tile {
    first: u32,
    expert: u32,
}

impl Tile {
    /// A warp's first row and expert in the tile.
    #[inline(always)]
    fn of_warp() -> (u32, u32) {
        const ACROSS: u32 = TILE_ROWS / WARP_ROWS;
        (thread::warp_id() % ACROSS * WARP_ROWS, thread::warp_id() / ACROSS * WARP_EXPERTS)
    }

    /// The lanes' parts of the warp's sums.
    ///
    /// # Safety
    /// The whole block comes here; the kernel's Requires hold.
    #[inline(always)]
    unsafe fn sums<const AHEAD: u32>(&self, args: &MoeRoute) -> Sums {
        let steps = (args.hidden / GROUP).div_ceil(thread::WARP_SIZE);
        let start = shared::dynamic::<u8>().address();
        let behind = |stage: u32| if stage == start + AHEAD * STAGE_BYTES { start } else { stage + STAGE_BYTES };
        let mut sums = [[0.0; ROWS]; EXPERTS];
        let (mut step, mut asked, mut stage, mut free) = (0, 0, start, start);
        // SAFETY: a stage is used when all copies have landed, and filled when all have used what was in its place.
        unsafe {
            for _ in 0..AHEAD {
                if asked != steps {
                    unroll::<PARTS>(
                        #[inline(always)]
                        |part| self.ask(args, (asked, part), free),
                    );
                    (asked, free) = (asked + 1, behind(free));
                }
                cp_async::commit();
            }
            while step != steps {
                if AHEAD == 1 {
                    cp_async::wait::<0>();
                } else {
                    cp_async::wait::<{ MOST_AHEAD - 1 }>();
                }
                sync_threads();
                add(
                    &mut sums,
                    stage,
                    #[inline(always)]
                    |part| {
                        if asked != steps {
                            self.ask(args, (asked, part), free);
                        }
                    },
                );
                if asked != steps {
                    (asked, free) = (asked + 1, behind(free));
                }
                // Also where nothing is left to ask for: the waits count groups.
                cp_async::commit();
                (step, stage) = (step + 1, behind(stage));
            }
            // What the choice writes lies where the last stage did.
            sync_threads();
        }
        sums
    }

    /// Starts a part of the thread's copies of the groups of step `step` to a stage; zeros behind a row and in rows that are
    /// not there.
    ///
    /// # Safety
    /// The whole block comes here; the stage is free.
    #[inline(always)]
    unsafe fn ask(&self, args: &MoeRoute, (step, part): (u32, usize), stage: u32) {
        const COPIES: usize = (TOKEN_COPIES + WEIGHT_COPIES) / PARTS;
        unroll::<COPIES>(
            #[inline(always)]
            |i| {
                let copy = part * COPIES + i;
                // SAFETY: the caller's promise.
                unsafe {
                    match copy.checked_sub(TOKEN_COPIES) {
                        None => self.ask_for_tokens(args, step, stage, copy as u32),
                        Some(copy) => self.ask_for_weights(args, step, stage, copy as u32),
                    }
                }
            },
        );
    }

    /// # Safety
    /// As for [`Tile::ask`].
    #[inline(always)]
    unsafe fn ask_for_tokens(&self, args: &MoeRoute, step: u32, stage: u32, copy: u32) {
        let (groups, first) = (args.hidden / GROUP, step * thread::WARP_SIZE);
        let piece = thread::thread_idx_x() + copy * WARPS * 32;
        let (row, group) = (piece / TOKEN_PIECES, first + piece % TOKEN_PIECES);
        let is_there = self.first + row < args.rows && group < groups;
        let from = args.x.addr + u64::from(self.first + row) * u64::from(args.hidden) * 2;
        // SAFETY: only what is there is read.
        unsafe { cp_async::copy_16_or_zero(stage + piece * 16, row::at(from, group), 16 * u32::from(is_there)) };
    }

    /// # Safety
    /// As for [`Tile::ask`].
    #[inline(always)]
    unsafe fn ask_for_weights(&self, args: &MoeRoute, step: u32, stage: u32, copy: u32) {
        let (groups, first) = (args.hidden / GROUP, step * thread::WARP_SIZE);
        let piece = thread::thread_idx_x() + copy * WARPS * 32;
        let (expert, half) = (piece / WEIGHT_PIECES, first * 2 + piece % WEIGHT_PIECES);
        let is_there = self.expert + expert < args.experts && half < groups * 2;
        let from = args.w.addr + u64::from(self.expert + expert) * u64::from(args.hidden) * 4;
        // The halves of groups lie apart, so that the lanes read 16 bytes side by side.
        let to = WEIGHTS + expert * 2 * ROW_BYTES + half % 2 * ROW_BYTES + piece % WEIGHT_PIECES / 2 * 16;
        // SAFETY: only what is there is read.
        unsafe { cp_async::copy_16_or_zero(stage + to, row::at(from, half), 16 * u32::from(is_there)) };
    }

    /// Joins the lanes' parts and stores the logits.
    ///
    /// # Safety
    /// The whole warp comes here.
    #[inline(always)]
    unsafe fn store(&self, args: &MoeRoute, sums: Sums) {
        let (row, expert) = Tile::of_warp();
        // SAFETY: the caller's promise; what is not there is not stored.
        unsafe {
            let own: [f32; OWN] = joined(sums);
            unroll::<OWN>(
                #[inline(always)]
                |i| {
                    let sum = thread::lane_id() * OWN as u32 + i as u32;
                    let (expert, row) = (self.expert + expert + sum / WARP_ROWS, self.first + row + sum % WARP_ROWS);
                    if expert < args.experts && row < args.rows {
                        global::store(args.logit(row, expert), own[i]);
                    }
                },
            );
        }
    }
}

/// Adds a stage's products: a lane's own group of each row, its first half for all rows before the other, so that fewer
/// weights wait in registers; the order of each sum is the same. Between the parts `ask` starts copies: all at once, they
/// would hold up the products.
///
/// # Safety
/// The stage has landed.
#[inline(always)]
unsafe fn add(sums: &mut Sums, stage: u32, mut ask: impl FnMut(usize)) {
    const PART_ROWS: usize = 2 * ROWS / PARTS;
    let (row, expert) = Tile::of_warp();
    let own = |offset: u32| Shared::<u32>::from_address(stage + offset + thread::lane_id() * 16);
    let mut weights = [[0.0; 4]; EXPERTS];
    unroll::<PARTS>(
        #[inline(always)]
        |part| {
            let (half, first) = (part / (PARTS / 2), part % (PARTS / 2) * PART_ROWS);
            if first == 0 {
                let at = |e: usize| WEIGHTS + ((expert + e as u32) * 2 + half as u32) * ROW_BYTES;
                // SAFETY: the caller's promise.
                weights = array(|e| unsafe { own(at(e)).cast::<[f32; 4]>().load(0) });
            }
            unroll::<PART_ROWS>(
                #[inline(always)]
                |r| {
                    let r = first + r;
                    let at = (row + r as u32) * ROW_BYTES + half as u32 * 8;
                    // SAFETY: as above.
                    let [low, high]: [u32; 2] = unsafe { own(at).cast::<[u32; 2]>().load(0) };
                    let ([x0, x1], [x2, x3]) = (bf16::unpack(low), bf16::unpack(high));
                    let x = [x0, x1, x2, x3];
                    unroll::<EXPERTS>(
                        #[inline(always)]
                        |e| {
                            let sum = &mut sums[e][r];
                            unroll::<4>(|k| *sum = math::fma(x[k], weights[e][k], *sum));
                        },
                    );
                },
            );
            ask(part);
        },
    );
}

/// The sums over all lanes, in the order of `warp::sum_f32`; a lane gets those from `OWN` times its number on.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn joined(sums: Sums) -> [f32; OWN] {
    // SAFETY: the caller's promise.
    unsafe {
        let sums: [[f32; ROWS]; 4] = halved(sums, 16);
        let sums: [[f32; ROWS]; 2] = halved(sums, 8);
        let [sums]: [[f32; ROWS]; 1] = halved(sums, 4);
        let sums: [[f32; OWN]; 4] = array(|i| array(|row| sums[i * OWN + row]));
        let sums: [[f32; OWN]; 2] = halved(sums, 2);
        let [sums] = halved(sums, 1);
        sums
    }
}

/// Joins the lanes that are `lanes` apart: the lower one gets the first half of the sums, the other the second. Values change
/// places by masks: a condition would choose addresses, and so need the sums in memory.
///
/// # Safety
/// The whole warp comes here; `HALF` is half of `N`.
#[inline(always)]
unsafe fn halved<const N: usize, const HALF: usize, const WIDTH: usize>(
    sums: [[f32; WIDTH]; N],
    lanes: u32,
) -> [[f32; WIDTH]; HALF] {
    const { assert!(2 * HALF == N) };
    let is_upper = if thread::lane_id() & lanes != 0 { u32::MAX } else { 0 };
    let mut joined = [[0.0; WIDTH]; HALF];
    unroll::<HALF>(
        #[inline(always)]
        |i| {
            unroll::<WIDTH>(
                #[inline(always)]
                |j| {
                    let (lower, upper) = (sums[i][j].to_bits(), sums[HALF + i][j].to_bits());
                    let change = (lower ^ upper) & is_upper;
                    let (kept, given) = (f32::from_bits(lower ^ change), f32::from_bits(upper ^ change));
                    // SAFETY: the caller's promise.
                    joined[i][j] = kept + unsafe { warp::shuffle_xor(given, lanes) };
                },
            );
        },
    );
    joined
}
