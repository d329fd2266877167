//! What `attn_decode` does with its row before attention: queries and a fresh key, rotated, and its value, go to shared memory.
use super::THREADS;
use super::split::Split;
use crate::cached::{Cached, Divisor};
use crate::rope::{Access, for_each_from};
use crate::{Kv, Ptr, row};
use cuda_std::shared::{self, Shared};
use cuda_std::{global, thread};

/// Threads that rotate queries while others make codes of a key.
const BEHIND: u32 = 64;

impl<const DIM: u32, E: Cached> Split<DIM, E> {
    /// Leaves the group's queries in shared memory, and a fresh key among the keys; rotated where the launch has angles.
    ///
    /// # Safety
    /// The whole block comes here; the row is there.
    #[inline(always)]
    pub unsafe fn share_rows(&self) {
        let half = if self.args.cos.is_null() { 0 } else { self.args.rotary_dims / 2 };
        // SAFETY: the caller's promise; the width divides the half.
        unsafe {
            let apart = E::Share::COUNT < row::GROUP;
            let (thread, heads) = (thread::thread_idx_x(), self.group + u32::from(self.adds() && !apart));
            if half.is_multiple_of(row::GROUP) {
                self.share_by::<[u32; 4]>(half, thread, (0, heads));
            } else {
                self.share_by::<u16>(half, thread, (0, heads));
            }
            if apart && self.adds() {
                // Threads behind those that the queries of a small group take.
                let thread = (thread + THREADS - BEHIND) % THREADS;
                if half.is_multiple_of(E::Share::COUNT) {
                    self.share_by::<E::Share>(half, thread, (self.group, 1));
                } else {
                    self.share_by::<u16>(half, thread, (self.group, 1));
                }
            }
        }
    }

    /// Shares `heads` heads from `first` on, as thread `thread` of the block.
    ///
    /// # Safety
    /// As for [`Split::share_rows`]; `half` and `DIM` divide by `A::COUNT`.
    #[inline(always)]
    unsafe fn share_by<A: Access>(&self, half: u32, thread: u32, (first, heads): (u32, u32)) {
        let pairs = half / A::COUNT;
        let angles = u64::from(self.position) * u64::from(half) * 2;
        // First all pairs of a head, then what no rotation reaches.
        for_each_from(
            thread,
            heads,
            DIM / A::COUNT - pairs,
            #[inline(always)]
            |head, part| {
                let head = first + head;
                let at = (if part < pairs { part } else { part + pairs }) * A::COUNT;
                let from = self.head(head) + u64::from(at) * 2;
                // SAFETY: all accesses are within the head, and this thread's own.
                unsafe {
                    let low: A = global::load(from);
                    if part < pairs {
                        let angle = angles + u64::from(at) * 2;
                        let high = global::load(from + u64::from(half) * 2);
                        let (cos, sin) =
                            (global::load(self.args.cos.addr + angle), global::load(self.args.sin.addr + angle));
                        let (low, high) = A::rotate(low, high, cos, sin);
                        self.share(head, at, low);
                        self.share(head, at + half, high);
                    } else {
                        self.share(head, at, low);
                    }
                }
            },
        );
    }

    /// Address of the group's query head `head`, or of its key behind the last of them.
    #[inline(always)]
    fn head(&self, head: u32) -> u64 {
        let number = if head < self.group { self.first_head + head } else { self.args.heads + self.kv_head };
        self.qkv + u64::from(number * DIM) * 2
    }

    /// Leaves elements of a query, or of the key behind the last of them, in shared memory; the key's also in the pool, if
    /// that is the block's to do.
    ///
    /// # Safety
    /// The elements from `at` on are the thread's own.
    #[inline(always)]
    unsafe fn share<A: Access>(&self, head: u32, at: u32, elements: A) {
        // SAFETY: the caller's promise.
        unsafe {
            if head < self.group {
                return E::share(self.queries() + head * Self::QUERY, at, elements);
            }
            self.keep(self.keys(), self.args.k_pool, at, E::made(elements, Divisor::new(self.args.k_scale)));
        }
    }

    /// Leaves elements `at` and following of the fresh key or value in its row in shared memory, and in the pool, if that is the
    /// block's to do.
    ///
    /// # Safety
    /// They are the thread's own; `place` is that of the keys or values, `pool` theirs.
    #[inline(always)]
    unsafe fn keep<T: shared::Word + global::Word>(&self, place: u32, pool: Ptr<Kv>, at: u32, elements: T) {
        // SAFETY: the caller's promise.
        unsafe {
            Shared::from_address(place + self.fresh * Self::ROW + at * E::BYTES).store(0, elements);
            if self.stores {
                global::store(pool.addr + self.offset(self.fresh) + u64::from(at * E::BYTES), elements);
            }
        }
    }

    /// Adds a fresh key's value to the values in shared memory, and to the pool if that is the block's to do.
    ///
    /// # Safety
    /// The row is there; the values' place is free.
    #[inline(always)]
    pub unsafe fn add_value(&self) {
        // The last threads: the first ones rotate.
        let group = thread::block_dim_x() - 1 - thread::thread_idx_x();
        if !self.adds() || group >= DIM / E::Share::COUNT {
            return;
        }
        let head = self.args.heads + self.args.kv_heads + self.kv_head;
        // SAFETY: the group is the thread's own.
        unsafe {
            let at = group * E::Share::COUNT;
            let value: E::Share = global::load(self.qkv + u64::from(head * DIM + at) * 2);
            let value = E::made(value, Divisor::new(self.args.v_scale));
            self.keep(self.values(), self.args.v_pool, at, value);
        }
    }
}
