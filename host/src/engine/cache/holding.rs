//! `Holding`: what a running sequence has of the cache, from its start to its end.
use super::tail::usable;
use super::tree::NodeId;
use super::{PAGE, PAGES_AHEAD, PageCache};

/// Where a sequence can go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    node: NodeId,
    pub(super) tail: Option<NodeId>,
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
    node: NodeId,
    /// How many are the tree's, and how many were when it started.
    pub(super) shared: usize,
    pub(super) found: usize,
    /// Whether full pages go to the tree while it runs.
    gives: bool,
    /// The position behind the last that the slot's state has seen, of the sequence that left it.
    seen: usize,
}

impl Holding {
    /// Tokens of the pages that are in the tree.
    pub fn shared_tokens(&self) -> usize {
        self.shared * PAGE
    }

    /// Whether others may find its next full page in the tree.
    pub fn gives(&self) -> bool {
        self.gives
    }
}

impl PageCache {
    /// The deepest place that a sequence of `tokens` can go on from; its last token is always computed. Prefixes of another `salt` are not looked at.
    pub fn find(&mut self, salt: u64, tokens: &[u32]) -> Found {
        let root = self.tree.root(salt);
        let most = tokens.len().saturating_sub(1);
        let path = self.tree.path(root, &tokens[..most]);
        for (pages, &node) in path.iter().enumerate().rev() {
            let rest = &tokens[pages * PAGE..most];
            let tails = self.tree.tails(node);
            let usable = tails.filter_map(|(id, tail)| {
                Some((usable(&tail.tokens, tail.slot.map(|_| tail.seen_behind), rest)?, tail.tokens.len(), id))
            });
            // Of equal ones that of which least is lost.
            let best = usable.max_by_key(|&(common, length, id)| (common, std::cmp::Reverse((length, id))));
            let best = best.filter(|(common, ..)| pages * PAGE + common > 0);
            if let Some((common, _, tail)) = best {
                return Found { node, tail: Some(tail), pages, tokens: pages * PAGE + common };
            }
            if !self.has_state {
                return Found { node, tail: None, pages, tokens: pages * PAGE };
            }
        }
        self.nothing(salt)
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
        let (node, shared, gives) = (found.node, found.pages, !self.has_state);
        let mut holding = Holding { node, shared, found: shared, gives, ..Holding::default() };
        holding.pages = self.tree.pages_to(node);
        let mut slot = None;
        if let Some(tail) = found.tail {
            let tail = self.tree.remove(tail);
            holding.pages.extend(tail.page);
            holding.seen = shared * PAGE + tail.tokens.len() + tail.seen_behind;
            slot = tail.slot;
        }
        holding.slot = slot.or_else(|| self.take_slot()).expect("a slot is to be had");
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
    /// page already, the sequence keeps its own, and what follows, to itself.
    pub fn give(&mut self, holding: &mut Holding, tokens: &[u32]) {
        while holding.gives && (holding.shared + 1) * PAGE <= tokens.len() {
            let page = &tokens[holding.shared * PAGE..][..PAGE];
            if self.tree.child(holding.node, page).is_some() {
                holding.gives = false;
                return;
            }
            holding.node = self.tree.insert(holding.node, page, holding.pages[holding.shared]);
            self.tree.hold_one(holding.node);
            holding.shared += 1;
        }
    }

    /// Ends a sequence of which `tokens` are computed, those in the tree at least: its pages stay for others.
    pub fn end(&mut self, holding: Holding, tokens: &[u32]) {
        let Holding { mut pages, slot, node: held, shared, seen, .. } = holding;
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
        let seen_behind = seen.saturating_sub(tokens.len());
        match self.has_state && !tokens.is_empty() {
            true => self.tree.insert_tail(node, tail, page, Some(slot), seen_behind),
            false => {
                self.slots.push(slot);
                self.leave_tail(node, tail, page);
            }
        }
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
                self.tree.insert_tail(node, tokens, page, None, 0);
                self.remove(id);
            }
            None if page.is_some() => self.tree.insert_tail(node, tokens, page, None, 0),
            None => {}
        }
    }

    /// Ends a sequence whose keys and values are of no use to anybody.
    pub fn discard(&mut self, mut holding: Holding) {
        self.pool.put(holding.pages.split_off(holding.shared));
        self.slots.push(holding.slot);
        self.tree.release(holding.node);
        let mut node = holding.node;
        for _ in holding.found..holding.shared {
            if !self.tree.is_removable(node) {
                break;
            }
            let parent = self.tree.parent(node);
            self.remove(node);
            node = parent;
        }
        self.prune(node);
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
