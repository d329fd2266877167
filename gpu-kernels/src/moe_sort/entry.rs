//! The entry point of `moe_sort`.
use super::{COUNTERS, MoeSort, TILE, WARPS, is_wide, max_tiles};
use cuda_std::barrier::sync_threads;
use cuda_std::shared::Shared;
use cuda_std::{global, kernel, shared, thread, warp};
use cuda_std::{grid, unroll::unroll};

shared! {
    fn moe_sort_totals() -> [u32; 3 * WARPS as usize];
}

kernel! {
    /// One block sorts all choices.
    pub fn moe_sort(args: MoeSort) {
        grid::launch_dependents();
        grid::wait_for_dependencies();
        let (counts, words) = (shared::dynamic::<u32>(), args.experts + 1);
        let mut word = thread::thread_idx_x();
        while word < (COUNTERS + 1) * words {
            counts.store(word, 0);
            word += thread::block_dim_x();
        }
        sync_threads();
        let own = counts.offset(thread::warp_id() * words);
        for_each_chunk(&args, own, |_, _, _| {});
        sync_threads();
        let (used, wide) = places(&args, counts);
        for_each_chunk(&args, own, |choice, id, before| {
            if id < args.experts {
                let first = counts.load(COUNTERS * words + id);
                global::store(args.order.addr + 4 * u64::from(first + before), choice);
            }
        });
        // Nobody comes to the tiles that are left.
        let mut tile = used + thread::thread_idx_x();
        while tile < max_tiles(args.rows * args.top_k, args.experts) {
            global::store(args.tiles.addr + 16 * u64::from(tile), [0, 0, 0, wide]);
            tile += thread::block_dim_x();
        }
    }
}

/// Calls `visit(choice, expert, how many of it the warp had before)` with the warp's choices, 32 at a time, in order, and counts
/// them in `own`. A lane behind the end has the expert behind the last: a condition of its own would come apart around the
/// barriers of the warp.
///
/// # Safety
/// The whole warp comes here; `own` is the warp's.
#[inline(always)]
unsafe fn for_each_chunk(args: &MoeSort, own: Shared<u32>, mut visit: impl FnMut(u32, u32, u32)) {
    let choices = args.rows * args.top_k;
    let share = choices.div_ceil(COUNTERS * thread::WARP_SIZE) * thread::WARP_SIZE;
    let mut first = thread::warp_id() * share;
    let end = (first + share).min(choices);
    for _ in 0..end.saturating_sub(first).div_ceil(thread::WARP_SIZE) {
        let choice = first + thread::lane_id();
        let mut id = args.experts;
        // SAFETY: the choice is there; a lane that is last of its expert writes that expert's word when all have read it.
        unsafe {
            if choice < end {
                id = global::load(args.ids.addr + 4 * u64::from(choice));
            }
            let (rank, is_last) = place_among_lanes(id);
            let before = own.load(id) + rank;
            warp::sync();
            if is_last {
                own.store(id, before + 1);
            }
            warp::sync();
            visit(choice, id, before);
        }
        first += thread::WARP_SIZE;
    }
}

/// How many lanes before this one have the same `id`, and whether none behind has it.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn place_among_lanes(id: u32) -> (u32, bool) {
    let mut same = 0;
    unroll::<32>(
        #[inline(always)]
        |lane| {
            // SAFETY: the caller's promise.
            same |= u32::from(unsafe { warp::shuffle(id, lane as u32) } == id) << lane;
        },
    );
    let lower = (1 << thread::lane_id()) - 1;
    ((same & lower).count_ones(), same & !lower & !(1 << thread::lane_id()) == 0)
}

/// Turns the warps' counts of an expert into how many come before in other warps, writes where each expert begins behind
/// them, and the tiles; gives the number of tiles, and of wide ones.
///
/// # Safety
/// All threads of the block call it together; the counts are written.
#[inline(always)]
unsafe fn places(args: &MoeSort, counts: Shared<u32>) -> (u32, u32) {
    let expert = thread::thread_idx_x();
    let mut total = 0;
    // SAFETY: a thread has an expert's words, and reads what others wrote behind a barrier.
    unsafe {
        if expert < args.experts {
            for warp in 0..COUNTERS {
                let word = warp * (args.experts + 1) + expert;
                let count = counts.load(word);
                counts.store(word, total);
                total += count;
            }
        }
        let tiles = total.div_ceil(TILE);
        let (first, _) = before(total, moe_sort_totals());
        let (first_tile, used) = before(tiles, moe_sort_totals().offset(WARPS));
        let own_wide = total / TILE + u32::from(is_wide(total % TILE));
        let (first_wide, wide) = before(own_wide, moe_sort_totals().offset(2 * WARPS));
        if expert < args.experts {
            counts.store(COUNTERS * (args.experts + 1) + expert, first);
        }
        for tile in 0..tiles {
            let begin = tile * TILE;
            let words = [expert, first + begin, (total - begin).min(TILE), first_wide + tile];
            global::store(args.tiles.addr + 16 * u64::from(first_tile + tile), words);
        }
        sync_threads();
        (used, wide)
    }
}

/// The sum of `value` over the threads before this one, and over all.
///
/// # Safety
/// All 1024 threads of the block call it together; nobody uses `totals`.
#[inline(always)]
unsafe fn before(value: u32, totals: Shared<u32>) -> (u32, u32) {
    // SAFETY: the caller's promise; what is read lies behind the barrier.
    unsafe {
        let up_to = sum_up_to(value);
        if thread::lane_id() == thread::WARP_SIZE - 1 {
            totals.store(thread::warp_id(), up_to);
        }
        sync_threads();
        let warps = sum_up_to(totals.load(thread::lane_id()));
        let own =
            warp::shuffle(warps, thread::warp_id()) - warp::shuffle(totals.load(thread::lane_id()), thread::warp_id());
        (own + up_to - value, warp::shuffle(warps, thread::WARP_SIZE - 1))
    }
}

/// The sum of `value` over the lanes up to this one.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn sum_up_to(value: u32) -> u32 {
    let mut sum = value;
    let mut lanes = 1;
    while lanes < thread::WARP_SIZE {
        // SAFETY: the caller's promise.
        let below = unsafe { warp::shuffle_up(sum, lanes) };
        sum += if thread::lane_id() >= lanes { below } else { 0 };
        lanes *= 2;
    }
    sum
}
