//! Which waiting sequences begin, with which pages, and what becomes of the pages of those that end.
use gpu_kernels::PAGE_TOKENS;

use super::kept::Kept;
use super::prefix::Prefix;
use super::sequence::Sequence;
use super::{Engine, Request, SequenceId};
use crate::error::Result;

impl Engine {
    /// As [`Engine::submit`], for a request that begins as `earlier` does, such as another completion of its prompt: the
    /// whole pages in which both agree are computed once. `earlier` should wait or run; where it has ended, was kept, or
    /// where penalties must note every token of the prompt, or where a sequence keeps more than keys and values, this is
    /// [`Engine::submit`].
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit_fork(&mut self, request: Request, earlier: SequenceId) -> Result<SequenceId> {
        let mut sequence = self.sequence(request)?;
        if sequence.may_resume() && !self.layout.has_state() {
            self.share_prefix(&mut sequence, earlier);
        }
        Ok(self.wait(sequence))
    }

    fn share_prefix(&mut self, sequence: &mut Sequence, earlier: SequenceId) {
        let mut others = self.waiting.iter_mut().chain(&mut self.running);
        let Some(other) = others.find(|other| other.id == earlier && !other.keep) else { return };
        let common = sequence.prompt().iter().zip(other.prompt()).take_while(|(a, b)| a == b).count();
        let tokens = whole_pages(common.min(sequence.prompt().len() - 1));
        match other.prefix {
            Some(prefix) if self.prefixes.get(prefix).tokens <= tokens => {
                self.prefixes.join(prefix);
                sequence.prefix = Some(prefix);
            }
            None if tokens > 0 => {
                let running = !other.pages().is_empty();
                let pages = if running { other.pages()[..tokens / PAGE_TOKENS as usize].to_vec() } else { Vec::new() };
                let (computed, leader) = (other.computed().min(tokens), running.then_some(earlier));
                let prefix = self.prefixes.add(Prefix { tokens, pages, computed, leader, ..Prefix::default() });
                self.prefixes.join(prefix);
                (sequence.prefix, other.prefix) = (Some(prefix), Some(prefix));
            }
            _ => {}
        }
    }

    /// A sequence starts when a slot is free and all pages that it may ever need, so none is put out again; and when what
    /// it shares with a running one is computed. They start in order.
    pub(super) fn admit(&mut self) {
        while let Some(mut sequence) = self.waiting.pop_front() {
            let Some((slot, pages, computed)) = self.place_for(&sequence) else {
                return self.waiting.push_front(sequence);
            };
            sequence.start(slot, pages, computed);
            self.counters.reused += computed as u64;
            self.running.push(sequence);
        }
    }

    /// Slot and pages of a sequence, and how many tokens of its prompt they hold.
    fn place_for(&mut self, sequence: &Sequence) -> Option<(usize, Vec<usize>, usize)> {
        if self.layout.has_state() {
            return self.place_behind_state(sequence);
        }
        let slot = *self.free_slots.last()?;
        let (pages, computed) = self.pages_for(sequence)?;
        self.free_slots.pop();
        Some((slot, pages, computed))
    }

    /// As [`Engine::place_for`], where a sequence that was kept has its slot still.
    fn place_behind_state(&mut self, sequence: &Sequence) -> Option<(usize, Vec<usize>, usize)> {
        let resumes = sequence.keep && sequence.may_resume();
        let (mut kept, common) = if resumes { self.kept.take(sequence.prompt()) } else { None }.unwrap_or_default();
        while kept.slot.is_none() {
            match self.free_slots.pop() {
                Some(slot) => kept.slot = Some(slot),
                None => self.make_room(None)?,
            }
        }
        self.pages.put(kept.truncate(common));
        loop {
            if let Some(pages) = self.pages.take(sequence.pages_needed() - kept.pages.len()) {
                kept.pages.extend(pages);
                return Some((kept.slot?, kept.pages, common));
            }
            if self.make_room(None).is_none() {
                break;
            }
        }
        // Others run: it is tried again when one of them has ended, from the start.
        self.free(kept);
        None
    }

    /// Frees what a kept sequence has.
    pub(super) fn free(&mut self, kept: Kept) {
        self.pages.put(kept.pages);
        self.free_slots.extend(kept.slot);
    }

