//! `Holding`: what a running sequence has of the cache, from its start to its end.
use super::tail::usable;
use super::tree::NodeId;
use super::{PAGE, PAGES_AHEAD, PageCache};

/// The engine starts no more sequences than there are slots.
pub(super) const SLOT: &str = "a slot is to be had";

/// Where a sequence can go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    node: NodeId,
    /// The tail that the sequence takes.
    pub(super) tail: Option<NodeId>,
    /// Whose slot the sequence begins with a copy of.
    pub(super) snapshot: Option<NodeId>,
    /// Whole pages of the tree.
    pub pages: usize,
    /// Tokens in front of which nothing is to be computed.
    pub tokens: usize,
}

/// Pages and slot of a running sequence.
#[derive(Debug, Default)]
pub struct Holding {
    /// The pages in the order of its tokens: first those of the tree, then its own.
    pub pages: Vec<usize>,
    /// The slot.
    pub slot: usize,
    /// The node of the last page of the tree.
    pub(super) node: NodeId,
    /// How many are the tree's.
    pub(super) shared: usize,
}

impl Holding {
    /// Tokens of the pages that are in the tree.
    pub fn shared_tokens(&self) -> usize {
        self.shared * PAGE
    }
}

impl PageCache {
    /// The deepest place that a sequence of `tokens` can go on from; its last token is always computed. Prefixes of
    /// another `salt` are not looked at.
    pub fn find(&mut self, salt: u64, tokens: &[u32]) -> Found {
        let root = self.tree.root(salt);
        let most = tokens.len().saturating_sub(1);
        let path = self.tree.path(root, &tokens[..most]);
        for (pages, &node) in path.iter().enumerate().rev() {
            let rest = &tokens[pages * PAGE..most];
            let tails = self.tree.tails(node);
            let usable = tails.filter_map(|(id, tail)| Some((usable(&tail.tokens, rest)?, tail.tokens.len(), id)));
            // Of equal ones that of which least is lost.
            let best = usable.max_by_key(|&(common, length, id)| (common, std::cmp::Reverse((length, id))));
            let best = best.filter(|(common, ..)| pages * PAGE + common > 0);
            let found = Found { node, pages, tokens: pages * PAGE, ..Found::default() };
            if let Some((common, _, tail)) = best {
                return Found { tail: Some(tail), tokens: pages * PAGE + common, ..found };
            }
            let snapshot = self.snapshot(node).filter(|_| pages > 0);
            if snapshot.is_some() || !self.has_state {
                return Found { snapshot, ..found };
            }
        }
        self.nothing(salt)
    }

    /// How many tokens of `tokens`' whole pages are in the tree, whether a sequence can go on from there or not.
    pub fn cached(&mut self, salt: u64, tokens: &[u32]) -> usize {
        let root = self.tree.root(salt);
        (self.tree.path(root, tokens).len() - 1) * PAGE
    }

    /// The place of a sequence that computes all of its tokens.
    pub fn nothing(&mut self, salt: u64) -> Found {
        Found { node: self.tree.root(salt), ..Found::default() }
    }

    /// Starts a sequence of `tokens` at `found`, with pages for them and the token behind them, of the at most `most` that it
    /// will ever need. None where these pages, and `spare` more, are not to be had. A slot must be to be had.
    pub fn start(&mut self, tokens: &[u32], found: Found, most: usize, spare: usize) -> Option<Holding> {
        let least = (tokens.len() + 1).div_ceil(PAGE).min(most);
        self.tree.hold(found.node);
        let tail_page = found.tail.is_some_and(|tail| self.tree.node(tail).page.is_some());
        let has = found.pages + usize::from(tail_page);
        if self.room() - usize::from(tail_page) < least.saturating_sub(has) + spare {
            self.tree.release(found.node);
            return None;
        }
        self.tree.touch(found.node);
        let mut holding = Holding { node: found.node, shared: found.pages, ..Holding::default() };
        holding.pages = self.tree.pages_to(found.node);
        if let Some(tail) = found.tail {
            let tail = self.tree.remove(tail);
            holding.pages.extend(tail.page);
            holding.slot = tail.slot.or_else(|| self.take_slot()).expect(SLOT);
            // Others may part from it at the end of its last whole page.
            self.leave_snapshot(&holding, found.pages * PAGE, false);
        } else {
            self.begin_with_copy(&mut holding, found.snapshot);
        }
        let ahead = (has + self.room()).saturating_sub(spare).min(most);
        let grown = self.grow(&mut holding, least, ahead);
        debug_assert!(grown != Grown::Short, "there was room");
        Some(holding)
    }

    /// Sees to it that a sequence has `least` pages, and takes up to `most` where it takes any.
    pub fn grow(&mut self, holding: &mut Holding, least: usize, most: usize) -> Grown {
        let has = holding.pages.len();
        if has >= least {
            return Grown::Enough;
        }
        if self.room() < least - has {
            return Grown::Short;
        }
        let ahead = least.next_multiple_of(PAGES_AHEAD).min(most).max(least);
        let taken = self.take((ahead - has).min(self.room()));
        holding.pages.extend(taken.expect("there is room"));
        Grown::More
    }

