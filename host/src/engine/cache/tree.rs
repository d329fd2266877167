//! `Tree`: which tokens the cached pages hold, as a tree over whole pages.
//!
//! A node is a page of 64 tokens behind those of its parent, so the way from the root is a prefix. Beside its children a node may
//! have tails: what an ended sequence left behind its last whole page. A tail has fewer tokens than a page, and the slot of a
//! sequence that keeps more than keys and values; it belongs to the one sequence that goes on from it. A page may have a slot
//! too, the snapshot of a state at its end: many may go on from copies of it.
use std::collections::{BTreeSet, HashMap};

use gpu_kernels::PAGE_TOKENS;

/// Names a node; ids count up and never come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

/// The node of no tokens.
pub const ROOT: NodeId = NodeId(0);

/// A page, or a tail.
#[derive(Debug, Default)]
pub struct Node {
    parent: NodeId,
    /// As many as a page has; fewer for a tail.
    pub tokens: Box<[u32]>,
    /// None for the root, and for a tail without tokens.
    pub page: Option<usize>,
    /// Where a model keeps a state: of a tail, the slot of the sequence that left it; of a page, its snapshot.
    pub slot: Option<usize>,
    children: HashMap<Box<[u32]>, NodeId>,
    tails: Vec<NodeId>,
    /// Running sequences that read the page. Those of a child are among them.
    users: usize,
    /// When it was used last.
    used: u64,
    /// How many uses later its slot counts as used.
    bonus: u64,
}

impl Node {
    /// Whether it is a tail, or a root.
    pub fn is_tail(&self) -> bool {
        self.tokens.len() < PAGE_TOKENS as usize
    }

    fn is_leaf(&self) -> bool {
        self.children.is_empty() && self.tails.is_empty()
    }
}

/// All cached prefixes.
#[derive(Debug)]
pub struct Tree {
    nodes: HashMap<NodeId, Node>,
    /// Nodes without children, tails and users, by the time of their last use.
    leaves: BTreeSet<(u64, NodeId)>,
    /// Nodes that have a slot, by the time of their last use and their bonus.
    states: BTreeSet<(u64, NodeId)>,
    next: u64,
    clock: u64,
    /// Pages of all nodes, and of those without users.
    pages: usize,
    idle: usize,
    /// The nodes of no tokens of those who share nothing with others, by their numbers.
    roots: HashMap<u64, NodeId>,
}

impl Default for Tree {
    fn default() -> Tree {
        // The root is in use for ever.
        let root = Node { users: 1, ..Node::default() };
        let nodes = HashMap::from([(ROOT, root)]);
        Tree {
            nodes,
            leaves: BTreeSet::new(),
            states: BTreeSet::new(),
            next: 1,
            clock: 0,
            pages: 0,
            idle: 0,
            roots: HashMap::new(),
        }
    }
}

