//! A barrier's effect on the clocks of the warps that take part.

use super::stamp::{Clocks, WARPS};

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
