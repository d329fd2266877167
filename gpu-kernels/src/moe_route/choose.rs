//! The choice of experts, of some rows by a block: the scores by all warps, then a row to a warp.
//!
//! A lane has every 32nd expert. The best of the lanes' best are as many experts as are chosen, so no other that comes behind
//! the last of them is: few are left, and the place of each is the count of those in front of it.
use super::groups::keep_best_groups;
use super::{BATCH, LISTED, MAX_TOP_K, MoeRoute, listed, room_bytes};
use core::num::NonZero;
use cuda_std::barrier::sync_threads;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{global, math, thread, warp};

/// Candidates that are counted together.
const COUNTED: usize = 8;

/// Chooses the experts of `live` rows from `first` on, and stores their numbers and weights; a block has `WARPS` warps.
///
/// # Safety
/// The whole block comes here; the rows' logits are stored, and nobody uses the dynamic shared memory.
#[inline(always)]
pub unsafe fn choose<const WARPS: u32>(args: &MoeRoute, first: u32, live: u32) {
    // A divisor that may be zero would bring a panic, and its message, into the kernel.
    let Some(batches) = NonZero::new(batches(args)) else { return };
    // SAFETY: a row has its own room.
    unsafe {
        let mut batch = thread::warp_id();
        while batch < live * batches.get() {
            let row = batch / batches;
            store_scores(args, first + row, batch % batches, Room::of(args, row));
            batch += WARPS;
        }
        sync_threads();
        let mut row = thread::warp_id();
        while row < live {
            choose_of(args, first + row, Room::of(args, row));
            row += WARPS;
        }
    }
}

/// What a row has of the shared memory.
#[derive(Clone, Copy)]
struct Room {
    /// `[listed]`: all experts as [`candidate`]s; later those that are left; zeros behind them.
    list: Shared<u64>,
    /// The last 32 of those places, of which none is in use until some are left: the lanes' best.
    bests: Shared<u64>,
    /// `[MAX_TOP_K]`: the chosen experts' scores without the bias, in the order of choice, and zeros.
    weights: Shared<f32>,
    /// The experts' scores without the bias, in whole batches.
    sigmoids: Shared<f32>,
}

impl Room {
    #[inline(always)]
    fn of(args: &MoeRoute, row: u32) -> Room {
        let list = shared::dynamic::<u8>().offset(row * room_bytes(args.experts)).cast::<u64>();
        let weights = list.offset(listed(args.experts)).cast::<f32>();
        let bests = list.offset(listed(args.experts) - thread::WARP_SIZE);
        Room { list, bests, weights, sigmoids: weights.offset(MAX_TOP_K) }
    }
}

/// Stores a batch of a row's experts, a lane's together; zeros behind the last one.
///
/// # Safety
/// The whole warp comes here; the logits are stored, and nobody uses the list.
#[inline(always)]
unsafe fn store_scores(args: &MoeRoute, row: u32, batch: u32, room: Room) {
    let first = batch * LISTED + thread::lane_id();
    let expert = |i: usize| first + i as u32 * thread::WARP_SIZE;
    let (mut logits, mut biases) = ([0.0; BATCH], [0.0; BATCH]);
    // SAFETY: the experts are there.
    unsafe {
        unroll::<BATCH>(
            #[inline(always)]
            |i| {
                if expert(i) < args.experts {
                    logits[i] = global::load(args.logit(row, expert(i)));
                    biases[i] = global::load(args.bias.addr + 4 * u64::from(expert(i)));
                }
            },
        );
        unroll::<BATCH>(
            #[inline(always)]
            |i| {
                let score = sigmoid(logits[i]);
                let own = candidate(score + biases[i], expert(i));
                room.list.store(expert(i), if expert(i) < args.experts { own } else { 0 });
                room.sigmoids.store(expert(i), score);
            },
        );
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
        if lane >= args.top_k {
            room.weights.store(lane, 0.0);
        }
        for round in 0..count.div_ceil(thread::WARP_SIZE) {
            let own = room.list.load(round * thread::WARP_SIZE + lane);
            let (place, expert) = (count_above(own, count, room.list), !(own as u32));
            if place < args.top_k {
                global::store(args.ids.addr + first + 4 * u64::from(place), expert);
                room.weights.store(place, room.sigmoids.load(expert));
            }
        }
        warp::sync();
        if lane < args.top_k {
            global::store(args.weights.addr + first + 4 * u64::from(lane), weighted(args, room.weights));
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
    let first = batch * LISTED + thread::lane_id();
    // SAFETY: the caller's promise.
    array(|i| unsafe { list.load(first + i as u32 * thread::WARP_SIZE) })
}

/// Batches of a lane.
#[inline(always)]
pub fn batches(args: &MoeRoute) -> u32 {
    args.experts.div_ceil(LISTED)
}

/// The `top_k`-th of the lanes' best: so many experts are as good or better.
///
/// # Safety
/// The whole warp comes here; the candidates are stored.
#[inline(always)]
unsafe fn least(args: &MoeRoute, room: Room) -> u64 {
    let (mut best, bests) = (0, room.bests);
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
/// The chosen experts' scores are stored.
#[inline(always)]
unsafe fn weighted(args: &MoeRoute, scores: Shared<f32>) -> f32 {
    // SAFETY: the caller's promise; behind them are zeros, which change no sum.
    unsafe {
        let own = scores.load(thread::lane_id());
        if args.normalize == 0 {
            return args.scale * own;
        }
        let mut sum = 0.0;
        unroll::<{ MAX_TOP_K as usize / 4 }>(
            #[inline(always)]
            |four| scores.cast::<[f32; 4]>().load(four as u32).iter().for_each(|score| sum += score),
        );
        args.scale * (own / (sum + 1e-20))
    }
}
