//! The splits of `attn_decode` joined by the last of their blocks.
use super::split::Split;
use super::{HEADS_AT_ONCE, Shape};
use core::array::from_fn;
use cuda_std::barrier::sync_threads;
use cuda_std::unroll::{array, unroll};
use cuda_std::{global, math, thread, warp};

const HEADS: usize = HEADS_AT_ONCE as usize;
/// Splits of each head that a thread asks for at once: with more, the kernel takes more than 128 registers a thread.
const AHEAD: usize = 2;

impl<const DIM: u32> Split<DIM> {
    /// Four elements each of a head.
    const COLUMNS: u32 = DIM / 4;
    /// Sums that the splits of a head are added to in turn.
    const PARTS: u32 = 256 / Self::COLUMNS;
    /// Whether the block has threads for all of them.
    const AT_ONCE: bool = Self::PARTS * Self::COLUMNS <= Shape::of(DIM).threads();

    /// Counts this block; whether it is the last of its sequence and kv head, so that it sees what all the others stored.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier that follows its stores.
    #[inline(always)]
    pub unsafe fn arrives_last(&self) -> bool {
        let flag = self.stats.cast::<u32>();
        // SAFETY: one thread counts, between two barriers of the block, which order the others' accesses.
        unsafe {
            if thread::thread_idx_x() == thread::block_dim_x() - 1 {
                let counter = self.args.counters.addr + self.counter * 4;
                let last = global::atomic_add(counter, 1) + 1 == self.live.count;
                if last {
                    global::store(counter, 0_u32);
                }
                flag.store(0, u32::from(last));
            }
            sync_threads();
            flag.load(0) != 0
        }
    }

    /// Joins all live splits and stores the outputs of the group.
    ///
    /// # Safety
    /// The whole block comes here; all splits are stored.
    #[inline(always)]
    pub unsafe fn join(&self) {
        // SAFETY: the whole block is here.
        unsafe {
            let mut first = 0;
            while first < Self::PARTS {
                self.leave_sums(first + thread::thread_idx_x() / Self::COLUMNS);
                // Where once is not enough, a step that LLVM does not know, so that it does not unroll the loop.
                first += if Self::AT_ONCE { Self::PARTS } else { thread::block_dim_x() / Self::COLUMNS };
            }
            sync_threads();
            self.join_sums();
        }
    }

    /// Leaves in shared memory what every `PARTS`-th split from `part` on adds to four elements of `HEADS` query heads,
    /// and to their sums of weights.
    ///
    /// # Safety
    /// The whole warp comes here; all splits are stored.
    #[inline(always)]
    unsafe fn leave_sums(&self, part: u32) {
        let column = thread::thread_idx_x() % Self::COLUMNS;
        // Threads that are left over have no split.
        let mut split = if part < Self::PARTS { part } else { self.live.count };
        // The elements do not wait for the maximum.
        // SAFETY: only live splits are read; the whole warp is here.
        let (mut elements, largest) = unsafe { (self.elements(split, column), self.largest()) };
        let (mut values, mut weights) = ([[0.0; 4]; HEADS], [0.0; HEADS]);
        while split < self.live.count {
            unroll::<AHEAD>(
                #[inline(always)]
                |i| {
                    let split = split + i as u32 * Self::PARTS;
                    if split < self.live.count {
                        // SAFETY: the split is live.
                        let stats: [[f32; 2]; HEADS] = array(
                            #[inline(always)]
                            |h| unsafe { global::load(self.stat_address(h as u32, split)) },
                        );
                        unroll::<HEADS>(
                            #[inline(always)]
                            |h| {
                                let weight = math::exp(stats[h][0] - largest[h]);
                                weights[h] = math::fma(weight, stats[h][1], weights[h]);
                                unroll::<4>(|e| values[h][e] = math::fma(weight, elements[h][i][e], values[h][e]));
                            },
                        );
                    }
                },
            );
            split += AHEAD as u32 * Self::PARTS;
            // SAFETY: only live splits are read.
            elements = unsafe { self.elements(split, column) };
        }
        if part < Self::PARTS {
            unroll::<HEADS>(|h| {
                let at = part * HEADS_AT_ONCE + h as u32;
                // SAFETY: the words are the thread's own.
                unsafe {
                    self.sums.cast::<[f32; 4]>().store(at * Self::COLUMNS + column, values[h]);
                    if column == 0 {
                        self.scores.store(at, weights[h]);
                    }
                }
            });
        }
    }

