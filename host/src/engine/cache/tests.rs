//! Random traces of the cache against a model of it that is a plain list.
use super::*;

mod ends;
mod states;

const PAGES: usize = 14;
const SLOTS: usize = 4;

/// Random numbers that are the same in every run.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// A cached prefix: all tokens from the start on. The last page is its own, or the tail is.
struct Entry {
    tokens: Vec<u32>,
    tail: bool,
    users: usize,
    used: u64,
    number: u64,
}

/// What the cache should hold, without a tree and without numbers of pages.
#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    clock: u64,
    number: u64,
}

impl List {
    /// Tokens that a new sequence need not compute, by the definition: whole pages, and a tail of which half is the same.
    fn found(&self, tokens: &[u32]) -> usize {
        let most = tokens.len() - 1;
        let common = |entry: &Entry| entry.tokens.iter().zip(&tokens[..most]).take_while(|(a, b)| a == b).count();
        let whole = self.entries.iter().filter(|entry| !entry.tail && common(entry) == entry.tokens.len());
        let whole = whole.map(|entry| entry.tokens.len()).max().unwrap_or(0);
        let tails = self.entries.iter().filter(|entry| entry.tail && entry.tokens.len() / PAGE * PAGE == whole);
        let tails =
            tails.filter(|entry| common(entry) > whole && (common(entry) - whole) * 2 >= entry.tokens.len() - whole);
        tails.map(common).max().unwrap_or(whole)
    }

    fn add(&mut self, tokens: &[u32], tail: bool, users: usize) {
        self.number += 1;
        let (used, number) = (self.clock, self.number);
        self.entries.push(Entry { tokens: tokens.to_vec(), tail, users, used, number });
    }

    fn has(&self, tokens: &[u32], tail: bool) -> bool {
        self.entries.iter().any(|entry| entry.tail == tail && entry.tokens == tokens)
    }

    fn touch(&mut self, tokens: &[u32]) {
        self.clock += 1;
        let clock = self.clock;
        let on_the_way = |entry: &&mut Entry| !entry.tail && tokens.starts_with(&entry.tokens);
        self.entries.iter_mut().filter(on_the_way).for_each(|entry| entry.used = clock);
    }

    fn count_users(&mut self, tokens: &[u32], change: isize) {
        let on_the_way = |entry: &&mut Entry| !entry.tail && tokens.starts_with(&entry.tokens);
        let counted = self.entries.iter_mut().filter(on_the_way);
        counted.for_each(|entry| entry.users = entry.users.checked_add_signed(change).expect("no user is missing"));
    }

    fn evict(&mut self) {
        let extended = |entry: &Entry| {
            let longer = |other: &&Entry| other.number != entry.number && other.tokens.starts_with(&entry.tokens);
            !entry.tail && self.entries.iter().any(|other| longer(&other))
        };
        let leaves = self.entries.iter().enumerate().filter(|(_, entry)| entry.users == 0 && !extended(entry));
        let (index, _) = leaves.min_by_key(|(_, entry)| (entry.used, entry.number)).expect("a leaf");
        self.entries.remove(index);
    }
}

/// A running sequence.
struct Running {
    tokens: Vec<u32>,
    computed: usize,
    found: usize,
    holding: Holding,
}

/// Prompts that begin alike: pages of few kinds, and a rest.
fn prompt(numbers: &mut Numbers) -> Vec<u32> {
    let pages = numbers.below(4);
    let mut tokens: Vec<u32> = (0..pages).flat_map(|_| [numbers.below(2) as u32; PAGE]).collect();
    let (kind, rest) = (numbers.below(2) as u32, 1 + numbers.below(PAGE));
    tokens.extend((0..rest as u32).map(|index| if index < 20 { 7 } else { 8 + kind }));
    tokens
}

fn check(cache: &PageCache, list: &List, running: &[Running]) {
    let (mut pages, mut slots) = cache.tree.contents();
    assert_eq!(pages.len(), list.entries.len(), "as many cached pages as in the list");
    for sequence in running {
        pages.extend(&sequence.holding.pages[sequence.holding.shared..]);
        slots.push(sequence.holding.slot);
    }
    let usage = cache.usage();
    assert_eq!((usage.cached, usage.free), (list.entries.len(), cache.pool.count()));
    assert_eq!(usage.idle, list.entries.iter().filter(|entry| entry.users == 0).count());
    pages.extend(cache.pool.free());
    pages.sort_unstable();
    assert_eq!(pages, (1..=PAGES).collect::<Vec<_>>(), "free + cached + held = all");
    slots.extend(&cache.slots);
    slots.sort_unstable();
    assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>());
}

