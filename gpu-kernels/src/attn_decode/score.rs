//! Scores, weights and sums of a warp's keys of a turn.
use super::WARPS;
use super::form::Form;
use super::layout::sum_bytes;
use super::rows::{KEYS, Keys, Operand, Piece, Values};
use super::split::{Split, own_lane, own_warp};
use core::f32::consts::LOG2_E;
use cuda_std::shared::{self, Shared};
use cuda_std::unroll::{array, unroll};
use cuda_std::{cp_async, math, thread, warp};

/// A lane's scores: of its query head, those of two keys, and of the two that are eight further on.
type Scores = [[f32; 2]; 2];

/// The sums of two neighbouring heads, in eight columns: `c` of `mma`, four times.
type Columns = [[f32; 4]; 4];

impl<const DIM: u32, E: Operand, F: Form> Split<DIM, E, F> {
    /// Works through the warp's keys turn by turn, the first of which are asked for, and leaves in shared memory what they come to. A
    /// lane has `K` pieces of a key, `V` of a value; in clusters there is one turn.
    ///
    /// # Safety
    /// The whole warp comes here; behind a barrier, queries and fresh rows are there.
    #[inline(always)]
    pub unsafe fn work<const K: usize, const V: usize, const CLUSTERED: bool>(&self) {
        // SAFETY: they are there, and read again each time: registers are short.
        let turns = || if CLUSTERED { 1 } else { unsafe { self.kept().load(0)[0] } };
        let mut turn = 0;
        while turn < turns() {
            let next = thread::anew(turn + 1);
            let sums = || self.sums([turns(), turn], self.kept_heads(), own_warp());
            // SAFETY: the whole warp is here.
            unsafe {
                if self.warp_lives(turn) {
                    let asked = (next < turns() && self.warp_lives(next)).then_some(next);
                    self.work_through::<K, V>(turn, asked, sums);
                } else {
                    // Zeros, so that the join need not ask whether the warp had keys.
                    self.leave_stats(turn, [f32::NEG_INFINITY, 0.0]);
                    unroll::<V>(|n| self.leave(sums(), own_lane() / 4 + n as u32 * 8, &[[0.0; 4]; 4]));
                }
            }
            turn = next;
        }
    }

    /// Works through the warp's keys of a turn, and asks for those of turn `next`. Groups of copies come in order: keys, values, the next
    /// turn's keys, its values; a wait leaves the newest under way. Where values take the keys' place, they come when the scores are
    /// done, and keys behind them.
    ///
    /// # Safety
    /// As for [`Split::work`].
    #[inline(always)]
    unsafe fn work_through<const K: usize, const V: usize>(
        &self,
        turn: u32,
        next: Option<u32>,
        sums: impl Fn() -> u32,
    ) {
        let adds = self.adds(turn);
        // SAFETY: the whole warp is here.
        unsafe {
            cp_async::wait::<1>();
            warp::sync();
            if adds {
                self.add_fresh::<Keys>(turn);
            }
            let scores = self.score::<K>(turn);
            // The keys' place is free: for the next ones, or for values.
            warp::sync();
            if F::SLOTS.compact {
                self.ask::<Values>(turn);
            } else if let Some(next) = next {
                self.ask::<Keys>(next);
            }
            cp_async::commit();
            let (stats, weights) = weigh::<E>(scores);
            if F::SLOTS.compact {
                cp_async::wait::<0>();
            } else {
                cp_async::wait::<1>();
            }
            warp::sync();
            if adds {
                self.add_fresh::<Values>(turn);
            }
            let taken = || {
                if let (true, Some(next)) = (F::SLOTS.compact, next) {
                    self.ask::<Keys>(next);
                }
            };
            self.add_values::<V>(sums, weights, taken);
            self.leave_stats(turn, stats);
            // All lanes are done with the values: the tensor core, for which they meet, has them.
            if F::SLOTS.compact {
                cp_async::commit();
            } else if let Some(next) = next {
                self.ask::<Values>(next);
            }
            cp_async::commit();
        }
    }

    /// The lane's scores; of keys that are not live, −∞.
    ///
    /// # Safety
    /// The whole warp comes here; queries and keys are there.
    #[inline(always)]
    unsafe fn score<const K: usize>(&self, turn: u32) -> Scores {
        let lane = own_lane();
        let query = self.queries() + (lane / 4).min(self.kept_heads() - 1) * Self::QUERY + lane % 4 * 16;
        let key = thread::anew(self.piece_at::<Keys>(E::row(lane / 4), lane % 4));
        let mut scores = [[0.0; 4]; 2];
        unroll::<K>(
            #[inline(always)]
            |n| {
                // SAFETY: the whole warp is here; the pieces are within their rows.
                unsafe {
                    let query: [u32; 4] = shared::Word::load(query + n as u32 * 64);
                    unroll::<2>(
                        #[inline(always)]
                        |i| {
                            let key: Piece<E> =
                                shared::Word::load(key + Self::between::<Keys>(i as u32 * 8, n as u32 * 4));
                            let key = E::widen(key);
                            // There are no queries in the lower rows.
                            let [first, second] = [[query[0], 0, query[1], 0], [query[2], 0, query[3], 0]];
                            scores[i] = E::multiply(first, [key[0], key[1]], scores[i]);
                            scores[i] = E::multiply(second, [key[2], key[3]], scores[i]);
                        },
                    );
                }
            },
        );
        // SAFETY: the query is there.
        let rest = unsafe { self.rest_of_query(query - lane % 4 * 16) };
        let factor = self.args.scale * E::rest(self.args.k_scale);
        let masked = |i: usize, e: usize| {
            let lives = self.lives(self.base(turn) + E::row(lane % 4 * 2 + e as u32) + i as u32 * 8);
            if lives { scores[i][e] * rest * factor } else { f32::NEG_INFINITY }
        };
        [[masked(0, 0), masked(0, 1)], [masked(1, 0), masked(1, 1)]]
    }