    /// All pages of a sequence, and how many tokens of its prompt they hold.
    fn pages_for(&mut self, sequence: &Sequence) -> Option<(Vec<usize>, usize)> {
        match sequence.prefix {
            Some(_) => self.pages_behind_prefix(sequence),
            None => self.pages_behind_kept(sequence),
        }
    }

    fn pages_behind_prefix(&mut self, sequence: &Sequence) -> Option<(Vec<usize>, usize)> {
        let id = sequence.prefix?;
        let prefix = self.prefixes.get(id);
        if !prefix.is_free() {
            return None;
        }
        let mut pages = prefix.pages.clone();
        let needed = sequence.pages_needed() - pages.len();
        let own = loop {
            match self.pages.take(needed) {
                Some(own) => break own,
                None => self.make_room(sequence.prefix)?,
            }
        };
        pages.extend(own);
        let prefix = self.prefixes.get(id);
        prefix.pages = pages[..prefix.tokens / PAGE_TOKENS as usize].to_vec();
        if prefix.computed < prefix.tokens {
            prefix.leader = Some(sequence.id);
        }
        Some((pages, prefix.computed))
    }

    fn pages_behind_kept(&mut self, sequence: &Sequence) -> Option<(Vec<usize>, usize)> {
        let found = if sequence.keep && sequence.may_resume() { self.kept.take(sequence.prompt()) } else { None };
        let (mut kept, common) = found.unwrap_or_default();
        self.pages.put(kept.truncate(common));
        loop {
            if let Some(pages) = self.pages.take(sequence.pages_needed() - kept.pages.len()) {
                kept.pages.extend(pages);
                return Some((kept.pages, common));
            }
            if self.make_room(None).is_none() {
                break;
            }
        }
        if common > 0 {
            self.kept.push(kept);
        }
        None
    }

    /// Gives up pages that no running sequence needs: those of the oldest kept one, else those of a prefix but `spared`.
    fn make_room(&mut self, spared: Option<super::prefix::PrefixId>) -> Option<()> {
        let in_use = |id| spared == Some(id) || self.running.iter().any(|sequence| sequence.prefix == Some(id));
        match self.kept.pop_oldest() {
            Some(kept) => self.free(kept),
            None => {
                let freed = self.prefixes.give_up(in_use)?;
                self.pages.put(freed);
            }
        }
        Some(())
    }

    /// Notes what a running sequence has computed of what it shares.
    pub(super) fn note_prefix(&mut self, index: usize) {
        let sequence = &self.running[index];
        if let Some(id) = sequence.prefix {
            let prefix = self.prefixes.get(id);
            prefix.computed = prefix.computed.max(sequence.computed().min(prefix.tokens));
        }
    }

    /// Ends a sequence whose keys and values are of no use to anybody.
    pub(super) fn give_up(&mut self, id: SequenceId) {
        self.running.iter_mut().filter(|sequence| sequence.id == id).for_each(|sequence| sequence.keep = false);
        self.retire(id);
    }

    /// Ends a sequence that waits or runs, if it does.
    pub(super) fn retire(&mut self, id: SequenceId) {
        if let Some(index) = self.waiting.iter().position(|sequence| sequence.id == id) {
            let sequence = self.waiting.remove(index).expect("it has just been there");
            self.leave_prefix(&sequence);
        }
        let Some(index) = self.running.iter().position(|sequence| sequence.id == id) else { return };
        let sequence = self.running.remove(index);
        let (shared, keep) = (self.leave_prefix(&sequence), sequence.keep);
        // Steps run in order, so a discarded step is behind whatever takes slot and pages next.
        let (slot, mut kept) = sequence.release();
        if !keep {
            self.free_slots.push(slot);
            return self.pages.put(kept.pages.split_off(shared));
        }
        if self.layout.has_state() {
            kept.slot = Some(slot);
        } else {
            self.free_slots.push(slot);
        }
        self.pages.put(kept.truncate(kept.ids.len()));
        self.kept.push(kept);
    }

    /// Returns how many of the sequence's pages are its prefix's.
    fn leave_prefix(&mut self, sequence: &Sequence) -> usize {
        let Some(id) = sequence.prefix else { return 0 };
        let shared = self.prefixes.get(id).tokens / PAGE_TOKENS as usize;
        let freed = self.prefixes.leave(id, sequence.id);
        self.pages.put(freed);
        shared
    }
}

fn whole_pages(tokens: usize) -> usize {
    tokens - tokens % PAGE_TOKENS as usize
}