    /// Takes back what a sequence has of pages behind the first `least`, and says whether it has any.
    pub fn shrink(&mut self, holding: &mut Holding, least: usize) -> bool {
        let ahead = holding.pages.split_off(least.max(holding.shared).min(holding.pages.len()));
        let found = !ahead.is_empty();
        self.pool.put(ahead);
        found
    }

    /// Gives full pages of a running sequence to the tree; `tokens` are those that are computed. Where the tree has such a
    /// page already, the sequence goes on with that one instead of its own. Whether it has other pages now.
    pub fn give(&mut self, holding: &mut Holding, tokens: &[u32]) -> bool {
        let mut changed = false;
        while (holding.shared + 1) * PAGE <= tokens.len() {
            let (page, own) = (&tokens[holding.shared * PAGE..][..PAGE], holding.pages[holding.shared]);
            holding.node = match self.tree.child(holding.node, page) {
                Some(known) => {
                    changed = true;
                    holding.pages[holding.shared] = self.tree.node(known).page.expect("a child has a page");
                    self.pool.put(vec![own]);
                    known
                }
                None => self.tree.insert(holding.node, page, own),
            };
            self.tree.hold_one(holding.node);
            holding.shared += 1;
        }
        changed
    }

    /// Ends a sequence of which `tokens` are computed, those in the tree at least: its pages stay for others.
    pub fn end(&mut self, holding: Holding, tokens: &[u32]) {
        let Holding { mut pages, slot, node: held, shared, .. } = holding;
        let mut own = pages.split_off(shared).into_iter();
        let mut node = held;
        let rest = tokens[shared * PAGE..].chunks_exact(PAGE);
        let tail = rest.remainder();
        for tokens in rest {
            let page = own.next().expect("a computed token has a page");
            node = match self.tree.child(node, tokens) {
                Some(known) => {
                    self.pool.put(vec![page]);
                    known
                }
                None => self.tree.insert(node, tokens, page),
            };
        }
        let page = if tail.is_empty() { None } else { own.next() };
        self.pool.put(own.collect());
        self.tree.release(held);
        self.tree.touch(node);
        // An empty tail is worth as much as a snapshot.
        let known = tail.is_empty() && (tokens.is_empty() || self.tree.node(node).slot.is_some());
        if self.has_state && !known {
            self.tree.insert_tail(node, tail, page, Some(slot));
        } else {
            self.slots.push(slot);
            self.leave_tail(node, tail, page);
        }
    }

    /// As [`PageCache::end`], where what is behind the first `kept` tokens is of no use to anybody.
    pub fn end_behind(&mut self, mut holding: Holding, tokens: &[u32], kept: usize) {
        let mut kept = kept.min(tokens.len());
        let goes_back = kept / PAGE == tokens.len() / PAGE;
        while holding.shared * PAGE > kept {
            let (last, parent) = (holding.node, self.tree.parent(holding.node));
            self.tree.release_one(last);
            holding.shared -= 1;
            holding.node = parent;
            if self.tree.is_removable(last) {
                // Its page is the sequence's own again: it may begin with tokens that are kept.
                self.slots.extend(self.tree.remove(last).slot);
            } else {
                // Others have the page as a whole.
                holding.pages.remove(holding.shared);
                kept = kept.min(holding.shared * PAGE);
            }
        }
        // A state goes back within its page alone.
        if self.has_state && !goes_back {
            self.pool.put(holding.pages.split_off(holding.shared));
            self.slots.push(holding.slot);
            self.tree.release(holding.node);
            return self.prune(holding.node);
        }
        self.end(holding, &tokens[..kept]);
    }

    /// Leaves a tail without a state.
    fn leave_tail(&mut self, node: NodeId, tokens: &[u32], page: Option<usize>) {
        // One tail is enough of those that begin alike: the longest.
        let alike = |tail: &[u32]| tail.starts_with(tokens) || tokens.starts_with(tail);
        let known = self.tree.tails(node).find(|(_, tail)| page.is_some() && alike(&tail.tokens));
        let known = known.map(|(id, tail)| (id, tail.tokens.len()));
        match known {
            Some((id, length)) if length >= tokens.len() => {
                self.tree.touch(id);
                self.pool.put(page.into_iter().collect());
            }
            Some((id, _)) => {
                self.tree.insert_tail(node, tokens, page, None);
                self.remove(id);
            }
            None if page.is_some() => self.tree.insert_tail(node, tokens, page, None),
            None => {}
        }
    }

    /// Ends a sequence whose keys and values are of no use to anybody. Which of its pages has them first nobody knows, so all go that
    /// no other sequence reads, and all states behind them.
    pub fn discard(&mut self, mut holding: Holding) {
        self.pool.put(holding.pages.split_off(holding.shared));
        self.slots.push(holding.slot);
        self.tree.release(holding.node);
        let mut node = holding.node;
        for _ in 0..holding.shared {
            let parent = self.tree.parent(node);
            self.slots.extend(self.tree.take_slot(node));
            if self.tree.is_removable(node) {
                self.remove(node);
            }
            node = parent;
        }
    }
}

/// What became of the wish for pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grown {
    /// They were there.
    Enough,
    /// Some were taken: the device does not know them.
    More,
    /// There are too few, and none was taken.
    Short,
}
