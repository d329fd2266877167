//! The entry point of `moe_route`: logits of the block's experts, and the last block's choice.
use super::choose::choose;
use super::{AHEAD, BATCH, FEW_WARPS, MoeRoute, NORM_WARPS, RING_BYTES, ROWS};
use crate::rms_norm;
use crate::row::{self, GROUP, Row};
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, cp_async, global, grid, kernel, math, thread, warp};

/// Bytes of a stage of the ring, a group of eight weights to a lane: their first halves, then the others, so that the lanes
/// read 16 bytes side by side.
const STAGE_BYTES: u32 = RING_BYTES / (AHEAD * BATCH as u32);
const HALF_BYTES: u32 = STAGE_BYTES / 2;

kernel! {
    /// Up to eight token rows, an expert to a warp.
    pub fn moe_route(args: MoeRoute) {
        let (expert, asked) = begin(&args);
        grid::wait_for_dependencies();
        // Behind that wait, so that the next kernels may take the rows as settled.
        grid::launch_dependents();
        store_logits::<{ ROWS as usize }>(&args, expert, asked, |row, batch| tokens(&args, row, batch));
        if is_last(&args, 0) {
            choose::<FEW_WARPS>(&args, 0, args.rows);
        }
    }

    /// One token row behind `rms_norm`, which the first block keeps.
    pub fn moe_route_rms_norm(args: MoeRoute) {
        let ((expert, asked), weight) = (begin(&args), Row::load(args.norm_weight.addr, args.hidden));
        grid::wait_for_dependencies();
        // As above.
        grid::launch_dependents();
        let normed = shared::dynamic::<u8>().offset(FEW_WARPS * RING_BYTES).cast::<[u32; 4]>();
        let x = Row::load(args.x.addr, args.hidden);
        rms_norm::entry::normalise(x, weight, (args.eps, args.roundings), |group, words| {
            normed.store(group, words);
            if thread::block_idx_x() == 0 {
                global::store(row::at(args.normed.addr, group), words);
            }
        });
        sync_threads();
        store_logits::<1>(&args, expert, asked, |_, batch| own_groups(&args, batch, |group| normed.load(group)));
        if is_last(&args, 0) {
            choose::<NORM_WARPS>(&args, 0, 1);
        }
    }
}

/// The warp's expert, and how many of its batches are asked for: none of an expert that does not exist.
///
/// # Safety
/// As for [`ask`].
#[inline(always)]
unsafe fn begin(args: &MoeRoute) -> (u32, u32) {
    if thread::warp_id() >= FEW_WARPS {
        return (args.experts, 0);
    }
    let expert = thread::block_idx_x() * FEW_WARPS + thread::warp_id();
    let mut asked = 0;
    if expert < args.experts {
        // SAFETY: the caller's promise.
        unsafe {
            // What the router was trained to is older than the kernel in front; the last block reads the bias.
            global::prefetch(args.bias.addr + 4 * u64::from(expert));
            asked = ask_first(args, expert);
        }
    }
    (expert, asked)
}

/// Stores the logits of an expert, if it exists, for `MOST` rows at most, whose groups `tokens` gives.
///
/// # Safety
/// As for [`logits`].
#[inline(always)]
unsafe fn store_logits<const MOST: usize>(
    args: &MoeRoute,
    expert: u32,
    asked: u32,
    tokens: impl Fn(u32, u32) -> [[u32; 4]; BATCH],
) {
    if expert >= args.experts {
        return;
    }
    // SAFETY: the caller's promise; the expert exists.
    unsafe {
        let sums = logits::<MOST>(args, expert, asked, tokens);
        if thread::lane_id() == 0 {
            unroll::<MOST>(
                #[inline(always)]
                |row| {
                    if (row as u32) < args.rows {
                        global::store(args.logit(row as u32, expert), sums[row]);
                    }
                },
            );
        }
    }
}

impl MoeRoute {
    /// The address of a logit.
    #[inline(always)]
    pub fn logit(&self, row: u32, expert: u32) -> u64 {
        self.logits.addr + 4 * (u64::from(row) * u64::from(self.experts) + u64::from(expert))
    }
}

/// The shared address of a stage of the warp's.
#[inline(always)]
fn stage(batch: u32, i: usize) -> u32 {
    let number = batch % AHEAD * BATCH as u32 + i as u32;
    shared::dynamic::<u8>().address() + thread::warp_id() * RING_BYTES + number * STAGE_BYTES
}

/// Batches of a row.
#[inline(always)]
fn batches(args: &MoeRoute) -> u32 {
    (args.hidden / GROUP).div_ceil(BATCH as u32 * thread::WARP_SIZE)
}

/// Starts the copies of an expert's first batches; returns how many they are.
///
/// # Safety
/// As for [`ask`].
#[inline(always)]
unsafe fn ask_first(args: &MoeRoute, expert: u32) -> u32 {
    let asked = batches(args).min(AHEAD);
    for batch in 0..AHEAD {
        // SAFETY: the caller's promise.
        unsafe {
            if batch < asked {
                ask(args, expert, batch);
            }
        }
        // Also where there is none: the waits count groups.
        cp_async::commit();
    }
    asked
}

