//! The order in which the warpgroups of a block start their products.
use cuda_std::barrier::{arrive_named, sync_named};
use cuda_std::wgmma::THREADS;

/// One warpgroup's place in the circle: while it multiplies, others weigh.
///
/// Who takes a turn knows that what the others had done before they last passed theirs on is done: copies of the step
/// that begins, products of the step before the last.
#[derive(Clone, Copy)]
pub struct Turns {
    /// Barriers at which this one waits for its turn, and at which the next one does.
    own: u32,
    next: u32,
}

impl Turns {
    /// The place of warpgroup `member` of `team`; the first one has the first turn.
    ///
    /// # Safety
    /// The whole warpgroup comes here.
    #[inline(always)]
    pub unsafe fn begin(member: u32, team: u32) -> Turns {
        let turns = Turns { own: 1 + member, next: if member + 1 == team { 1 } else { 2 + member } };
        if turns.next == 1 {
            // SAFETY: the caller's promise.
            unsafe { turns.pass() };
        }
        turns
    }

    /// Waits for the turn.
    ///
    /// # Safety
    /// The whole warpgroup comes here, and passes the turn on before it takes another.
    #[inline(always)]
    pub unsafe fn take(self) {
        // SAFETY: the one before arrives, this one waits; alone it does both.
        unsafe { sync_named(self.own, 2 * THREADS) }
    }

    /// Gives the turn to the next.
    ///
    /// # Safety
    /// The whole warpgroup comes here, which has the turn.
    #[inline(always)]
    pub unsafe fn pass(self) {
        // SAFETY: the next one waits there.
        unsafe { arrive_named(self.next, 2 * THREADS) }
    }

    /// Gives the last turn to the next, if there is one.
    ///
    /// # Safety
    /// As for [`Turns::pass`].
    #[inline(always)]
    pub unsafe fn end(self) {
        if self.next > 1 {
            // SAFETY: the caller's promise.
            unsafe { self.pass() };
        }
    }
}
