//! Slots: who has them, and the copies between them.
//!
//! While a sequence computes tokens of a page, its slot is a snapshot of the state in front of that page: see
//! `gpu_kernels::ssm`. So a copy made then is one for good, and a sequence that begins with a copy of it goes on from there.
use super::holding::SLOT;
use super::tree::NodeId;
use super::{Holding, PAGE, PageCache};

impl PageCache {
    /// A slot: a free one, or that of the tail or snapshot that was not used for longest.
    pub(super) fn take_slot(&mut self) -> Option<usize> {
        while self.slots.is_empty() {
            self.evict_state()?;
        }
        self.slots.pop()
    }

    /// Gives up the state that was not used for longest, and what is of no use without it.
    pub(super) fn evict_state(&mut self) -> Option<()> {
        let oldest = self.tree.oldest_state()?;
        let before = self.pool.count();
        if self.tree.node(oldest).is_tail() {
            let parent = self.tree.parent(oldest);
            self.remove(oldest);
            self.prune(parent);
        } else {
            self.slots.extend(self.tree.take_slot(oldest));
            self.prune(oldest);
        }
        self.evicted += (self.pool.count() - before) as u64;
        Some(())
    }

    /// Who has a state in front of which the tokens of `node` end: it, or a tail behind it.
    pub(super) fn snapshot(&self, node: NodeId) -> Option<NodeId> {
        let own = self.tree.node(node).slot.map(|_| node);
        own.or_else(|| self.tree.tails(node).find(|(_, tail)| tail.slot.is_some()).map(|(id, _)| id))
    }

    /// Gives a sequence a slot, to which that of `snapshot` is copied.
    pub(super) fn begin_with_copy(&mut self, holding: &mut Holding, snapshot: Option<NodeId>) {
        if let Some(snapshot) = snapshot {
            // Where one goes on others do: it is worth as much as the end of a turn, or these would take its slot.
            self.tree.favour(snapshot, self.bonus);
            self.tree.touch(snapshot);
        }
        let from = snapshot.and_then(|snapshot| self.tree.node(snapshot).slot);
        // Where no other slot is to be had, it is the snapshot's own.
        holding.slot = self.take_slot().expect(SLOT);
        self.copies.extend(from.filter(|&from| from != holding.slot).map(|from| [from, holding.slot]));
    }

    /// Leaves a snapshot at the end of the sequence's first `tokens` tokens, whole pages of the tree; the sequence must be
    /// computing the page behind them. Whether one is there now: none is where all slots are those of running sequences. With a
    /// `bonus` it stays as if it had been used later: for ends of turns. One that a sequence began with has it too.
    pub fn leave_snapshot(&mut self, holding: &Holding, tokens: usize, bonus: bool) -> bool {
        let Some(node) = self.tree.ancestor(holding.node, holding.shared.saturating_sub(tokens / PAGE)) else {
            return false;
        };
        if !self.has_state || tokens == 0 || holding.shared * PAGE < tokens {
            return false;
        }
        if self.tree.node(node).slot.is_none() {
            let Some(slot) = self.take_slot() else { return false };
            self.copies.push([holding.slot, slot]);
            self.tree.put_slot(node, slot);
        }
        if bonus {
            self.tree.favour(node, self.bonus);
        }
        true
    }

    /// The slots that are to be copied in front of the next step, [from, to], one after the other.
    pub fn take_copies(&mut self) -> Vec<[usize; 2]> {
        std::mem::take(&mut self.copies)
    }
}
