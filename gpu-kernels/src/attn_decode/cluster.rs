//! The splits of `attn_decode` joined inside a cluster: each block adds some columns, which the others send it.
//!
//! Columns are shared out by blocks of eight: block b of B belongs to split ⌊b·n/B⌋ of n. There it has the place b·n mod B, and
//! the n − 1 behind it, one for each split: these are a split's own, since its blocks are n apart.
use super::form::Form;
use super::layout::column_blocks;
use super::rows::Operand;
use super::split::Split;
use super::{HEADS_AT_ONCE, MOST_CLUSTERED, THREADS};
use core::f32::consts::LOG2_E;
use core::num::NonZero;
use cuda_std::cluster::{self, MAILBOX_BYTES, Mailbox};
use cuda_std::shared::Shared;
use cuda_std::unroll::unroll;
use cuda_std::{bf16, fragment, global, math, thread};

/// Splits at most.
const MOST: usize = MOST_CLUSTERED as usize;

/// What two words that are sent take.
const PAIR_BYTES: u32 = 8;

impl<const DIM: u32, E: Operand, F: Form> Split<DIM, E, F> {
    /// Blocks of eight columns.
    const BLOCKS: u32 = column_blocks(DIM);
    /// Places for such a block of a head.
    const PLACES: u32 = Self::BLOCKS + MOST_CLUSTERED;

    /// What the others' sums and statistics are counted in: it stands behind the queries.
    #[inline(always)]
    fn mailbox(&self) -> u32 {
        self.behind_slots() + HEADS_AT_ONCE * Self::QUERY
    }

    /// `[MOST, HEADS_AT_ONCE]`: the largest score and the total of each split.
    #[inline(always)]
    fn sent_stats(&self) -> Shared<[f32; 2]> {
        Shared::from_address(self.mailbox() + MAILBOX_BYTES)
    }

    /// `[heads, PLACES, 8]`: sums of this block's columns.
    #[inline(always)]
    fn sent_sums(&self) -> Shared<[f32; 2]> {
        self.sent_stats().offset(MOST_CLUSTERED * HEADS_AT_ONCE)
    }

    /// Who adds the columns around `column` of the heads, and which of its places they have for split `split`.
    #[inline(always)]
    fn place_of(&self, head: u32, column: u32, split: u32) -> (u32, Shared<[f32; 2]>) {
        let scaled = column / fragment::N * self.live.count;
        let (owner, place) = (scaled / Self::BLOCKS, scaled % Self::BLOCKS + split);
        (owner, self.sent_sums().offset(((head * Self::PLACES + place) * fragment::N + column % fragment::N) / 2))
    }

    /// Opens the mailbox, and lets the cluster know.
    ///
    /// # Safety
    /// The whole block comes here once; the split is not alone.
    #[inline(always)]
    pub unsafe fn open_mailbox(&self) {
        if thread::thread_idx_x() == 0
            && let Some(count) = NonZero::new(self.live.count)
        {
            let first = |split: u32| (split * Self::BLOCKS + count.get() - 1) / count;
            let columns = (first(self.number(0) + 1) - first(self.number(0))) * fragment::N;
            let bytes = self.heads.count * count.get() * (columns * 4 + PAIR_BYTES);
            // SAFETY: nothing else is kept there.
            unsafe { Mailbox(self.mailbox()).open(bytes) };
        }
        cluster::arrive();
    }

    /// Sends the largest score and the total of each head to all splits.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier that follows the warps' sums; the split is not alone.
    #[inline(always)]
    pub unsafe fn send_stats(&self) {
        cluster::wait_for_all();
        const { assert!(MOST_CLUSTERED * HEADS_AT_ONCE <= THREADS) };
        let (split, head) = (thread::thread_idx_x() / HEADS_AT_ONCE, thread::thread_idx_x() % HEADS_AT_ONCE);
        if split < self.live.count && head < self.heads.count {
            let to = self.sent_stats().offset(self.number(0) * HEADS_AT_ONCE + head).address();
            // SAFETY: a pair per thread; the cluster's blocks have opened their mailboxes.
            unsafe { self.send_to(split, to, self.joined(0, head).stats) };
        }
    }

    /// Sends two sums, those of column `column` and the next of a head, to the split that adds them.
    ///
    /// # Safety
    /// Behind [`Split::send_stats`]; the elements are the lane's own.
    #[inline(always)]
    pub unsafe fn send(&self, head: u32, column: u32, sums: [f32; 2]) {
        let (owner, place) = self.place_of(head, column, self.number(0));
        // SAFETY: a pair per lane; the cluster's blocks have opened their mailboxes.
        unsafe { self.send_to(owner, place.address(), sums) };
    }

    /// Sends two words to an address in the shared memory of a live split's block.
    ///
    /// # Safety
    /// As for [`Mailbox::send`].
    #[inline(always)]
    unsafe fn send_to(&self, split: u32, address: u32, words: [f32; 2]) {
        let rank = self.live.first + split;
        let mailbox = Mailbox(cluster::address_in(rank, self.mailbox()));
        // SAFETY: the caller's promise.
        unsafe { mailbox.send(cluster::address_in(rank, address), words) };
    }

    /// Joins what was sent, and stores the outputs of the block's columns.
    ///
    /// # Safety
    /// The whole block comes here; every live split sends.
    #[inline(always)]
    pub unsafe fn join_sent(&self) {
        // SAFETY: it was opened in front of several barriers.
        unsafe { Mailbox(self.mailbox()).wait() };
        let mut pair = thread::thread_idx_x();
        while pair < self.heads.count * (DIM / 2) {
            let (head, column) = (pair / (DIM / 2), pair % (DIM / 2) * 2);
            let (owner, place) = self.place_of(head, column, 0);
            if owner == self.number(0) {
                // SAFETY: all has come.
                let joined = bf16::pack(unsafe { self.joined_output(head, place) });
                // SAFETY: within the head; the elements are the thread's own.
                unsafe { global::store(self.out() + u64::from(head * DIM + column) * 2, joined) };
            }
            pair += THREADS;
        }
    }

    /// Two outputs of a head, whose sums are from `place` on, in the order of [`Split::join`].
    ///
    /// # Safety
    /// All has come.
    #[inline(always)]
    unsafe fn joined_output(&self, head: u32, place: Shared<[f32; 2]>) -> [f32; 2] {
        let (mut stats, mut sums) = ([[f32::NEG_INFINITY, 0.0]; MOST], [[0.0; 2]; MOST]);
        unroll::<MOST>(|i| {
            if (i as u32) < self.live.count {
                // SAFETY: the caller's promise.
                unsafe {
                    stats[i] = self.sent_stats().load(i as u32 * HEADS_AT_ONCE + head);
                    sums[i] = place.load(i as u32 * (fragment::N / 2));
                }
            }
        });
        let (mut largest, mut values, mut totals) = (f32::NEG_INFINITY, [0.0; 2], [0.0; MOST]);
        unroll::<MOST>(|i| largest = math::max(largest, stats[i][0]));
        unroll::<MOST>(|i| {
            if (i as u32) < self.live.count {
                let weight = math::ex2_flushed((stats[i][0] - largest) * LOG2_E);
                totals[i] = math::fma(weight, stats[i][1], 0.0);
                values = [0, 1].map(|e| math::fma(weight, sums[i][e], values[e]));
            }
        });
        let pairs: [f32; MOST / 2] = cuda_std::unroll::array(|i| totals[i] + totals[i + MOST / 2]);
        let total = (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]);
        values.map(|value| value / total)
    }
}
