//! The splits of `attn_decode` joined by the last of their blocks, where they are no cluster.
use super::form::Form;
use super::layout::{JOIN_BYTES, STAT_BYTES};
use super::split::Split;
use super::{THREADS, WARPS};
use crate::cached::Cached;
use crate::row;
use core::f32::consts::LOG2_E;
use core::num::NonZero;
use cuda_std::barrier::sync_threads;
use cuda_std::shared::Shared;
use cuda_std::unroll::array;
use cuda_std::{bf16, cp_async, global, grid, math, thread, warp};

/// Splits and heads that are joined at once.
struct Part {
    head: u32,
    heads: u32,
    split: u32,
    splits: u32,
    /// Most splits: from one head's to the next in shared memory.
    room: u32,
}

impl<const DIM: u32, E: Cached, F: Form> Split<DIM, E, F> {
    /// Four elements each of a head.
    const COLUMNS: u32 = DIM / 4;
    /// Heads that are joined at once: a thread owns four elements, a warp the weights of a head's splits.
    const HEADS: u32 = if THREADS / Self::COLUMNS < WARPS { THREADS / Self::COLUMNS } else { WARPS };

    /// Counts this block; whether it is the last of its sequence and team, so that it sees what all the others stored.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier that follows its stores.
    #[inline(always)]
    pub unsafe fn arrives_last(&self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { grid::arrives_last(self.args.counters.addr + u64::from(self.counter()) * 4, self.live_blocks()) }
    }

    /// Joins all live splits and stores the outputs of the team.
    ///
    /// # Safety
    /// The whole block comes here, done with its warps' sums; all splits are stored.
    #[inline(always)]
    pub unsafe fn join(&self) {
        let mut head = 0;
        while head < self.heads.count {
            // SAFETY: the whole block is here.
            unsafe { self.join_heads(head, (self.heads.count - head).min(Self::HEADS)) };
            head += Self::HEADS;
        }
    }

    /// Joins `heads` heads from `first` on, as many splits at a time as there is room for.
    ///
    /// # Safety
    /// As for [`Split::join`]; there are so many.
    #[inline(always)]
    unsafe fn join_heads(&self, first: u32, heads: u32) {
        let (head, column) = (thread::thread_idx_x() / Self::COLUMNS, thread::thread_idx_x() % Self::COLUMNS);
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let Some(rows) = NonZero::new(heads * Self::COLUMNS) else { return };
        let room = (JOIN_BYTES / 16 / rows).min(thread::WARP_SIZE).min(self.args.splits);
        let (mut total, mut values) = (0.0, [0.0; 4]);
        let mut largest = f32::NEG_INFINITY;
        let mut split = 0;
        while split < self.live.count {
            let part = Part { head: first, heads, split, splits: (self.live.count - split).min(room), room };
            // SAFETY: the splits are live; the barriers are for the whole block.
            unsafe {
                if first + split > 0 {
                    sync_threads();
                }
                self.bring(&part);
                if thread::warp_id() < heads {
                    if split == 0 {
                        largest = self.largest_in_all(first + thread::warp_id());
                    }
                    self.weigh_splits(&part, largest, &mut total);
                }
                cp_async::wait::<0>();
                sync_threads();
                if head < heads {
                    self.add(&mut values, head, column, &part);
                }
            }
            split += room;
        }
        if head < heads {
            // SAFETY: behind the barrier, the total is there.
            let total = unsafe { self.joined_totals().load(head) };
            let values = values.map(|value| value / total);
            let pairs = [bf16::pack([values[0], values[1]]), bf16::pack([values[2], values[3]])];
            // SAFETY: within the head, 8-byte aligned; the elements are the thread's own.
            unsafe { global::store(self.out() + u64::from((first + head) * DIM + column * 4) * 2, pairs) };
        }
    }

    /// Four elements of the `number`-th split in shared memory.
    #[inline(always)]
    fn sums_of(&self, number: u32, column: u32) -> Shared<[f32; 4]> {
        Shared::from_address(self.slots()).offset(number * Self::COLUMNS + column)
    }

