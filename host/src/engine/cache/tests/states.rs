//! States: which tail or snapshot a sequence goes on from, and that each copy reads what it is to read.
use super::*;

const SLOTS: usize = 5;

/// What a slot holds: the tokens that its state has seen, of which those of the last page can be taken back.
type Seen = Vec<u32>;

/// A running sequence.
struct Sequence {
    tokens: Vec<u32>,
    computed: usize,
    holding: Holding,
}

/// The cache, and what a device would have in its slots.
struct Device {
    cache: PageCache,
    slots: Vec<Seen>,
    running: Vec<Sequence>,
    reused: usize,
    copies: usize,
}

impl Device {
    fn new(pages: usize) -> Device {
        let cache = PageCache::new(pages, SLOTS, true);
        Device { cache, slots: vec![Seen::new(); SLOTS], running: Vec::new(), reused: 0, copies: 0 }
    }

    /// Makes the copies that are asked for, in their order.
    fn copy(&mut self) {
        for [from, to] in self.cache.take_copies() {
            assert_ne!(from, to);
            self.slots[to] = self.slots[from].clone();
            self.copies += 1;
        }
    }

    /// Starts a sequence, and says how many of its tokens need not be computed.
    fn start(&mut self, tokens: Vec<u32>) -> Option<usize> {
        let found = self.cache.find(0, &tokens);
        let holding = self.cache.start(&tokens, found, 8, self.running.len())?;
        self.reused += found.tokens;
        self.running.push(Sequence { tokens, computed: found.tokens, holding });
        Some(found.tokens)
    }

    /// Computes `count` tokens, not beyond the end of a page, and leaves a snapshot of the page's begin if told to.
    fn advance(&mut self, index: usize, count: usize, snapshot: bool) {
        let sequence = &mut self.running[index];
        let end = (sequence.computed + count).min(sequence.tokens.len());
        if self.cache.grow(&mut sequence.holding, end.div_ceil(PAGE), 8) == Grown::Short {
            return;
        }
        self.copy();
        let sequence = &mut self.running[index];
        let (slot, computed) = (sequence.holding.slot, sequence.computed);
        if end > computed {
            let seen = &mut self.slots[slot];
            let kept = computed / PAGE * PAGE;
            assert!(seen.len() >= computed && seen.len() < kept + PAGE || computed == 0, "the state is of this page");
            assert!(computed == 0 || seen[..computed] == sequence.tokens[..computed], "the state is of these tokens");
            *seen = sequence.tokens[..end].to_vec();
            sequence.computed = end;
        }
        let computed = sequence.tokens[..sequence.computed].to_vec();
        self.cache.give(&mut sequence.holding, &computed);
        if snapshot {
            self.cache.leave_snapshot(&sequence.holding, computed.len() / PAGE * PAGE, false);
        }
    }

    fn end(&mut self, index: usize) {
        let Sequence { tokens, computed, holding } = self.running.remove(index);
        self.cache.end(holding, &tokens[..computed]);
    }

    /// Every slot and every page is in one place.
    fn check(&self, pages: usize) {
        let (mut held, mut slots) = self.cache.tree.contents();
        for sequence in &self.running {
            held.extend(&sequence.holding.pages[sequence.holding.shared..]);
            slots.push(sequence.holding.slot);
        }
        held.extend(self.cache.pool.free());
        held.sort_unstable();
        assert_eq!(held, (1..pages).collect::<Vec<_>>());
        slots.extend(&self.cache.slots);
        slots.sort_unstable();
        assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>());
    }
}

/// Sequences start, go on, leave snapshots, end and fail in any order: each goes on from the state of its own tokens.
#[test]
fn ten_thousand_traces_go_on_from_the_state_of_their_own_tokens() {
    const PAGES: usize = 20;
    let mut numbers = Numbers(16);
    let mut device = Device::new(PAGES);
    for trace in 0..10_000 {
        for _ in 0..numbers.below(16) {
            let some = if device.running.is_empty() { None } else { Some(numbers.below(device.running.len())) };
            match (numbers.below(8), some) {
                (0..=2, _) if device.running.len() + 2 < SLOTS => drop(device.start(prompt(&mut numbers))),
                (3..=5, Some(index)) => {
                    let left = PAGE - device.running[index].computed % PAGE;
                    device.advance(index, 1 + numbers.below(left), numbers.below(2) == 0);
                }
                (6, Some(index)) => device.end(index),
                (7, Some(index)) if numbers.below(4) == 0 => {
                    let failed = device.running.remove(index);
                    device.cache.discard(failed.holding);
                }
                _ => {}
            }
            device.check(PAGES);
        }
        if trace % 50 == 49 {
            (0..device.running.len()).for_each(|_| device.end(0));
            device.cache.forget();
            assert_eq!(device.cache.room(), PAGES - 1);
            device.check(PAGES);
            assert_eq!(device.cache.slots.len(), SLOTS, "no state is left");
        }
    }
    assert!(device.reused > 10_000 && device.copies > 1000, "{} tokens, {} copies", device.reused, device.copies);
}

