//! `mbarrier`s: a phase is complete when all have arrived and as many bytes have come as were expected.

use super::clock::Knowledge;

/// Who may send to a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// None but its own block; with the warp that opened it, and whether that has fenced it.
    Own { warp: usize, fenced: bool },
    /// Whoever has waited at the cluster's barrier more often than this.
    Cluster { arrivals: u32 },
}

/// An `mbarrier` in shared memory.
pub struct Mailbox {
    pub opening: Opening,
    /// Arrivals of a phase.
    count: u32,
    /// Arrivals that this phase still waits for.
    missing: u32,
    /// Bytes that were expected in this phase, without those that have come.
    bytes: i64,
    /// Phases that are complete.
    pub phases: u32,
    /// Places that have been sent to in this phase, with their bytes.
    coming: Vec<(usize, usize)>,
    /// Those of complete phases that no thread has waited for yet.
    pub come: Vec<(usize, usize)>,
    /// What the warp knew that waited first, once one has.
    pub seen: Option<Knowledge>,
}

impl Mailbox {
    /// One of `count` arrivals, opened by `warp`.
    pub fn new(count: u32, warp: usize) -> Mailbox {
        let opening = Opening::Own { warp, fenced: false };
        Mailbox {
            opening,
            count,
            missing: count,
            bytes: 0,
            phases: 0,
            coming: Vec::new(),
            come: Vec::new(),
            seen: None,
        }
    }

    /// One arrives, and expects `bytes` more; whether there was one missing.
    pub fn expect(&mut self, bytes: u32) -> bool {
        let Some(missing) = self.missing.checked_sub(1) else { return false };
        self.missing = missing;
        self.bytes += i64::from(bytes);
        self.complete();
        true
    }

    /// `bytes` bytes have come to `at`.
    pub fn receive(&mut self, at: usize, bytes: usize) {
        self.coming.push((at, bytes));
        self.bytes -= bytes as i64;
        self.complete();
    }

    fn complete(&mut self) {
        if self.missing == 0 && self.bytes == 0 {
            self.missing = self.count;
            self.phases += 1;
            self.seen = None;
            self.come.append(&mut self.coming);
        }
    }

    /// Bytes of the phase that have come and were not expected, or the other way round.
    pub fn is_uneven(&self) -> bool {
        self.bytes != 0
    }
}