    /// Leaves the sums of the weighted values at the shared address that `sums` gives. Where they took the keys' place, calls `taken`
    /// when all lanes have the last of them: nobody reads the place any more.
    ///
    /// # Safety
    /// The whole warp comes here; values are there, and it is done with the keys.
    #[inline(always)]
    unsafe fn add_values<const V: usize>(&self, sums: impl Fn() -> u32, weights: [u32; 2], taken: impl Fn()) {
        const { assert!(KEYS == 16) };
        let (lane, mut columns) = (own_lane(), [[[0.0; 4]; 4]; V]);
        unroll::<V>(
            #[inline(always)]
            |n| {
                // Behind the last piece, that once more, for columns that nobody stores.
                let piece = (lane / 4 + n as u32 * 8).min(Self::PIECES - 1);
                let rows: [Piece<E>; 4] = array(|i| {
                    let row = E::row(lane % 4 * 2 + i as u32 % 2) + i as u32 / 2 * 8;
                    // SAFETY: the piece is within its row.
                    unsafe { shared::Word::load(self.piece_at::<Values>(row, piece)) }
                });
                if F::SLOTS.compact && n + 1 == V {
                    // SAFETY: the whole warp is here; behind this, it has all values.
                    unsafe {
                        warp::sync();
                        taken();
                        unroll::<V>(|n| {
                            if n + 1 < V {
                                self.leave(sums(), lane / 4 + n as u32 * 8, &columns[n])
                            }
                        });
                    }
                }
                unroll::<4>(
                    #[inline(always)]
                    |e| {
                        let pair = |row: usize, last| E::pair(rows[row], rows[row + 1], last, e);
                        let values = [pair(0, false), pair(0, true), pair(2, false), pair(2, true)];
                        // SAFETY: the whole warp is here.
                        columns[n][e] = unsafe { E::multiply(values, weights, [0.0; 4]) };
                    },
                );
                if !F::SLOTS.compact || n + 1 == V {
                    // SAFETY: the whole warp is here.
                    unsafe { self.leave(sums(), lane / 4 + n as u32 * 8, &columns[n]) };
                }
            },
        );
    }

    /// Leaves the largest score and the sum of weights of the lane's head.
    ///
    /// # Safety
    /// The whole warp comes here; the four lanes of a head have the same.
    #[inline(always)]
    pub unsafe fn leave_stats(&self, turn: u32, [largest, total]: [f32; 2]) {
        let (lane, warp) = (own_lane(), own_warp());
        if lane.is_multiple_of(4) {
            // SAFETY: the words are the lane's own.
            unsafe {
                self.maxima(turn).store(lane / 4 * WARPS + warp, largest);
                self.totals(turn).store(lane / 4 * WARPS + warp, total);
            }
        }
    }

    /// Leaves sums of the columns of piece `piece`, still without [`Cached::rest`].
    ///
    /// # Safety
    /// The whole warp comes here, done with its keys, and with values where they took the keys' place.
    #[inline(always)]
    unsafe fn leave(&self, sums: u32, piece: u32, columns: &Columns) {
        let (lane, heads) = (own_lane(), self.kept_heads());
        unroll::<2>(
            #[inline(always)]
            |own| {
                let head = lane % 4 * 2 + own as u32;
                if head < heads && piece < Self::PIECES {
                    let four = |half: usize| array(|e| columns[e][half * 2 + own]);
                    // SAFETY: the words are the lane's own.
                    unsafe {
                        let to = Shared::<[f32; 4]>::from_address(sums + head * sum_bytes(DIM));
                        to.store(piece * 2, four(0));
                        to.store(piece * 2 + 1, four(1));
                    }
                }
            },
        );
    }
}

/// The largest score of the lane's head and the sum of its weights, and these as operand b.
///
/// # Safety
/// The whole warp comes here.
#[inline(always)]
unsafe fn weigh<E: Operand>(scores: Scores) -> ([f32; 2], [u32; 2]) {
    let own = math::max(math::max(scores[0][0], scores[0][1]), math::max(scores[1][0], scores[1][1]));
    // SAFETY: the whole warp is here.
    let largest = unsafe { warp::reduce::<4, f32>(own, math::max) };
    let weights = scores.map(|pair| pair.map(|score| weight(score, largest)));
    let total = (weights[0][0] + weights[0][1]) + (weights[1][0] + weights[1][1]);
    // SAFETY: the whole warp is here.
    let total = unsafe { warp::reduce::<4, f32>(total, |a, b| a + b) };
    ([largest, total], weights.map(E::weights))
}

/// What a weight or sums are multiplied by whose score or largest score is `own`, where the largest of all is `largest`.
#[inline(always)]
pub fn weight(own: f32, largest: f32) -> f32 {
    math::ex2_flushed((own - largest) * LOG2_E)
}
