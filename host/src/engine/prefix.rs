//! `Prefixes`: whole pages that several sequences begin with, computed once.
use std::collections::HashMap;

use super::request::SequenceId;

/// Names a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixId(u64);

/// Pages that stay for as long as a sequence that waits or runs begins with them.
#[derive(Debug, Default)]
pub struct Prefix {
    /// Its tokens; whole pages.
    pub tokens: usize,
    /// Its pages; none before a sequence that begins with them runs, or after they were given up.
    pub pages: Vec<usize>,
    /// Tokens that are in the pages, or will be when the steps in flight are done.
    pub computed: usize,
    /// The running sequence that computes the rest.
    pub leader: Option<SequenceId>,
    /// Sequences that begin with it.
    pub members: usize,
}

impl Prefix {
    /// Whether another sequence may begin with what is there: all of it, or what a leader left that is gone.
    pub fn is_free(&self) -> bool {
        self.computed == self.tokens || self.leader.is_none()
    }
}

/// All prefixes.
#[derive(Debug, Default)]
pub struct Prefixes {
    prefixes: HashMap<PrefixId, Prefix>,
    next: u64,
}

impl Prefixes {
    /// A new one with one member.
    pub fn add(&mut self, prefix: Prefix) -> PrefixId {
        let id = PrefixId(self.next);
        self.next += 1;
        self.prefixes.insert(id, Prefix { members: 1, ..prefix });
        id
    }

    /// Counts one more member.
    pub fn join(&mut self, id: PrefixId) {
        self.get(id).members += 1;
    }

    /// Counts one member less, `sequence`; returns the pages if it was the last.
    pub fn leave(&mut self, id: PrefixId, sequence: SequenceId) -> Vec<usize> {
        let prefix = self.get(id);
        prefix.members -= 1;
        prefix.leader = prefix.leader.filter(|leader| *leader != sequence);
        if prefix.members > 0 {
            return Vec::new();
        }
        self.prefixes.remove(&id).map(|prefix| prefix.pages).unwrap_or_default()
    }

    /// Gives up the pages of a prefix of which `in_use` does not hold; its members compute it anew.
    pub fn give_up(&mut self, in_use: impl Fn(PrefixId) -> bool) -> Option<Vec<usize>> {
        let unused = |(id, prefix): &(&PrefixId, &mut Prefix)| !prefix.pages.is_empty() && !in_use(**id);
        let (_, prefix) = self.prefixes.iter_mut().filter(unused).min_by_key(|(id, _)| id.0)?;
        prefix.computed = 0;
        Some(std::mem::take(&mut prefix.pages))
    }

    /// One of them.
    ///
    /// # Panics
    /// If it has no member any more.
    pub fn get(&mut self, id: PrefixId) -> &mut Prefix {
        self.prefixes.get_mut(&id).expect("a prefix lives as long as its members")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_with_the_last_member() {
        let mut prefixes = Prefixes::default();
        let leader = Some(SequenceId(7));
        let id = prefixes.add(Prefix { tokens: 64, pages: vec![3], leader, ..Prefix::default() });
        prefixes.join(id);
        assert!(!prefixes.get(id).is_free());
        assert!(prefixes.leave(id, SequenceId(7)).is_empty());
        assert!(prefixes.get(id).is_free(), "the leader is gone");
        assert_eq!(prefixes.leave(id, SequenceId(8)), [3]);
    }

    #[test]
    fn only_unused_pages_are_given_up() {
        let mut prefixes = Prefixes::default();
        let ids = [5, 6]
            .map(|page| prefixes.add(Prefix { tokens: 64, computed: 64, pages: vec![page], ..Prefix::default() }));
        assert_eq!(prefixes.give_up(|id| id == ids[0]), Some(vec![6]));
        assert_eq!(prefixes.give_up(|id| id == ids[0]), None);
        assert_eq!((prefixes.get(ids[1]).computed, prefixes.get(ids[0]).computed), (0, 64));
    }
}
