//! The cache: KV pages and slots, and the tree of prefixes that they hold.
//!
//! Every page is free, in the tree, or held by one running sequence. A sequence that begins as the tree has it reads the tree's
//! pages and computes the rest into its own; it gives those that are full to the tree, where others find them, also while it
//! runs. What nobody reads stays until pages are short: then the leaf goes that was not used for longest.
//!
//! Where a model keeps a state, whole pages alone are not enough to go on behind them. So the tail of an ended sequence has its
//! slot, and some pages have one too: a snapshot, from which sequences begin with a copy. Slots are those of running sequences,
//! of tails, of snapshots, or free; when one is needed, the tail or snapshot that was not used for longest gives up its own.
mod holding;
mod pages;
mod snapshots;
mod tail;
#[cfg(test)]
mod tests;
mod tree;

use gpu_kernels::PAGE_TOKENS;

pub use holding::{Found, Grown, Holding};
use pages::PagePool;
use tree::{NodeId, Tree};

/// Tokens of a page.
const PAGE: usize = PAGE_TOKENS as usize;

/// A sequence takes pages up to the next multiple of so many: the device's block tables are written once for all of them.
const PAGES_AHEAD: usize = 8;

/// Where the pages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// All pages that sequences may have.
    pub pages: usize,
    /// In no use.
    pub free: usize,
    /// In the tree, those that running sequences read included.
    pub cached: usize,
    /// Of those in the tree, how many no running sequence reads.
    pub idle: usize,
}

/// KV pages, slots, and what they hold.
#[derive(Debug)]
pub struct PageCache {
    pool: PagePool,
    slots: Vec<usize>,
    tree: Tree,
    has_state: bool,
    /// Slots to be copied in front of the next step, [from, to], in their order.
    copies: Vec<[usize; 2]>,
    pages: usize,
    /// How many uses later a state at the end of a turn counts as used.
    bonus: u64,
    evicted: u64,
}

/// Uses of prefixes for each slot, after which the state at the end of a turn is as old as others: a sequence that comes and goes
/// makes three or four.
const BONUS: u64 = 4;

impl PageCache {
    /// All of `pages` pages but page 0, which pads write, and `slots` slots; `has_state` where a sequence keeps more than keys
    /// and values.
    pub fn new(pages: usize, slots: usize, has_state: bool) -> PageCache {
        let (pool, tree, bonus) = (PagePool::new(pages), Tree::default(), BONUS * slots as u64);
        let slots = (0..slots).rev().collect();
        PageCache { pages: pool.count(), pool, slots, tree, has_state, copies: Vec::new(), bonus, evicted: 0 }
    }

    /// Where the pages are.
    pub fn usage(&self) -> CacheUsage {
        let (free, cached, idle) = (self.pool.count(), self.tree.pages(), self.tree.idle());
        CacheUsage { pages: self.pages, free, cached, idle }
    }

    /// Pages that were taken from the tree because they were short.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Pages that a sequence may get: the free ones, and those that nobody reads.
    pub fn room(&self) -> usize {
        self.pool.count() + self.tree.idle()
    }

    /// Gives up all prefixes that no running sequence reads.
    pub fn forget(&mut self) {
        while self.evict().is_some() {}
    }

    /// `count` free pages for work beside all sequences, to be given back by [`PageCache::put`].
    pub fn take(&mut self, count: usize) -> Option<Vec<usize>> {
        if count > self.room() {
            return None;
        }
        while self.pool.count() < count {
            self.evicted += self.evict()?;
        }
        self.pool.take(count)
    }

    /// Gives pages back.
    pub fn put(&mut self, pages: Vec<usize>) {
        self.pool.put(pages);
    }

    /// A slot that no sequence has.
    pub fn free_slot(&self) -> Option<usize> {
        self.slots.last().copied()
    }

    /// Gives up the leaf that was not used for longest, and says how many pages are free then; none where there is no leaf.
    fn evict(&mut self) -> Option<u64> {
        let leaf = self.tree.oldest()?;
        let parent = self.tree.parent(leaf);
        let before = self.pool.count();
        self.remove(leaf);
        self.prune(parent);
        Some((self.pool.count() - before) as u64)
    }

    fn remove(&mut self, leaf: NodeId) {
        let node = self.tree.remove(leaf);
        self.pool.put(node.page.into_iter().collect());
        self.slots.extend(node.slot);
    }

    /// Where a model keeps a state, pages in front of none are of no use.
    fn prune(&mut self, mut node: NodeId) {
        while self.has_state && self.tree.is_removable(node) && self.tree.node(node).slot.is_none() {
            let parent = self.tree.parent(node);
            self.remove(node);
            node = parent;
        }
    }
}
