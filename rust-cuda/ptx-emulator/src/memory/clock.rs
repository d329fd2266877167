//! A barrier's effect on the clocks of the warps that take part.

use super::stamp::{Clocks, Stamp, WARPS, Who};

/// What some warps know together: for each warp, the tick up to which its accesses are ordered.
#[derive(Clone, Copy, Default)]
pub struct Knowledge {
    known: [u32; WARPS],
    latest: u32,
}

impl Knowledge {
    /// Adds what a warp knows that comes to the barrier.
    pub fn add(&mut self, clocks: &Clocks) {
        self.merge(&Knowledge { known: clocks.knowledge(), latest: clocks.now });
    }

    /// Adds what others know.
    pub fn merge(&mut self, other: &Knowledge) {
        self.known.iter_mut().zip(other.known).for_each(|(known, other)| *known = other.max(*known));
        self.latest = self.latest.max(other.latest);
    }

    /// Whether the access behind `stamp` is among those that are known of.
    pub fn covers(&self, stamp: Stamp) -> bool {
        match stamp.who() {
            _ if stamp == Stamp::IN_FLIGHT => false,
            // Which warps took part is not kept: see [`Clocks::knows`].
            Who::Block => stamp.clock() <= self.latest,
            _ => stamp.clock() <= self.known[stamp.warp()],
        }
    }

    /// Lets a warp know it that acquires it.
    pub fn acquire(&self, clocks: &mut Clocks) {
        let mut together = *self;
        together.add(clocks);
        clocks.join(&together.known, together.latest, false);
    }

    /// Lets the warps in `waiting` know it; `all`: the whole block waits.
    pub fn share<'a>(mut self, clocks: impl Iterator<Item = &'a mut Clocks>, waiting: &[usize], all: bool) {
        waiting.iter().for_each(|&w| self.known[w] = self.latest);
        for clocks in clocks.filter(|c| waiting.contains(&c.warp)) {
            clocks.join(&self.known, self.latest, all);
        }
    }
}
