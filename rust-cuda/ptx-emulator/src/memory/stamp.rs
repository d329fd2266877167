//! Who touched a byte of shared memory last, and whether a later access is ordered behind that.
//!
//! Every warp has a clock. A barrier sets the clocks of all its warps one past the latest of them, and each warp then
//! *knows* every other up to that latest tick; a warp's own collectives only advance its own clock. An access is
//! ordered behind an earlier one when the earlier one's stamp is known to the accessing warp.

use crate::lanes::LANES;

/// Warps in a block, at most.
pub const WARPS: usize = 32;
/// Clocks beyond this do not fit a stamp. They stop here, where every access counts as ordered: races may then be
/// overlooked, but none is made up.
pub const MAX_CLOCK: u32 = (1 << 20) - 2;

/// Clock in the upper 20 bits, two bits of kind, thread in the lower 10. Zero: never touched.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stamp(pub u32);

/// What a stamp stands for besides its thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// One thread.
    Thread = 0,
    /// Several threads of the same warp as the one named.
    Warp = 1,
    /// Threads of several warps.
    Block = 2,
    /// One thread, by an atomic or other strong access.
    Strong = 3,
}

impl Stamp {
    /// The destination of an asynchronous copy that has not been waited for.
    pub const IN_FLIGHT: Stamp = Stamp(u32::MAX);

    #[inline(always)]
    pub fn new(clock: u32, who: Who, thread: u32) -> Stamp {
        Stamp(clock << 12 | (who as u32) << 10 | thread)
    }

    pub fn clock(self) -> u32 {
        self.0 >> 12
    }

    pub fn thread(self) -> u32 {
        self.0 & 1023
    }

    pub fn warp(self) -> usize {
        self.thread() as usize / LANES
    }

    pub fn who(self) -> Who {
        match self.0 >> 10 & 3 {
            0 => Who::Thread,
            1 => Who::Warp,
            2 => Who::Block,
            _ => Who::Strong,
        }
    }
}

/// A warp's view of the clocks.
#[derive(Clone)]
pub struct Clocks {
    pub warp: usize,
    /// This warp's clock, at least 1.
    pub now: u32,
    /// For each warp, the tick up to which its accesses are ordered before this warp's next one.
    known: [u32; WARPS],
    /// Every other warp is known up to here.
    floor: u32,
    /// Some other warp is known up to here.
    ceiling: u32,
    /// An access was stamped with `now`; otherwise the clock need not advance.
    pub used: bool,
}

impl Clocks {
    /// Clocks of a block that begins at tick `start`.
    pub fn new(warp: usize, start: u32) -> Clocks {
        let before = start - 1;
        Clocks { warp, now: start, known: [before; WARPS], floor: before, ceiling: before, used: false }
    }

    /// Orders the lanes of this warp: what each did so far comes before what any does next.
    pub fn warp_sync(&mut self) {
        if self.used {
            self.known[self.warp] = self.now;
            self.now = (self.now + 1).min(MAX_CLOCK);
            self.used = false;
        }
    }

    /// Begins a tick of its own for what follows, which orders nothing.
    pub fn tick(&mut self) {
        self.now = (self.now + 1).min(MAX_CLOCK);
    }

    /// For each warp, the tick up to which its accesses are ordered before whatever waits for this warp.
    pub fn knowledge(&self) -> [u32; WARPS] {
        let mut known = self.known;
        known[self.warp] = self.now;
        known
    }

    /// Joins a barrier whose warps together know this much, the latest of their clocks being `latest`; `all`: of the whole
    /// block.
    pub fn join(&mut self, together: &[u32; WARPS], latest: u32, all: bool) {
        self.known.iter_mut().zip(together).for_each(|(known, other)| *known = (*known).max(*other));
        self.ceiling = self.known.iter().fold(self.ceiling, |most, known| most.max(*known));
        if all {
            self.floor = latest;
        }
        self.now = (latest + 1).min(MAX_CLOCK);
        self.used = false;
    }

    /// Every stamp up to this one is ordered before this warp's next access, whoever made it.
    #[inline(always)]
    pub fn all_known(&self) -> u32 {
        self.floor.min(self.known[self.warp]) << 12 | 0xfff
    }

    /// Whether the access behind `stamp` is ordered before this warp's next access.
    pub fn knows(&self, stamp: Stamp) -> bool {
        match stamp.who() {
            // Which warps took part is not kept. A proper order always raises some clock past the stamp, so this
            // can overlook a race among partial barriers but never makes one up.
            Who::Block => stamp.clock() <= self.ceiling,
            _ => stamp.clock() <= self.known[stamp.warp()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_orders_what_was_before_it() {
        let (mut a, mut b) = (Clocks::new(0, 1), Clocks::new(1, 1));
        let before = Stamp::new(a.now, Who::Thread, 5);
        assert!(!b.knows(before));
        let latest = a.now.max(b.now);
        let together = std::array::from_fn(|warp| if warp < 2 { latest } else { 0 });
        a.join(&together, latest, true);
        b.join(&together, latest, true);
        assert!(a.knows(before) && b.knows(before));
        assert!(!b.knows(Stamp::new(a.now, Who::Thread, 5)));
    }

    #[test]
    fn a_collective_orders_only_its_own_warp() {
        let (mut a, b) = (Clocks::new(0, 1), Clocks::new(1, 1));
        let before = Stamp::new(a.now, Who::Thread, 5);
        a.used = true;
        a.warp_sync();
        assert!(a.knows(before) && !b.knows(before));
    }

    #[test]
    fn a_clock_that_has_run_out_makes_up_no_race() {
        let mut clocks = Clocks::new(0, MAX_CLOCK);
        for _ in 0..3 {
            let before = Stamp::new(clocks.now, Who::Thread, 5);
            clocks.used = true;
            clocks.warp_sync();
            assert!(clocks.knows(before) && before != Stamp::IN_FLIGHT);
        }
    }
}
