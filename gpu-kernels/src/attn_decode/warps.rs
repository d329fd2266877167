//! What the warps of a block of `attn_decode` have left, joined: to the output, or to what its splits are joined from.
use super::form::Form;
use super::layout::sum_bytes;
use super::rows::Operand;
use super::score::weight;
use super::split::Split;
use super::{MOST_TURNS, THREADS, WARPS, most_partial_turns};
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{bf16, global, math, thread};

/// What the warps' keys of a head come to in a turn.
pub struct Joined {
    /// The warps' largest scores.
    maxima: [f32; WARPS as usize],
    /// The largest of all, and the sum of all weights.
    pub stats: [f32; 2],
}

impl<const DIM: u32, E: Operand, F: Form> Split<DIM, E, F> {
    /// Joins the warps' sums, and stores what they come to, or in clusters sends it.
    ///
    /// # Safety
    /// The whole block comes here, behind a barrier that follows the sums.
    #[inline(always)]
    pub unsafe fn join_warps<const CLUSTERED: bool>(&self) {
        let mut pair = thread::thread_idx_x_again();
        while pair < self.heads.count * (DIM / 2) {
            let (head, column) = (pair / (DIM / 2), pair % (DIM / 2) * 2);
            // SAFETY: the caller's promise; the elements are the thread's own.
            unsafe {
                if self.is_whole() {
                    self.store_output::<CLUSTERED>(head, column);
                } else if CLUSTERED {
                    let joined = self.joined(0, head);
                    self.send(head, column, self.joined_sums(&joined, [1, 0], head, column));
                } else {
                    self.store_partials(head, column);
                }
            }
            pair += THREADS;
        }
    }

    /// Stores two outputs, joined from the turns as [`Split::join`] joins splits.
    ///
    /// # Safety
    /// As for [`Split::join_warps`].
    #[inline(always)]
    unsafe fn store_output<const CLUSTERED: bool>(&self, head: u32, column: u32) {
        let (mut stats, mut sums) = ([[f32::NEG_INFINITY, 0.0]; MOST_TURNS as usize], [[0.0; 2]; MOST_TURNS as usize]);
        unroll::<{ MOST_TURNS as usize }>(
            #[inline(always)]
            |turn| {
                if (turn == 0 || !CLUSTERED) && self.turn_lives(turn as u32) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let joined = self.joined(turn as u32, head);
                        stats[turn] = joined.stats;
                        sums[turn] = self.joined_sums(&joined, [self.turns, turn as u32], head, column);
                    }
                }
            },
        );
        let largest = math::max(stats[0][0], stats[1][0]);
        let weights = stats.map(|[own, _]| weight(own, largest));
        let total = weights[0] * stats[0][1] + weights[1] * stats[1][1];
        let outputs = [0, 1].map(|e| math::fma(weights[1], sums[1][e], weights[0] * sums[0][e]) / total);
        // SAFETY: the elements are the thread's own.
        unsafe { global::store(self.out() + u64::from(head * DIM + column) * 2, bf16::pack(outputs)) };
    }

    /// Stores two sums of each live split, and by a head's first thread its largest score and total.
    ///
    /// # Safety
    /// As for [`Split::join_warps`].
    #[inline(always)]
    unsafe fn store_partials(&self, head: u32, column: u32) {
        let most = most_partial_turns(DIM, E::FORMAT, F::SLOTS.compact);
        let turns = if most == 1 { 1 } else { self.turns };
        unroll::<{ MOST_TURNS as usize }>(
            #[inline(always)]
            |turn| {
                let turn = turn as u32;
                if turn < most && self.turn_lives(turn) {
                    let at = self.live_at(head, self.number(turn));
                    // SAFETY: the caller's promise.
                    unsafe {
                        let joined = self.joined(turn, head);
                        let sums = self.joined_sums(&joined, [turns, turn], head, column);
                        global::store(self.args.partial.addr + (at * u64::from(DIM) + u64::from(column)) * 4, sums);
                        if column == 0 {
                            global::store(self.args.stats.addr + at * 8, joined.stats);
                        }
                    }
                }
            },
        );
    }

    /// What the warps' keys of a head come to in a turn.
    ///
    /// # Safety
    /// Behind a barrier, it is there.
    #[inline(always)]
    pub unsafe fn joined(&self, turn: u32, head: u32) -> Joined {
        let all = |of: Shared<f32>| -> [f32; WARPS as usize] {
            let of = of.cast::<[f32; 4]>();
            // SAFETY: the caller's promise.
            let [a, b] = unsafe { [of.load(head * 2), of.load(head * 2 + 1)] };
            [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
        };
        let (maxima, totals) = (all(self.maxima(turn)), all(self.totals(turn)));
        let mut largest = f32::NEG_INFINITY;
        unroll::<{ WARPS as usize }>(|i| largest = math::max(largest, maxima[i]));
        let mut total = 0.0;
        unroll::<{ WARPS as usize }>(|i| total = math::fma(weight(maxima[i], largest), totals[i], total));
        Joined { maxima, stats: [largest, total] }
    }

    /// The sums of two columns of a head, `column` and the next, in a turn of so many.
    ///
    /// # Safety
    /// As for [`Split::joined`], whose result is the head's.
    #[inline(always)]
    pub unsafe fn joined_sums(&self, joined: &Joined, turn: [u32; 2], head: u32, column: u32) -> [f32; 2] {
        let at = head * sum_bytes(DIM) + column * 4;
        // SAFETY: the caller's promise.
        let all: [[f32; 2]; WARPS as usize] =
            array(|i| unsafe { shared::Word::load(self.sums(turn, self.heads.count, i as u32) + at) });
        let mut sums = [0.0; 2];
        unroll::<{ WARPS as usize }>(|i| {
            let weight = weight(joined.maxima[i], joined.stats[0]);
            sums = [0, 1].map(|e| math::fma(weight, all[i][e], sums[e]));
        });
        let factor = E::rest(self.args.v_scale) * const { 1.0 / E::RAISE };
        sums.map(|sum| sum * factor)
    }
}
