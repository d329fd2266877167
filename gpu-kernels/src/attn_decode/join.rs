//! The splits of `attn_decode` joined by the last of their blocks.
use super::split::Split;
use super::{THREADS, WARPS, split_bytes};
use crate::row;
use core::f32::consts::LOG2_E;
use core::num::NonZero;
use cuda_std::barrier::sync_threads;
use cuda_std::shared::Shared;
use cuda_std::unroll::array;
use cuda_std::{bf16, cp_async, global, math, thread};

/// What a head's splits so far add up to, for four of its elements.
struct Sums {
    largest: f32,
    total: f32,
    values: [f32; 4],
}

impl<const DIM: u32> Split<DIM> {
    /// Four elements each of a head.
    const COLUMNS: u32 = DIM / 4;
    /// Heads that are joined at once: a thread owns four elements.
    const HEADS: u32 = THREADS / Self::COLUMNS;
    /// Bytes of a head's split: its sums, its maximum and its total.
    const BYTES: u32 = DIM * 4 + 8;

    /// Counts this block; whether it is the last of its sequence and team, so that it sees what all the others stored.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier that follows its stores.
    #[inline(always)]
    pub unsafe fn arrives_last(&self) -> bool {
        let flag = self.maxima().cast::<u32>();
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

    /// Joins all live splits and stores the outputs of the team.
    ///
    /// # Safety
    /// The whole block comes here, done with keys and values; all splits are stored.
    #[inline(always)]
    pub unsafe fn join(&self) {
        let mut head = 0;
        while head < self.group {
            // SAFETY: the whole block is here.
            unsafe { self.join_heads(head, (self.group - head).min(Self::HEADS)) };
            head += Self::HEADS;
        }
    }

    /// Joins `heads` heads from `first` on, as many splits at a time as the keys' place has room for.
    ///
    /// # Safety
    /// As for [`Split::join`]; there are so many.
    #[inline(always)]
    unsafe fn join_heads(&self, first: u32, heads: u32) {
        let (head, column) = (thread::thread_idx_x() / Self::COLUMNS, thread::thread_idx_x() % Self::COLUMNS);
        // A divisor that may be zero would bring a panic, and its message, into the kernel.
        let Some(bytes) = NonZero::new(heads * Self::BYTES) else { return };
        let room = split_bytes(DIM) / bytes;
        let mut sums = Sums { largest: f32::NEG_INFINITY, total: 0.0, values: [0.0; 4] };
        let mut split = 0;
        while split < self.live.count {
            let count = (self.live.count - split).min(room);
            // SAFETY: the splits are live; the barriers are for the whole block.
            unsafe {
                self.bring([first, heads], [split, count], room);
                cp_async::wait::<0>();
                sync_threads();
                if head < heads {
                    self.add(
                        &mut sums,
                        self.place(head * room, column),
                        self.stats(heads * room).offset(head * room),
                        count,
                    );
                }
                sync_threads();
            }
            split += count;
        }
        if head < heads {
            let values = sums.values.map(|value| value / sums.total);
            let pairs = [bf16::pack([values[0], values[1]]), bf16::pack([values[2], values[3]])];
            // SAFETY: within the head, 8-byte aligned; the elements are the thread's own.
            unsafe { global::store(self.out + u64::from((first + head) * DIM + column * 4) * 2, pairs) };
        }
    }

    /// Four elements of the `number`-th split in shared memory.
    #[inline(always)]
    fn place(&self, number: u32, column: u32) -> Shared<[f32; 4]> {
        Shared::from_address(self.keys()).offset(number * Self::COLUMNS + column)
    }

    /// Maximum and total of each split in shared memory, behind `room` splits.
    #[inline(always)]
    fn stats(&self, room: u32) -> Shared<[f32; 2]> {
        self.place(room, 0).cast()
    }

    /// Brings `count` live splits from `split` on of `heads` heads from `first` on to shared memory, `room` for each head.
    ///
    /// # Safety
    /// The whole block comes here; they are there, and the place is free.
    #[inline(always)]
    unsafe fn bring(&self, [first, heads]: [u32; 2], [split, count]: [u32; 2], room: u32) {
        let (row, column) = (thread::thread_idx_x() / Self::COLUMNS, thread::thread_idx_x() % Self::COLUMNS);
        let mut head = 0;
        while head < heads {
            let from =
                self.index + u64::from(first + head) * u64::from(self.args.splits) + u64::from(self.live.first + split);
            let mut at = if row < Self::HEADS { row } else { count };
            while at < count {
                let address = self.args.partial.addr + (from + u64::from(at)) * u64::from(DIM * 4);
                // SAFETY: the split is live.
                unsafe { cp_async::copy_16(self.place(head * room + at, column).address(), row::at(address, column)) };
                at += Self::HEADS;
            }
            let mut at = if thread::warp_id() == head % WARPS { thread::lane_id() } else { count };
            while at < count {
                // SAFETY: as above.
                unsafe {
                    let stats: [f32; 2] = global::load(self.args.stats.addr + (from + u64::from(at)) * 8);
                    self.stats(heads * room).store(head * room + at, stats);
                }
                at += thread::WARP_SIZE;
            }
            head += 1;
        }
        cp_async::commit();
    }

    /// Adds `count` splits: the thread's elements are from `parts` on, a head's apart, maxima and totals from `stats` on.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn add(&self, sums: &mut Sums, parts: Shared<[f32; 4]>, stats: Shared<[f32; 2]>, count: u32) {
        let mut largest = sums.largest;
        for i in 0..count {
            // SAFETY: the caller's promise.
            largest = math::max(largest, unsafe { stats.load(i) }[0]);
        }
        let rescale = math::ex2_flushed((sums.largest - largest) * LOG2_E);
        sums.total *= rescale;
        sums.values = sums.values.map(|value| value * rescale);
        sums.largest = largest;
        for i in 0..count {
            // SAFETY: the caller's promise.
            let ([split_largest, total], part) = unsafe { (stats.load(i), parts.load(i * Self::COLUMNS)) };
            let weight = math::ex2_flushed((split_largest - largest) * LOG2_E);
            sums.total = math::fma(weight, total, sums.total);
            sums.values = array(|e| math::fma(weight, part[e], sums.values[e]));
        }
    }
}
