//! What `attn_decode` does with its row before attention: queries and a fresh key, rotated, and its value, go to shared memory.
use super::form::Form;
use super::split::Split;
use super::{HEADS_AT_ONCE, THREADS, WARPS};
use crate::cached::{Cached, Divisor};
use crate::rope::{Access, for_each_from};
use crate::row;
use cuda_std::unroll::unroll;
use cuda_std::{f16, global, shared, thread, warp};

/// Threads that rotate queries while others make codes of a key.
const BEHIND: u32 = 128;

/// Pairs of elements that a lane has of the largest head.
const MOST_PAIRS: usize = 4;

impl<const DIM: u32, E: Cached, F: Form> Split<DIM, E, F> {
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
                return shared::Word::store(self.queries() + head * Self::QUERY + at * 2, elements);
            }
            shared::Word::store(self.fresh_rows() + at * E::BYTES, E::made(elements, Divisor::new(self.args.k_scale)));
        }
    }

    /// Makes operands of the queries where they meet codes: f16, times a power of two of each head's own, behind which its inverse is left.
    ///
    /// # Safety
    /// The whole block comes here, between two barriers: the queries are there, and nobody has read them.
    #[inline(always)]
    pub unsafe fn scale_queries(&self) {
        const { assert!(HEADS_AT_ONCE <= WARPS) };
        let (head, lane) = (thread::warp_id(), thread::lane_id());
        if head >= self.heads.count {
            return;
        }
        let row = self.queries() + head * Self::QUERY;
        let pair = |i: usize| lane + i as u32 * thread::WARP_SIZE;
        // SAFETY: a head is a warp's, a pair a lane's; the whole warp is here.
        unsafe {
            let mut pairs = [0; MOST_PAIRS];
            let mut most = 0;
            unroll::<MOST_PAIRS>(
                #[inline(always)]
                |i| {
                    if pair(i) < DIM / 2 {
                        pairs[i] = shared::Word::load(row + pair(i) * 4);
                        most = most.max(f16::larger(pairs[i]));
                    }
                },
            );
            let (factor, inverse) = f16::factor(warp::max_u32(most));
            unroll::<MOST_PAIRS>(
                #[inline(always)]
                |i| {
                    if pair(i) < DIM / 2 {
                        shared::Word::store(row + pair(i) * 4, f16::scaled(pairs[i], factor));
                    }
                },
            );
            if lane == 0 {
                shared::Word::store(row + DIM * 2, inverse);
            }
        }
    }

    /// What the scores of the query in a row of shared memory are still to be multiplied by.
    ///
    /// # Safety
    /// It is there, behind [`Split::scale_queries`] where that is called.
    #[inline(always)]
    pub unsafe fn rest_of_query(&self, row: u32) -> f32 {
        // SAFETY: the caller's promise.
        if E::BYTES == 1 { unsafe { shared::Word::load(row + DIM * 2) } } else { 1.0 }
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