/// One trace; the cache and the list go on from what the one before left.
struct Trace<'a> {
    cache: &'a mut PageCache,
    list: &'a mut List,
    running: Vec<Running>,
}

impl Trace<'_> {
    /// The list gives up what the cache had to.
    fn follow(&mut self, free: usize, taken: usize) {
        (free..taken).for_each(|_| self.list.evict());
    }

    fn start(&mut self, tokens: Vec<u32>, most: usize, spare: usize) {
        let found = self.cache.find(0, &tokens);
        assert_eq!(found.tokens, self.list.found(&tokens), "hits");
        let (free, room) = (self.cache.pool.count(), self.cache.room());
        let Some(holding) = self.cache.start(&tokens, found, most, spare) else {
            let idle =
                |entry: &&Entry| !entry.tail && entry.users == 0 && tokens[..found.tokens].starts_with(&entry.tokens);
            let own = self.list.entries.iter().filter(idle).count();
            let tail = usize::from(found.tail.is_some());
            let least = (tokens.len() + 1).div_ceil(PAGE).min(most) - found.pages - tail;
            return assert!(room - own - tail < least + spare, "there is no room");
        };
        self.list.touch(&tokens[..found.pages * PAGE]);
        self.list.count_users(&tokens[..found.pages * PAGE], 1);
        if found.tail.is_some() {
            let used = |entry: &Entry| entry.tail && entry.tokens.starts_with(&tokens[..found.tokens]);
            let lengths = self.list.entries.iter().filter(|entry| used(entry));
            let least = lengths.map(|entry| (entry.tokens.len(), entry.number)).min().expect("the tail that was found");
            self.list.entries.retain(|entry| entry.number != least.1);
        }
        assert!(holding.pages.len() >= (tokens.len() + 1).div_ceil(PAGE).min(most) && holding.pages.len() <= most);
        let taken = holding.pages.len() - found.pages - usize::from(found.tail.is_some());
        self.follow(free, taken);
        self.running.push(Running { tokens, computed: found.tokens, found: found.pages, holding });
    }

    /// A sequence computes some of its tokens, and the ones it chooses.
    fn advance(&mut self, index: usize, count: usize) {
        let sequence = &mut self.running[index];
        if sequence.computed == sequence.tokens.len() {
            sequence.tokens.push(3);
        }
        let least = (sequence.computed + count).min(sequence.tokens.len()).div_ceil(PAGE);
        let (free, had) = (self.cache.pool.count(), sequence.holding.pages.len());
        if self.cache.grow(&mut sequence.holding, least, 8) == Grown::Short {
            return;
        }
        let taken = sequence.holding.pages.len() - had;
        self.follow(free, taken);
        let sequence = &mut self.running[index];
        sequence.computed = (sequence.computed + count).min(sequence.tokens.len());
        let computed = sequence.tokens[..sequence.computed].to_vec();
        let before = sequence.holding.shared;
        let changed = self.cache.give(&mut sequence.holding, &computed);
        let mut known = false;
        for page in before..sequence.holding.shared {
            let tokens = &computed[..(page + 1) * PAGE];
            let entry = self.list.entries.iter_mut().find(|entry| !entry.tail && entry.tokens == tokens);
            known |= entry.is_some();
            match entry {
                Some(entry) => entry.users += 1,
                None => self.list.add(tokens, false, 1),
            }
        }
        assert_eq!(changed, known, "it has another's page where there is one");
    }

    fn end(&mut self, index: usize) {
        let Running { tokens, computed, holding, .. } = self.running.remove(index);
        let (tokens, whole) = (&tokens[..computed], computed / PAGE * PAGE);
        self.list.count_users(&tokens[..holding.shared * PAGE], -1);
        let shared = holding.shared;
        self.cache.end(holding, tokens);
        for page in shared + 1..=whole / PAGE {
            if !self.list.has(&tokens[..page * PAGE], false) {
                self.list.add(&tokens[..page * PAGE], false, 0);
            }
        }
        self.list.touch(&tokens[..whole]);
        if computed > whole {
            self.leave_tail(tokens, whole);
        }
    }

    fn leave_tail(&mut self, tokens: &[u32], whole: usize) {
        let alike = |entry: &&mut Entry| {
            let same_page = entry.tail && entry.tokens.len() / PAGE * PAGE == whole;
            same_page && (entry.tokens.starts_with(tokens) || tokens.starts_with(&entry.tokens))
        };
        match self.list.entries.iter_mut().find(alike).map(|entry| (entry.number, entry.tokens.len())) {
            Some((number, length)) if length >= tokens.len() => {
                self.list.touch(&tokens[..whole]);
                let clock = self.list.clock;
                self.list
                    .entries
                    .iter_mut()
                    .filter(|entry| entry.number == number)
                    .for_each(|entry| entry.used = clock);
            }
            known => {
                self.list.add(tokens, true, 0);
                self.list.entries.retain(|entry| Some(entry.number) != known.map(|(number, _)| number));
            }
        }
    }

    fn discard(&mut self, index: usize) {
        let Running { tokens, holding, .. } = self.running.remove(index);
        let shared = holding.shared;
        self.list.count_users(&tokens[..shared * PAGE], -1);
        self.cache.discard(holding);
        for page in (1..=shared).rev() {
            let own = &tokens[..page * PAGE];
            let longer =
                |entry: &Entry| entry.tokens.starts_with(own) && (entry.tokens.len() > own.len() || entry.users > 0);
            if !self.list.entries.iter().any(longer) {
                self.list.entries.retain(|entry| entry.tail || entry.tokens != own);
            }
        }
    }
}

