//! The choice of experts, of up to eight rows by a block: the scores by all threads, then a row to a warp.
//!
//! A lane has every 32nd expert. The best of the lanes' best are as many experts as are chosen, so no other that comes behind
//! the last of them is: few are left, and the place of each is the count of those in front of it.
use super::groups::keep_best_groups;
use super::{MAX_EXPERTS, MoeRoute, ROOM_BYTES};
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{global, math, thread, warp};

/// Experts of a thread or lane that are asked for together.
pub const BATCH: usize = 4;
/// Candidates that are counted together.
const COUNTED: usize = 8;

/// Chooses the experts of `live` rows from `first` on, and stores their numbers and weights; a block has `WARPS` warps.
///
/// # Safety
/// The whole block comes here; the rows' logits are stored, and nobody uses the dynamic shared memory.
#[inline(always)]
pub unsafe fn choose<const WARPS: u32>(args: &MoeRoute, first: u32, live: u32) {
    // SAFETY: a row has its own room.
    unsafe {
        for row in 0..live {
            store_scores::<WARPS>(args, first + row, Room::of(row).list);
        }
        sync_threads();
        let mut row = thread::warp_id();
        while row < live {
            choose_of(args, first + row, Room::of(row));
            row += WARPS;
        }
    }
}

/// What a row has of the shared memory.
#[derive(Clone, Copy)]
struct Room {
    /// `[MAX_EXPERTS + 32]`: all experts as [`candidate`]s; later those that are left; zeros behind them.
    list: Shared<u64>,
    /// `[MAX_TOP_K]`: the lanes' best in pairs of words; later the experts in the order of choice.
    chosen: Shared<u32>,
}

impl Room {
    #[inline(always)]
    fn of(row: u32) -> Room {
        let list = shared::dynamic::<u8>().offset(row * ROOM_BYTES).cast();
        Room { list, chosen: list.offset(MAX_EXPERTS + 32).cast() }
    }
}

/// Stores a row's experts, and zeros behind them to the end of a batch of all threads.
///
/// # Safety
/// The whole block comes here; the logits are stored, and nobody uses the list.
#[inline(always)]
unsafe fn store_scores<const WARPS: u32>(args: &MoeRoute, row: u32, list: Shared<u64>) {
    let threads = WARPS * thread::WARP_SIZE;
    let mut expert = thread::thread_idx_x();
    for _ in 0..args.experts.div_ceil(BATCH as u32 * threads) {
        let there = |i: usize| expert + i as u32 * threads < args.experts;
        let (mut logits, mut biases) = ([0.0; BATCH], [0.0; BATCH]);
        // SAFETY: the experts are there.
        unsafe {
            unroll::<BATCH>(
                #[inline(always)]
                |i| {
                    if there(i) {
                        let expert = expert + i as u32 * threads;
                        logits[i] = global::load(args.logit(row, expert));
                        biases[i] = global::load(args.bias.addr + 4 * u64::from(expert));
                    }
                },
            );
            unroll::<BATCH>(
                #[inline(always)]
                |i| {
                    let expert = expert + i as u32 * threads;
                    let own = candidate(sigmoid(logits[i]) + biases[i], expert);
                    list.store(expert, if there(i) { own } else { 0 });
                },
            );
        }
        expert += BATCH as u32 * threads;
    }
}

#[inline(always)]
fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + math::exp(-logit))
}

/// Chooses a row's experts, and stores their numbers and weights.
///
/// # Safety
/// The whole warp comes here; the candidates are stored.
#[inline(always)]
unsafe fn choose_of(args: &MoeRoute, row: u32, room: Room) {
    let lane = thread::lane_id();
    let first = 4 * u64::from(row) * u64::from(args.top_k);
    // SAFETY: the caller's promise; the room is the warp's, and used for something else behind a barrier.
    unsafe {
        if args.groups > 1 {
            keep_best_groups(args, room.list);
        }
        let count = keep_candidates(args, least(args, room), room.list);
        for round in 0..count.div_ceil(thread::WARP_SIZE) {
            let own = room.list.load(round * thread::WARP_SIZE + lane);
            let place = count_above(own, count, room.list);
            if place < args.top_k {
                global::store(args.ids.addr + first + 4 * u64::from(place), !(own as u32));
                room.chosen.store(place, !(own as u32));
            }
        }
        warp::sync();
        let chosen = if lane < args.top_k { room.chosen.load(lane) } else { 0 };
        let weight = weighted(args, sigmoid(global::load(args.logit(row, chosen))));
        if lane < args.top_k {
            global::store(args.weights.addr + first + 4 * u64::from(lane), weight);
        }
    }
}