    /// The weights of a head's splits, in the place of the warps' maxima.
    #[inline(always)]
    fn split_weights(&self, head: u32) -> Shared<f32> {
        const { assert!(WARPS * thread::WARP_SIZE * 4 <= STAT_BYTES) };
        Shared::from_address(self.statistics()).offset(head * thread::WARP_SIZE)
    }

    /// A head's total of all splits, in the place of the fresh key.
    #[inline(always)]
    fn joined_totals(&self) -> Shared<f32> {
        Shared::from_address(self.fresh_rows())
    }

    /// Asks for the sums of a part.
    ///
    /// # Safety
    /// The whole block comes here; they are there, and the place is free.
    #[inline(always)]
    unsafe fn bring(&self, part: &Part) {
        let (row, column) = (thread::thread_idx_x() / Self::COLUMNS, thread::thread_idx_x() % Self::COLUMNS);
        let rows = THREADS / Self::COLUMNS;
        let mut head = 0;
        while head < part.heads {
            let from = self.args.partial.addr + self.live_at(part.head + head, part.split) * u64::from(DIM * 4);
            let mut split = if row < rows { row } else { part.splits };
            while split < part.splits {
                let address = row::at(from + u64::from(split) * u64::from(DIM * 4), column);
                // SAFETY: the split is live.
                unsafe { cp_async::copy_16(self.sums_of(head * part.room + split, column).address(), address) };
                split += rows;
            }
            head += 1;
        }
        cp_async::commit();
    }

    /// The largest score of a head.
    ///
    /// # Safety
    /// The whole warp comes here; all splits are stored.
    #[inline(always)]
    unsafe fn largest_in_all(&self, head: u32) -> f32 {
        let mut largest = f32::NEG_INFINITY;
        let mut split = thread::lane_id();
        while split < self.live.count {
            // SAFETY: the split is live.
            largest = math::max(largest, unsafe { global::load(self.args.stats.addr + self.live_at(head, split) * 8) });
            split += thread::WARP_SIZE;
        }
        // SAFETY: the whole warp is here.
        unsafe { warp::max_f32(largest) }
    }

    /// Leaves in shared memory the weights of the splits of the warp's head, and the total of them and all before, of which
    /// a lane keeps its share in `total`.
    ///
    /// # Safety
    /// The whole warp comes here; `largest` is the head's, all splits are stored.
    #[inline(always)]
    unsafe fn weigh_splits(&self, part: &Part, largest: f32, total: &mut f32) {
        let (head, lane) = (thread::warp_id(), thread::lane_id());
        // SAFETY: the split is live; the words are the lane's own; the whole warp is here.
        unsafe {
            if lane < part.splits {
                let at = self.live_at(part.head + head, part.split + lane);
                let [split_largest, split_total]: [f32; 2] = global::load(self.args.stats.addr + at * 8);
                let weight = math::ex2_flushed((split_largest - largest) * LOG2_E);
                self.split_weights(head).store(lane, weight);
                *total = math::fma(weight, split_total, *total);
            }
            let total = warp::sum_f32(*total);
            if lane == 0 {
                self.joined_totals().store(head, total);
            }
        }
    }

    /// Adds the thread's elements of a part.
    ///
    /// # Safety
    /// Weights and sums are there.
    #[inline(always)]
    unsafe fn add(&self, values: &mut [f32; 4], head: u32, column: u32, part: &Part) {
        let (weights, sums) = (self.split_weights(head), self.sums_of(head * part.room, column));
        let mut split = 0;
        while split < part.splits {
            // SAFETY: the caller's promise.
            let (weight, sum) = unsafe { (weights.load(split), sums.load(split * Self::COLUMNS)) };
            *values = array(|e| math::fma(weight, sum[e], values[e]));
            // A step that LLVM does not know, so that it does not unroll the loop: registers are short.
            split += thread::anew(1);
        }
    }
}
