//! What `attn_decode` does with its row before attention: queries and a fresh key, rotated, and its value, go to shared memory.
use super::THREADS;
use super::split::Split;
use crate::cached::{Cached, Divisor};
use crate::rope::{Access, for_each_from};
use crate::row;
use cuda_std::shared;
use cuda_std::{global, thread};

/// Threads that rotate queries while others make codes of a key.
const BEHIND: u32 = 128;

impl<const DIM: u32, E: Cached, const COMPACT: bool> Split<DIM, E, COMPACT> {
    /// Leaves the team's queries and a fresh key in shared memory; rotated where the launch has angles.
    ///
    /// # Safety
    /// The whole block comes here; the row is there.
    #[inline(always)]
    pub unsafe fn share_rows(&self) {
        let half = if self.args.cos.is_null() { 0 } else { self.args.rotary_dims / 2 };
        // SAFETY: the caller's promise; the width divides the half. Wider ones would take the registers of keys under way.
        unsafe {
            if half.is_multiple_of(u32::COUNT) {
                self.share_all::<u32>(half);
            } else {
                self.share_all::<u16>(half);
            }
        }
    }

    /// Shares the queries and a fresh key.
    ///
    /// # Safety
    /// As for [`Split::share_rows`]; `half` divides by `A::COUNT`.
    #[inline(always)]
    unsafe fn share_all<A: Access>(&self, half: u32) {
        let (thread, fresh) = (thread::thread_idx_x(), u32::from(self.has_fresh()));
        // SAFETY: the caller's promise.
        unsafe {
            if E::BYTES == 2 {
                return self.share_by::<A>(half, thread, (0, self.heads.count + fresh));
            }
            self.share_by::<A>(half, thread, (0, self.heads.count));
            // To make codes costs many instructions: threads behind those that the queries of a small group take.
            self.share_by::<A>(half, (thread + THREADS - BEHIND) % THREADS, (self.heads.count, fresh));
        }
    }

    /// Shares `heads` heads from `first` on, as thread `thread` of the block.
    ///
    /// # Safety
    /// As for [`Split::share_rows`]; `half` and `DIM` divide by `A::COUNT`.
    #[inline(always)]
    unsafe fn share_by<A: Access>(&self, half: u32, thread: u32, (first, heads): (u32, u32)) {
        let pairs = half / A::COUNT;
        let angles = u64::from(self.length - 1) * u64::from(half) * 2;
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

    /// Address of the team's query head `head`, or of its key behind the last of them.
    #[inline(always)]
    fn head(&self, head: u32) -> u64 {
        let number =
            if head < self.heads.count { self.heads.first + head } else { self.args.heads + self.heads.kv_head };
        self.qkv() + u64::from(number * DIM) * 2
    }

    /// Leaves elements of a query, or of the key behind the last of them, in shared memory.
    ///
    /// # Safety
    /// The elements from `at` on are the thread's own.
    #[inline(always)]
    unsafe fn share<A: Access>(&self, head: u32, at: u32, elements: A) {
        // SAFETY: the caller's promise.
        unsafe {
            if head < self.heads.count {
                return E::share(self.queries() + head * Self::QUERY, at, elements);
            }
            shared::Word::store(self.fresh_rows() + at * E::BYTES, E::made(elements, Divisor::new(self.args.k_scale)));
        }
    }

    /// Leaves a fresh key's value behind it in shared memory.
    ///
    /// # Safety
    /// The whole block comes here; the row is there.
    #[inline(always)]
    pub unsafe fn share_value(&self) {
        // The last threads: the first ones rotate.
        let pair = THREADS - 1 - thread::thread_idx_x();
        if !self.has_fresh() || pair >= DIM / u32::COUNT {
            return;
        }
        let head = self.args.heads + self.args.kv_heads + self.heads.kv_head;
        // SAFETY: the pair is the thread's own.
        unsafe {
            let at = pair * u32::COUNT;
            let value: u32 = global::load(self.qkv() + u64::from(head * DIM + at) * 2);
            let to = self.fresh_rows() + Self::BYTES + at * E::BYTES;
            shared::Word::store(to, E::made(value, Divisor::new(self.args.v_scale)));
        }
    }
}
