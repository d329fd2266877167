//! Which waiting sequences begin, which running one makes room for others, and what becomes of those that end.
use super::cache::{Found, Grown};
use super::scheduler::{self, Share};
use super::sequence::Sequence;
use super::{Engine, Event, SequenceId};
use crate::error::Result;

/// How often others begin in front of a sequence that has too little room; then none does, until it begins.
const MOST_OVERTAKEN: usize = 64;

/// Whether a waiting sequence begins.
enum Start {
    Began(Box<Sequence>),
    /// A running sequence is about to compute what it begins with.
    Later,
    /// Pages are short.
    NoRoom,
}

/// Whether a waiting sequence waits for a running one.
pub(super) enum Wait {
    No,
    /// Until that has computed what both begin with.
    Later,
    /// No more: there is a better place to go on from now.
    Again,
}

impl Engine {
    /// Sequences start when a slot is free, and pages for what they have so far. They start in order; who cannot start yet is
    /// passed by those behind, but not for ever.
    pub(super) fn admit(&mut self) {
        let mut index = 0;
        while index < self.waiting.len() && self.running.len() < self.max_sequences() {
            match self.start(index) {
                Start::Began(sequence) => {
                    self.waiting.iter_mut().take(index).for_each(|passed| passed.overtaken += 1);
                    let place = self.running.partition_point(|running| running.id < sequence.id);
                    self.running.insert(place, *sequence);
                }
                Start::NoRoom if self.waiting[index].overtaken >= MOST_OVERTAKEN => return,
                Start::NoRoom | Start::Later => index += 1,
            }
        }
    }

    fn start(&mut self, index: usize) -> Start {
        let (salt, may_resume) = (self.waiting[index].cache_salt(), self.waiting[index].may_resume());
        let mut found = self.cache.nothing(salt);
        if may_resume {
            found = self.cache.find(salt, self.waiting[index].tokens());
            match self.on_its_way(index, &found) {
                Wait::No => {}
                Wait::Later => return Start::Later,
                Wait::Again => found = self.cache.find(salt, self.waiting[index].tokens()),
            }
        }
        // Each running sequence may go on for a page before pages are short again.
        let (most, spare) = (self.waiting[index].pages_needed(), self.running.len());
        let mut holding = self.cache.start(self.waiting[index].tokens(), found, most, spare);
        if holding.is_none() && self.shrink() {
            holding = self.cache.start(self.waiting[index].tokens(), found, most, spare);
        }
        let Some(holding) = holding else { return Start::NoRoom };
        let mut sequence = self.waiting.remove(index).expect("it is there");
        if !sequence.was_preempted() {
            self.counters.queried += sequence.tokens().len() as u64;
            self.counters.reused += found.tokens as u64;
        }
        sequence.start(holding, found.tokens);
        self.plan_snapshots(&mut sequence);
        Start::Began(Box::new(sequence))
    }

    /// Whether a waiting sequence that would go on at `found` waits for a running one, which is about to compute more of what it
    /// begins with.
    fn on_its_way(&mut self, index: usize, found: &Found) -> Wait {
        if self.layout.has_state() {
            return self.state_on_its_way(index, found);
        }
        let sequence = &self.waiting[index];
        let end = (found.pages + 1) * gpu_kernels::PAGE_TOKENS as usize;
        let gives = |other: &&Sequence| {
            let begins_alike = other.cache_salt() == sequence.cache_salt() && other.shared_tokens() < end;
            begins_alike && other.common_pages(sequence) > found.pages
        };
        // Its last token is computed anyway.
        let waits = end < sequence.tokens().len() && self.running.iter().any(|other| gives(&other));
        if waits { Wait::Later } else { Wait::No }
    }

    /// Shares of the next step, with a page for each of their tokens. Where pages are short, the newest sequence makes room; the
    /// oldest always goes on.
    pub(super) fn schedule(&mut self, events: &mut Vec<Event>) -> Result<Vec<Share>> {
        loop {
            let limits = self.layout.limits();
            let shares = scheduler::schedule(&self.running, limits.rows, limits.logit_rows());
            if self.grow(&shares, true) {
                return Ok(shares);
            }
            self.shrink();
            if self.grow(&shares, false) {
                return Ok(shares);
            }
            if self.in_flight.is_empty() {
                self.preempt_newest();
            } else {
                self.collect_but(0, events)?;
            }
        }
    }

