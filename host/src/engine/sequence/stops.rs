//! Where a sequence leaves snapshots of its state.
use gpu_kernels::PAGE_TOKENS;

use super::{MOST_ASKED, Sequence};

impl Sequence {
    /// Where later prompts may part from its own.
    pub fn turn_ends(&self) -> Vec<usize> {
        match &self.request.turn_ends[..] {
            [] => vec![self.prompt],
            ends => ends.to_vec(),
        }
    }

    /// Whether a turn ends in the page behind its first `tokens` tokens, whole pages.
    pub fn ends_turn(&self, tokens: usize) -> bool {
        let page = PAGE_TOKENS as usize;
        self.turn_ends().iter().any(|end| end.min(&self.prompt) / page * page == tokens)
    }

    /// Has it leave a snapshot behind its first `tokens` tokens, whole pages that are not computed yet.
    pub fn stop_at(&mut self, tokens: usize) {
        if tokens > self.computed && !self.stops.contains(&tokens) {
            self.stops.push(tokens);
        }
    }

    /// As [`Sequence::stop_at`], for another sequence that begins as it does; so many may ask. Whether it will.
    pub fn asked_to_stop_at(&mut self, tokens: usize) -> bool {
        if self.stops.contains(&tokens) {
            return true;
        }
        let takes = self.asked < MOST_ASKED;
        if takes {
            self.asked += 1;
            self.stop_at(tokens);
        }
        takes
    }

    /// How many of the next `tokens` tokens it may compute in one step: the state of a stop is there until its page is full.
    pub fn tokens_to_stop(&self, tokens: usize) -> usize {
        let end = self.computed + tokens;
        let passed = |stop: &usize| *stop > self.computed && end >= stop + PAGE_TOKENS as usize;
        self.stops.iter().copied().filter(passed).min().map_or(tokens, |stop| stop - self.computed)
    }

    /// The stops that it has come to.
    pub fn take_stops(&mut self) -> Vec<usize> {
        let settled = self.settled();
        self.stops.extract_if(.., |stop| *stop <= settled).collect()
    }

    /// Whether its slot is a snapshot of the state behind its first `tokens` tokens, whole pages.
    pub fn is_snapshot_of(&self, tokens: usize) -> bool {
        (tokens..tokens + PAGE_TOKENS as usize).contains(&self.computed)
    }
}
