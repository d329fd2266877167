//! Where a model keeps a state: which sequences leave snapshots of theirs, and where; and the copies that make these.
use gpu_kernels::PAGE_TOKENS;

use super::Engine;
use super::admission::Wait;
use super::cache::Found;
use super::sequence::Sequence;
use crate::error::Result;
use crate::forward;

const PAGE: usize = PAGE_TOKENS as usize;

impl Engine {
    /// Has a sequence that has just got its place leave snapshots: where it parts from what is cached, and at the ends of the last
    /// pages in front of where later prompts may part from its own.
    pub(super) fn plan_snapshots(&mut self, sequence: &mut Sequence) {
        if !self.layout.has_state() {
            return;
        }
        let prompt = sequence.prompt_tokens();
        let parts = self.cache.cached(sequence.cache_salt(), &sequence.tokens()[..prompt - 1]);
        sequence.stop_at(parts);
        for end in sequence.turn_ends() {
            sequence.stop_at(end.min(prompt) / PAGE * PAGE);
        }
    }

    /// As for keys and values, but a state is not there page by page: the running sequence is asked for a snapshot at the end of
    /// the last page that both begin with.
    pub(super) fn state_on_its_way(&mut self, index: usize, found: &Found) -> Wait {
        let sequence = &self.waiting[index];
        // Its last token is computed anyway.
        let most = (sequence.tokens().len() - 1) / PAGE;
        let others = self.running.iter().enumerate();
        let others = others.filter(|(_, other)| other.cache_salt() == sequence.cache_salt());
        let ends = others.map(|(index, other)| (sequence.common_pages(other).min(most) * PAGE, index));
        let useful = ends.filter(|&(end, index)| end > found.tokens && self.running[index].computed() < end + PAGE);
        let Some((end, other)) = useful.max_by_key(|&(end, _)| end) else { return Wait::No };
        let other = &mut self.running[other];
        if !other.is_snapshot_of(end) {
            return if other.asked_to_stop_at(end) { Wait::Later } else { Wait::No };
        }
        if self.cache.leave_snapshot(other.holding(), end, false) { Wait::Again } else { Wait::No }
    }

    /// Makes the copies that the cache asks for, in front of the next step.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn copy_slots(&mut self) -> Result<()> {
        let copies = self.cache.take_copies();
        for copies in copies.chunks(self.layout.limits().slots()) {
            let plan = match self.plans.copies {
                Some(plan) => plan,
                None => *self.plans.copies.insert(self.device.prepare(forward::copy_plan(&self.layout))?),
            };
            let numbers = copies.iter().flatten().map(|&slot| slot as i32);
            let numbers: Vec<i32> = std::iter::once(copies.len() as i32).chain(numbers).collect();
            self.device.enqueue(plan, &[(self.layout.copies(), &numbers)])?;
        }
        Ok(())
    }
}