    /// Whether every share has its pages; the oldest take theirs first, and more where they may take some `ahead`.
    fn grow(&mut self, shares: &[Share], ahead: bool) -> bool {
        let mut shares: Vec<&Share> = shares.iter().collect();
        shares.sort_by_key(|share| share.sequence);
        shares.into_iter().all(|share| {
            let sequence = &mut self.running[share.sequence];
            let least = sequence.pages_behind(share.tokens);
            let most = if ahead { sequence.pages_needed() } else { least };
            let grown = self.cache.grow(sequence.holding_mut(), least, most);
            if grown == Grown::More {
                self.resident = None;
            }
            grown != Grown::Short
        })
    }

    /// Takes back the pages that sequences have taken ahead, and says whether there were any.
    fn shrink(&mut self) -> bool {
        let mut found = false;
        for sequence in &mut self.running {
            let least = sequence.pages_behind(sequence.pending());
            found |= self.cache.shrink(sequence.holding_mut(), least);
        }
        if found {
            self.resident = None;
        }
        found
    }

    /// Has the newest sequence wait again. It keeps its tokens, and begins with what is left of its pages then.
    fn preempt_newest(&mut self) {
        let newest = self.running.len().checked_sub(1).expect("a sequence that runs alone has its pages");
        let newest = self.stop(newest);
        self.counters.preempted += 1;
        self.wait(newest);
    }

    /// Takes a running sequence from the device; the cache has what was computed of it.
    fn stop(&mut self, index: usize) -> Sequence {
        // Steps run in order, so a discarded step is behind whatever takes slot and pages next.
        let mut sequence = self.running.remove(index);
        let (holding, settled) = sequence.stop();
        self.cache.end(holding, &sequence.tokens()[..settled]);
        sequence
    }

    fn wait(&mut self, sequence: Sequence) {
        let place = self.waiting.partition_point(|waiting| waiting.id < sequence.id);
        self.waiting.insert(place, sequence);
    }

    /// Appends tokens to a running sequence that the device did not choose. It begins again behind them, where the cache has
    /// what is in front of them; what the device has chosen meanwhile is discarded. Where log-probabilities are asked for, it
    /// begins again in front of each, and the device tells how likely that is.
    pub(super) fn force(&mut self, id: SequenceId, tokens: &[u32], events: &mut Vec<Event>) {
        let Some(index) = self.running.iter().position(|sequence| sequence.id == id) else { return };
        let mut sequence = self.stop(index);
        self.resident = None;
        if sequence.logprobs().is_some() {
            sequence.owe(tokens);
            return self.wait(sequence);
        }
        let cached_tokens = sequence.cached_tokens();
        for &token in tokens {
            let finish = sequence.append(token);
            events.push(Event { sequence: id, token: Ok(token), finish, cached_tokens, logprobs: None });
            if finish.is_some() {
                return;
            }
        }
        self.wait(sequence);
    }

    /// Gives the cache what the running sequence has computed of its tokens, and the snapshots that it is to leave.
    pub(super) fn give(&mut self, index: usize) {
        let sequence = &mut self.running[index];
        let (holding, tokens) = sequence.computed_tokens();
        if self.cache.give(holding, tokens) {
            self.resident = None;
        }
        for stop in sequence.take_stops() {
            if sequence.is_snapshot_of(stop) {
                let bonus = sequence.ends_turn(stop);
                self.cache.leave_snapshot(sequence.holding(), stop, bonus);
            }
        }
    }

    /// Ends a sequence whose keys and values are of no use to anybody.
    pub(super) fn give_up(&mut self, id: SequenceId) {
        if let Some(index) = self.running.iter().position(|sequence| sequence.id == id) {
            let (holding, _) = self.running.remove(index).stop();
            self.cache.discard(holding);
        }
    }

    /// Ends a sequence without a further event; unknown ids are ignored.
    pub fn cancel(&mut self, id: SequenceId) {
        self.retire(id, usize::MAX);
    }

    /// As [`Engine::cancel`], where the sequence's answer has ended with its `tokens`-th token: of what was computed behind it the
    /// cache keeps nothing.
    pub fn end_behind(&mut self, id: SequenceId, tokens: usize) {
        self.retire(id, tokens);
    }

    /// Ends a sequence that waits or runs, if it does.
    /// The cache keeps nothing of what is behind the first `generated` tokens of its answer.
    pub(super) fn retire(&mut self, id: SequenceId, generated: usize) {
        self.waiting.retain(|sequence| sequence.id != id);
        if let Some(index) = self.running.iter().position(|sequence| sequence.id == id) {
            let mut sequence = self.running.remove(index);
            let kept = sequence.prompt_tokens().saturating_add(generated);
            let (holding, settled) = sequence.stop();
            self.cache.end_behind(holding, &sequence.tokens()[..settled], kept);
        }
    }
}