impl Tree {
    /// A node.
    ///
    /// # Panics
    /// If it was removed.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node that is named is there")
    }

    /// Pages that the tree holds.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Pages of nodes without users.
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// The node of no tokens of those who have this number; 0 is everybody's. It stays for ever.
    pub fn root(&mut self, salt: u64) -> NodeId {
        if salt == 0 {
            return ROOT;
        }
        if let Some(root) = self.roots.get(&salt) {
            return *root;
        }
        let id = NodeId(self.next);
        self.next += 1;
        self.nodes.insert(id, Node { users: 1, ..Node::default() });
        self.roots.insert(salt, id);
        id
    }

    /// The nodes of `tokens`' whole pages from `root` on, as far as they are there.
    pub fn path(&self, root: NodeId, tokens: &[u32]) -> Vec<NodeId> {
        let mut path = vec![root];
        for page in tokens.chunks_exact(PAGE_TOKENS as usize) {
            match self.child(path[path.len() - 1], page) {
                Some(child) => path.push(child),
                None => break,
            }
        }
        path
    }

    /// The child that holds `page`.
    pub fn child(&self, parent: NodeId, page: &[u32]) -> Option<NodeId> {
        self.node(parent).children.get(page).copied()
    }

    /// The tails of a node.
    pub fn tails(&self, parent: NodeId) -> impl Iterator<Item = (NodeId, &Node)> {
        self.node(parent).tails.iter().map(|&id| (id, self.node(id)))
    }

    /// The pages from the root to `id`.
    pub fn pages_to(&self, id: NodeId) -> Vec<usize> {
        let mut pages: Vec<usize> = self.way_up(id).filter_map(|id| self.node(id).page).collect();
        pages.reverse();
        pages
    }

    fn way_up(&self, from: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(from), |&id| (id != ROOT).then(|| self.node(id).parent))
    }

    /// The node so many pages in front of `id`; none in front of the root.
    pub fn ancestor(&self, id: NodeId, pages: usize) -> Option<NodeId> {
        self.way_up(id).nth(pages)
    }

    /// Adds a page that is not there.
    pub fn insert(&mut self, parent: NodeId, tokens: &[u32], page: usize) -> NodeId {
        let id = self.add(Node { parent, tokens: tokens.into(), page: Some(page), ..Node::default() });
        self.node_mut(parent).children.insert(tokens.into(), id);
        id
    }

    /// Adds a tail.
    pub fn insert_tail(&mut self, parent: NodeId, tokens: &[u32], page: Option<usize>, slot: Option<usize>) {
        let id = self.add(Node { parent, tokens: tokens.into(), page, slot, ..Node::default() });
        self.node_mut(parent).tails.push(id);
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.next);
        self.next += 1;
        let pages = usize::from(node.page.is_some());
        self.pages += pages;
        self.idle += pages;
        let (parent, used) = (node.parent, self.clock);
        self.leaves.remove(&(self.node(parent).used, parent));
        self.leaves.insert((used, id));
        if node.slot.is_some() {
            self.states.insert((used, id));
        }
        self.nodes.insert(id, Node { used, ..node });
        id
    }

    /// Counts a user of all pages from the root to `id`.
    pub fn hold(&mut self, id: NodeId) {
        for id in self.way_up(id).collect::<Vec<_>>() {
            self.hold_one(id);
        }
    }

    /// Counts a user of one page, who has those in front of it already.
    pub fn hold_one(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.users += 1;
        if node.users == 1 {
            let (used, pages) = (node.used, usize::from(node.page.is_some()));
            self.idle -= pages;
            self.leaves.remove(&(used, id));
        }
    }

    /// Counts a user less of all pages from the root to `id`.
    pub fn release(&mut self, id: NodeId) {
        for id in self.way_up(id).collect::<Vec<_>>() {
            self.release_one(id);
        }
    }

    /// Counts a user less of one page, who still has those in front of it.
    pub fn release_one(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.users -= 1;
        if node.users == 0 {
            let (used, leaf, pages) = (node.used, node.is_leaf(), usize::from(node.page.is_some()));
            self.idle += pages;
            if leaf {
                self.leaves.insert((used, id));
            }
        }
    }

    /// Notes that all pages from the root to `id` are used now.
    pub fn touch(&mut self, id: NodeId) {
        self.clock += 1;
        for id in self.way_up(id).collect::<Vec<_>>() {
            let clock = self.clock;
            let node = self.node_mut(id);
            let (before, bonus) = (std::mem::replace(&mut node.used, clock), node.bonus);
            for (set, bonus) in [(&mut self.leaves, 0), (&mut self.states, bonus)] {
                if set.remove(&(before + bonus, id)) {
                    set.insert((clock + bonus, id));
                }
            }
        }
    }

    /// The leaf without users that was not used for longest.
    pub fn oldest(&self) -> Option<NodeId> {
        self.leaves.first().map(|(_, id)| *id)
    }

    /// The node with a slot that was not used for longest.
    pub fn oldest_state(&self) -> Option<NodeId> {
        self.states.first().map(|(_, id)| *id)
    }

    /// Gives a page a snapshot of the state at its end.
    pub fn put_slot(&mut self, id: NodeId, slot: usize) {
        let node = self.node_mut(id);
        node.slot = Some(slot);
        let used = node.used;
        self.states.insert((used, id));
        self.touch(id);
    }

    /// Has a node's slot count as used `bonus` uses later.
    pub fn favour(&mut self, id: NodeId, bonus: u64) {
        let node = self.node_mut(id);
        let (used, before) = (node.used, std::mem::replace(&mut node.bonus, bonus));
        if self.states.remove(&(used + before, id)) {
            self.states.insert((used + bonus, id));
        }
    }

    /// Takes a page's snapshot.
    pub fn take_slot(&mut self, id: NodeId) -> Option<usize> {
        let node = self.node_mut(id);
        let (slot, used) = (node.slot.take(), node.used + std::mem::take(&mut node.bonus));
        self.states.remove(&(used, id));
        slot
    }

    /// Every page of the tree, and every slot.
    #[cfg(test)]
    pub fn contents(&self) -> (Vec<usize>, Vec<usize>) {
        let pages = self.nodes.values().filter_map(|node| node.page).collect();
        (pages, self.nodes.values().filter_map(|node| node.slot).collect())
    }

    /// The parent of a node.
    pub fn parent(&self, id: NodeId) -> NodeId {
        self.node(id).parent
    }

    /// Whether [`Tree::remove`] takes it.
    pub fn is_removable(&self, id: NodeId) -> bool {
        let node = self.node(id);
        node.is_leaf() && node.users == 0
    }

    /// Removes a leaf without users.
    pub fn remove(&mut self, id: NodeId) -> Node {
        debug_assert!(self.is_removable(id));
        let node = self.nodes.remove(&id).expect("a node that is named is there");
        self.leaves.remove(&(node.used, id));
        self.states.remove(&(node.used + node.bonus, id));
        let pages = usize::from(node.page.is_some());
        self.pages -= pages;
        self.idle -= pages;
        let parent = self.node_mut(node.parent);
        if parent.children.get(&node.tokens) == Some(&id) {
            parent.children.remove(&node.tokens);
        } else {
            parent.tails.retain(|tail| *tail != id);
        }
        if self.is_removable(node.parent) {
            self.leaves.insert((self.node(node.parent).used, node.parent));
        }
        node
    }
}
