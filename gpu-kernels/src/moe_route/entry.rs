//! The entry point of `moe_route`: logits of the block's experts, and the last block's choice.
use super::choose::choose;
use super::{MoeRoute, ROWS, WARPS};
use crate::row::{self, GROUP};
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, global, grid, kernel, math, thread, warp};

/// Groups of a lane that are asked for together.
const BATCH: usize = 4;
/// Weights of a line of the cache.
const LINE: u32 = 32;

kernel! {
    /// An expert to a warp, eight token rows to a block.
    pub fn moe_route(args: MoeRoute) {
        grid::launch_dependents();
        let first = thread::block_idx_y() * ROWS;
        let live = (args.rows - first).min(ROWS);
        let expert = thread::block_idx_x() * WARPS + thread::warp_id();
        if expert < args.experts {
            ask_for_weights(&args, expert);
        }
        grid::wait_for_dependencies();
        if expert < args.experts {
            let sums = logits(&args, expert, first, live);
            if thread::lane_id() == 0 {
                unroll::<{ ROWS as usize }>(
                    #[inline(always)]
                    |row| if (row as u32) < live {
                        global::store(args.logit(first + row as u32, expert), sums[row]);
                    },
                );
            }
        }
        if is_last(&args) && thread::warp_id() < live {
            choose(&args, first + thread::warp_id());
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

/// Eight neighbours of an expert's weights.
///
/// # Safety
/// The group is within the row.
#[inline(always)]
unsafe fn weights(args: &MoeRoute, expert: u32, group: u32) -> [f32; 8] {
    let start = args.w.addr + 4 * (u64::from(expert) * u64::from(args.hidden) + u64::from(group * GROUP));
    // SAFETY: the caller's promise.
    let [a, b]: [[f32; 4]; 2] = unsafe { [global::load_readonly(start), global::load_readonly(start + 16)] };
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}

/// Brings an expert's weights to the L2 cache, while the kernel in front still runs.
///
/// # Safety
/// The whole warp comes here, with an expert that exists.
#[inline(always)]
unsafe fn ask_for_weights(args: &MoeRoute, expert: u32) {
    let start = args.w.addr + 4 * u64::from(expert) * u64::from(args.hidden);
    let (end, mut column) = (args.hidden - 1, thread::lane_id() * LINE);
    loop {
        // SAFETY: the column is within the row.
        unsafe { global::prefetch(start + 4 * u64::from(column.min(end))) };
        column += thread::WARP_SIZE * LINE;
        if column > end {
            break;
        }
    }
}

/// The logits of an expert for the block's rows, in every lane.
///
/// # Safety
/// The whole warp comes here, with an expert that exists.
#[inline(always)]
unsafe fn logits(args: &MoeRoute, expert: u32, first: u32, live: u32) -> [f32; ROWS as usize] {
    let mut sums = [0.0; ROWS as usize];
    let groups = args.hidden / GROUP;
    let mut start = thread::lane_id();
    // SAFETY: groups and rows are tested before they are read.
    unsafe {
        for _ in 0..groups.div_ceil(BATCH as u32 * thread::WARP_SIZE) {
            let mut batch = [[0.0; 8]; BATCH];
            unroll::<BATCH>(
                #[inline(always)]
                |i| {
                    let group = start + i as u32 * thread::WARP_SIZE;
                    if group < groups {
                        batch[i] = weights(args, expert, group);
                    }
                },
            );
            unroll::<{ ROWS as usize }>(
                #[inline(always)]
                |row| {
                    if (row as u32) < live {
                        let x = args.x.addr + u64::from(first + row as u32) * u64::from(args.hidden) * 2;
                        unroll::<BATCH>(
                            #[inline(always)]
                            |i| {
                                let group = start + i as u32 * thread::WARP_SIZE;
                                if group < groups {
                                    let x = bf16::unpack_8(global::load(row::at(x, group)));
                                    unroll::<8>(|k| sums[row] = math::fma(x[k], batch[i][k], sums[row]));
                                }
                            },
                        );
                    }
                },
            );
            start += BATCH as u32 * thread::WARP_SIZE;
        }
        unroll::<{ ROWS as usize }>(|row| sums[row] = warp::sum_f32(sums[row]));
    }
    sums
}

/// Whether the logits of all experts are stored for the block's rows: true in one block.
///
/// # Safety
/// All threads of the block call it together.
#[inline(always)]
pub unsafe fn is_last(args: &MoeRoute) -> bool {
    // SAFETY: the caller's promise; the barrier orders what the block has stored.
    unsafe {
        sync_threads();
        grid::arrives_last(args.counters.addr + 4 * u64::from(thread::block_idx_y()), thread::grid_dim_x())
    }
}