fn computed(device: &mut Device, tokens: &[u32]) {
    device.start(tokens.to_vec()).expect("room");
    let index = device.running.len() - 1;
    while device.running[index].computed < tokens.len() {
        device.advance(index, PAGE - device.running[index].computed % PAGE, false);
    }
}

/// A tail goes to one sequence, and leaves a snapshot to those that part from it.
#[test]
fn a_tail_moves_to_the_sequence_that_goes_on() {
    let mut device = Device::new(40);
    let tokens: Vec<u32> = (0..200).collect();
    computed(&mut device, &tokens[..150]);
    device.end(0);
    for (length, found) in [(200, 150), (148, 147), (141, 140), (135, 128), (128, 0)] {
        assert_eq!(device.cache.find(0, &tokens[..length]).tokens, found, "{length}");
    }
    assert_eq!(device.start(tokens.clone()), Some(150));
    let parted: Vec<u32> = tokens[..149].iter().copied().chain(900..999).collect();
    assert_eq!(device.cache.find(0, &parted).tokens, 128, "the snapshot");
    assert_eq!(device.start(parted), Some(128));
    device.advance(1, 10, false);
    assert_eq!(device.copies, 2);
}

/// Where all other slots are those of running sequences, a sequence takes the snapshot itself.
#[test]
fn the_last_slot_is_not_copied() {
    let mut device = Device::new(40);
    let tokens: Vec<u32> = (0..100).collect();
    computed(&mut device, &tokens);
    device.end(0);
    for other in 0..SLOTS as u32 - 1 {
        computed(&mut device, &[900 + other; 3]);
    }
    device.cache.take_copies();
    assert_eq!(device.start((0..64).chain(500..600).collect()), Some(64));
    assert_eq!(device.cache.take_copies(), [] as [[usize; 2]; 0]);
    device.check(40);
}

/// The state that was not used for longest goes first, and pages that lead to none go with it.
#[test]
fn states_are_given_up_by_age() {
    let mut device = Device::new(40);
    let text = |first: u32| -> Vec<u32> { (first..first + 70).collect() };
    for first in [1000, 2000, 3000, 4000, 5000] {
        computed(&mut device, &text(first));
        device.end(0);
    }
    assert_eq!(device.cache.usage().cached, 10, "a page and a tail each");
    assert_eq!(device.start((1000..1064).chain(0..9).collect()), Some(64), "used now");
    let found = |device: &mut Device, first| device.cache.find(0, &text(first)).tokens;
    assert_eq!([1000, 2000, 3000].map(|first| found(&mut device, first)), [69, 0, 69]);
    assert_eq!(device.cache.usage().cached, 8);
}

/// Sequences that fail leave nothing of what they shared, in whatever order they end.
#[test]
fn nothing_is_left_of_sequences_that_failed() {
    for order in [[0, 0, 0], [2, 1, 0], [1, 0, 0]] {
        let mut device = Device::new(40);
        let tokens: Vec<u32> = (0..300).collect();
        device.start(tokens.clone()).expect("room");
        (0..4).for_each(|_| device.advance(0, PAGE, true));
        let others: Vec<_> = [7, 8].map(|end| device.start([&tokens[..256], &[end]].concat())).to_vec();
        assert_eq!(others, [Some(256), Some(256)]);
        for index in order {
            let failed = device.running.remove(index);
            device.cache.discard(failed.holding);
        }
        assert_eq!((device.cache.find(0, &tokens).tokens, device.cache.usage().cached), (0, 0), "{order:?}");
        device.check(40);
    }
}

/// What a sequence leaves where it parts from others is as new as what it leaves behind that.
#[test]
fn a_snapshot_that_was_just_left_is_not_the_oldest() {
    let mut device = Device::new(60);
    let tokens: Vec<u32> = (0..200).collect();
    computed(&mut device, &tokens);
    device.end(0);
    let parted: Vec<u32> = (0..64).chain(600..800).collect();
    device.start(parted.clone()).expect("room");
    device.advance(0, PAGE, true);
    for first in [1000, 2000, 3000] {
        computed(&mut device, &(first..first + 70).collect::<Vec<u32>>());
        device.end(1);
    }
    assert_eq!(device.cache.find(0, &[&tokens[..64], &[5, 6]].concat()).tokens, 64);
}