    /// Stores the quotients of the sums of all parts, in their order; a thread takes four elements.
    ///
    /// # Safety
    /// Behind a barrier, all sums are there.
    #[inline(always)]
    unsafe fn join_sums(&self) {
        let (head, column) = (thread::thread_idx_x() / Self::COLUMNS, thread::thread_idx_x() % Self::COLUMNS);
        if head >= self.group {
            return;
        }
        let sums = |part: u32| -> ([f32; 4], f32) {
            let at = part * HEADS_AT_ONCE + head;
            // SAFETY: the caller's promise.
            unsafe { (self.sums.cast::<[f32; 4]>().load(at * Self::COLUMNS + column), self.scores.load(at)) }
        };
        let (mut values, mut weights) = sums(0);
        for part in 1..self.live.count.min(Self::PARTS) {
            let more = sums(part);
            unroll::<4>(|e| values[e] += more.0[e]);
            weights += more.1;
        }
        // SAFETY: the elements are the thread's own.
        unsafe { self.store_out(head, column, values.map(|value| value / weights)) };
    }

    /// Index in `stats` of the `split`-th live one of query head `head`; of the last, where there is no such head.
    #[inline(always)]
    fn live_at(&self, head: u32, split: u32) -> u64 {
        let head = head.min(self.group - 1);
        self.index + u64::from(head) * u64::from(self.args.splits) + u64::from(self.live.first + split)
    }

    /// Four elements of each of `AHEAD` live splits, `PARTS` apart, of `HEADS` heads; zeros behind the last split.
    ///
    /// # Safety
    /// `column` is within the head; all splits are stored.
    #[inline(always)]
    unsafe fn elements(&self, split: u32, column: u32) -> [[[f32; 4]; AHEAD]; HEADS] {
        array(
            #[inline(always)]
            |h| {
                let head = h as u32;
                let first = self.args.partial.addr + u64::from(column * 16);
                array(
                    #[inline(always)]
                    |i| {
                        let split = split + i as u32 * Self::PARTS;
                        if split >= self.live.count || head >= self.group {
                            return [0.0; 4];
                        }
                        // SAFETY: the split is live, the elements within it.
                        unsafe { global::load(first + self.live_at(head, split) * u64::from(DIM * 4)) }
                    },
                )
            },
        )
    }

    /// Address of maximum and sum of a split.
    #[inline(always)]
    fn stat_address(&self, head: u32, split: u32) -> u64 {
        self.args.stats.addr + self.live_at(head, split) * 8
    }

    /// The maxima over the live splits of `HEADS` query heads.
    ///
    /// # Safety
    /// The whole warp comes here; all splits are stored.
    #[inline(always)]
    unsafe fn largest(&self) -> [f32; HEADS] {
        let mut largest = [f32::NEG_INFINITY; HEADS];
        let last = self.live.count - 1;
        let mut first = 0;
        while first <= last {
            // A split beyond the last is read as the last, so that all are asked for at once.
            let maxima: [[f32; AHEAD]; HEADS] = array(
                #[inline(always)]
                |h| {
                    array(
                        #[inline(always)]
                        |i| {
                            let split = (first + i as u32 * thread::WARP_SIZE + thread::lane_id()).min(last);
                            // SAFETY: the split is live.
                            unsafe { global::load(self.stat_address(h as u32, split)) }
                        },
                    )
                },
            );
            unroll::<HEADS>(|h| largest[h] = maxima[h].into_iter().fold(largest[h], math::max));
            first += AHEAD as u32 * thread::WARP_SIZE;
        }
        // SAFETY: the whole warp is here.
        from_fn(|h| unsafe { warp::max_f32(largest[h]) })
    }
}
