//! A barrier's effect on the clocks of the warps that take part.

use crate::memory::stamp::Clocks;

/// Warps in `waiting` learn all that `members` (those and the ones that only arrived) did up to the tick `latest`;
/// `all`: the whole block waits.
pub fn join<'a>(
    clocks: impl Iterator<Item = &'a mut Clocks>,
    members: &[usize],
    waiting: &[usize],
    latest: u32,
    all: bool,
) {
    for clocks in clocks.filter(|c| waiting.contains(&c.warp)) {
        clocks.join(members, latest, all);
    }
}