/// Starts the copies of a batch of an expert's weights; zeros behind its row.
///
/// # Safety
/// The whole warp comes here, with an expert that exists; the batch's stages are free.
#[inline(always)]
unsafe fn ask(args: &MoeRoute, expert: u32, batch: u32) {
    let pieces = args.hidden / GROUP * 2;
    let row = args.w.addr + 4 * u64::from(expert) * u64::from(args.hidden);
    unroll::<{ 2 * BATCH }>(
        #[inline(always)]
        |copy| {
            let within = copy as u32 % 2 * thread::WARP_SIZE + thread::lane_id();
            let piece = (batch * BATCH as u32 + copy as u32 / 2) * thread::WARP_SIZE * 2 + within;
            let to = stage(batch, copy / 2) + within % 2 * HALF_BYTES + within / 2 * 16;
            // SAFETY: only what is there is read.
            unsafe { cp_async::copy_16_or_zero(to, row::at(row, piece), 16 * u32::from(piece < pieces)) };
        },
    );
}

/// The lane's groups of a batch's weights.
///
/// # Safety
/// The batch has landed.
#[inline(always)]
unsafe fn weights(batch: u32) -> [[f32; 8]; BATCH] {
    let mut all = [[0.0; 8]; BATCH];
    unroll::<BATCH>(
        #[inline(always)]
        |i| {
            let own = Shared::<[f32; 4]>::from_address(stage(batch, i) + thread::lane_id() * 16);
            // SAFETY: the caller's promise.
            let [a, b] = unsafe { [own.load(0), own.load(HALF_BYTES / 16)] };
            all[i] = [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]];
        },
    );
    all
}

/// The logits of an expert for `MOST` rows at most, whose groups of a batch `tokens` gives, in every lane.
///
/// # Safety
/// The whole warp comes here, with an expert that exists, of which `asked` batches are asked for.
#[inline(always)]
unsafe fn logits<const MOST: usize>(
    args: &MoeRoute,
    expert: u32,
    mut asked: u32,
    tokens: impl Fn(u32, u32) -> [[u32; 4]; BATCH],
) -> [f32; MOST] {
    let mut sums = [0.0; MOST];
    // SAFETY: rows are tested before they are read; stages are filled when all lanes have used what was there.
    unsafe {
        let mut next = tokens(0, 0);
        for batch in 0..batches(args) {
            cp_async::wait::<{ AHEAD - 1 }>();
            warp::sync();
            let weights = weights(batch);
            // Those of a lone row come while its last ones are in use.
            let of_first = next;
            next = tokens(0, batch + 1);
            unroll::<MOST>(
                #[inline(always)]
                |row| {
                    if (row as u32) < args.rows {
                        let words = if row == 0 { of_first } else { tokens(row as u32, batch) };
                        unroll::<BATCH>(
                            #[inline(always)]
                            |i| {
                                let x = bf16::unpack_8(words[i]);
                                unroll::<8>(|k| sums[row] = math::fma(x[k], weights[i][k], sums[row]));
                            },
                        );
                    }
                },
            );
            warp::sync();
            if asked != batches(args) {
                ask(args, expert, asked);
                asked += 1;
            }
            cp_async::commit();
        }
    }
    array(
        #[inline(always)]
        // SAFETY: the caller's promise.
        |row| if (row as u32) < args.rows { unsafe { warp::sum_f32(sums[row]) } } else { 0.0 },
    )
}

/// The lane's groups of a batch of a token row; zeros behind it.
///
/// # Safety
/// The row is there.
#[inline(always)]
unsafe fn tokens(args: &MoeRoute, row: u32, batch: u32) -> [[u32; 4]; BATCH] {
    let x = args.x.addr + u64::from(row) * u64::from(args.hidden) * 2;
    // SAFETY: the group is within the row.
    own_groups(args, batch, |group| unsafe { global::load(row::at(x, group)) })
}

/// The lane's groups of a batch of a row, as `load` gives them by their numbers; zeros behind it.
#[inline(always)]
fn own_groups(args: &MoeRoute, batch: u32, load: impl Fn(u32) -> [u32; 4]) -> [[u32; 4]; BATCH] {
    let mut words = [[0; 4]; BATCH];
    unroll::<BATCH>(
        #[inline(always)]
        |i| {
            let group = (batch * BATCH as u32 + i as u32) * thread::WARP_SIZE + thread::lane_id();
            if group < args.hidden / GROUP {
                words[i] = load(group);
            }
        },
    );
    words
}

/// Whether the logits of all experts are stored for the rows of tile `tile`: true in one of its blocks.
///
/// # Safety
/// All threads of the block call it together.
#[inline(always)]
pub unsafe fn is_last(args: &MoeRoute, tile: u32) -> bool {
    // SAFETY: the caller's promise; the barrier orders what the block has stored.
    unsafe {
        sync_threads();
        grid::arrives_last(args.counters.addr + 4 * u64::from(tile), thread::grid_dim_x())
    }
}