/// Sequences start, go on, end and fail in any order; every page is in one place, and the hits are those of the list.
#[test]
fn ten_thousand_traces_agree_with_a_plain_list() {
    let mut numbers = Numbers(12);
    let (mut cache, mut list) = (PageCache::new(PAGES + 1, SLOTS, false), List::default());
    let (mut hits, mut evicted) = (0, 0);
    for trace in 0..10_000 {
        let mut state = Trace { cache: &mut cache, list: &mut list, running: Vec::new() };
        for _ in 0..numbers.below(16) {
            let some = if state.running.is_empty() { None } else { Some(numbers.below(state.running.len())) };
            match (numbers.below(8), some) {
                (0..=2, _) if state.running.len() < SLOTS => {
                    let (tokens, spare) = (prompt(&mut numbers), numbers.below(3));
                    state.start(tokens, 8, spare);
                }
                (3..=5, Some(index)) => state.advance(index, 1 + numbers.below(3 * PAGE)),
                (6, Some(index)) => state.end(index),
                (7, Some(index)) if numbers.below(4) == 0 => state.discard(index),
                _ => {}
            }
            check(state.cache, state.list, &state.running);
        }
        hits += state.running.iter().filter(|sequence| sequence.found > 0).count();
        while !state.running.is_empty() {
            state.end(0);
        }
        check(&cache, &list, &[]);
        assert_eq!(cache.room(), PAGES, "nobody reads a page");
        if trace % 50 == 49 {
            evicted = cache.evicted();
            cache.forget();
            list.entries.clear();
            check(&cache, &list, &[]);
            assert_eq!(cache.usage(), CacheUsage { pages: PAGES, free: PAGES, cached: 0, idle: 0 });
        }
    }
    assert!(hits > 1000 && evicted > 1000, "{hits} hits, {evicted} pages evicted");
}

#[test]
fn whole_pages_of_the_common_prefix_are_found() {
    for (common, length) in
        [(0, 10), (63, 200), (64, 65), (64, 64), (130, 200), (130, 130), (192, 193), (192, 192), (250, 300)]
    {
        let mut cache = PageCache::new(40, 2, false);
        let first: Vec<u32> = (0..320).collect();
        let holding = cache.start(&first, Found::default(), 40, 0).expect("room");
        cache.end(holding, &first[..319]);
        let tokens: Vec<u32> = (0..common as u32).chain(900..).take(length).collect();
        assert_eq!(cache.find(0, &tokens).tokens, common.min(length - 1) / PAGE * PAGE, "{common} of {length}");
    }
}

#[test]
fn who_has_another_number_finds_nothing() {
    let tokens: Vec<u32> = (0..150).collect();
    for has_state in [false, true] {
        let mut cache = PageCache::new(40, 4, has_state);
        let free = cache.room();
        for salt in [0, 7] {
            let nothing = cache.nothing(salt);
            assert_eq!(cache.find(salt, &tokens), nothing, "{salt}");
            let holding = cache.start(&tokens, nothing, 10, 0).expect("room");
            cache.end(holding, &tokens);
        }
        assert_eq!((cache.find(0, &tokens).tokens, cache.find(7, &tokens).tokens), (149, 149));
        assert_eq!(cache.find(8, &tokens).tokens, 0);
        assert_eq!(cache.room(), free, "cached pages can be had again");
        cache.forget();
        assert_eq!((cache.find(7, &tokens).tokens, cache.room()), (0, free));
    }
}