/// A number that is larger for the better one of two experts, of equal ones for the first, and 0 for none. A score that is no
/// number is worth −∞.
#[inline(always)]
pub fn candidate(score: f32, expert: u32) -> u64 {
    u64::from(order(math::max(score, f32::NEG_INFINITY))) << 32 | u64::from(!expert)
}

/// The score of a candidate.
#[inline(always)]
pub fn score(candidate: u64) -> f32 {
    let order = (candidate >> 32) as u32;
    f32::from_bits(order ^ (!order.cast_signed() >> 31).cast_unsigned() ^ (order & 0x8000_0000))
}

/// Bits that are ordered as the values are, none of them 0.
#[inline(always)]
pub fn order(value: f32) -> u32 {
    // Of the two zeros, which are equal, 0 makes one.
    let bits = (value + 0.0).to_bits();
    bits ^ (bits.cast_signed() >> 31).cast_unsigned() ^ (!bits & 0x8000_0000)
}

/// The lane's candidates of batch `batch`.
///
/// # Safety
/// They are stored.
#[inline(always)]
pub unsafe fn own(list: Shared<u64>, batch: u32) -> [u64; BATCH] {
    let first = batch * BATCH as u32 * thread::WARP_SIZE + thread::lane_id();
    // SAFETY: the caller's promise.
    array(|i| unsafe { list.load(first + i as u32 * thread::WARP_SIZE) })
}

/// Batches of a lane.
#[inline(always)]
pub fn batches(args: &MoeRoute) -> u32 {
    args.experts.div_ceil(BATCH as u32 * thread::WARP_SIZE)
}

/// The `top_k`-th of the lanes' best: so many experts are as good or better.
///
/// # Safety
/// The whole warp comes here; the candidates are stored.
#[inline(always)]
unsafe fn least(args: &MoeRoute, room: Room) -> u64 {
    let (mut best, bests) = (0, room.chosen.cast::<u64>());
    // SAFETY: the caller's promise.
    unsafe {
        for batch in 0..batches(args) {
            let own = own(room.list, batch);
            unroll::<BATCH>(|i| best = best.max(own[i]));
        }
        bests.store(thread::lane_id(), best);
        warp::sync();
        let above = count_above(best, thread::WARP_SIZE, bests);
        // Where fewer lanes have experts, all of those are candidates.
        let lanes = warp::ballot(best != 0 && above + 1 == args.top_k);
        if lanes == 0 {
            return 1;
        }
        let lane = lanes.trailing_zeros();
        let [low, high] = [best as u32, (best >> 32) as u32].map(|half| warp::shuffle(half, lane));
        u64::from(high) << 32 | u64::from(low)
    }
}

/// How many of the list's first `count` are better; behind them are zeros to a multiple of eight.
///
/// # Safety
/// They are stored.
#[inline(always)]
unsafe fn count_above(own: u64, count: u32, list: Shared<u64>) -> u32 {
    let pairs = list.cast::<[u32; 4]>();
    let (mut above, mut at) = (0, 0);
    for _ in 0..count.div_ceil(COUNTED as u32) {
        // SAFETY: the caller's promise.
        let words: [[u32; 4]; COUNTED / 2] = array(|i| unsafe { pairs.load(at + i as u32) });
        unroll::<COUNTED>(
            #[inline(always)]
            |i| {
                let [low, high] = [words[i / 2][i % 2 * 2], words[i / 2][i % 2 * 2 + 1]];
                above += u32::from(u64::from(high) << 32 | u64::from(low) > own);
            },
        );
        at += COUNTED as u32 / 2;
    }
    above
}

/// Moves those that are no worse than `least` to the list's front, with zeros behind them; returns how many.
///
/// # Safety
/// The whole warp comes here; the candidates are stored.
#[inline(always)]
unsafe fn keep_candidates(args: &MoeRoute, least: u64, list: Shared<u64>) -> u32 {
    let mut count = 0;
    // SAFETY: the caller's promise; none moves to where one stands that no lane has loaded.
    unsafe {
        for batch in 0..batches(args) {
            let own = own(list, batch);
            warp::sync();
            unroll::<BATCH>(
                #[inline(always)]
                |i| {
                    let votes = warp::ballot(own[i] >= least);
                    if own[i] >= least {
                        list.store(count + (votes & ((1 << thread::lane_id()) - 1)).count_ones(), own[i]);
                    }
                    count += votes.count_ones();
                },
            );
        }
        list.store(count + thread::lane_id(), 0);
        warp::sync();
    }
    count
}

/// What the lane's choice counts.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn weighted(args: &MoeRoute, score: f32) -> f32 {
    if args.normalize == 0 {
        return args.scale * score;
    }
    let mut sum = 0.0;
    for choice in 0..args.top_k {
        // SAFETY: the caller's promise.
        sum += unsafe { warp::shuffle(score, choice) };
    }
    args.scale * (score / (sum + 1e-20))
}
