//! What stays of a sequence whose answer ended in front of what was computed.
use super::*;

/// Starts and computes a sequence, whose full pages the tree has.
fn computed(cache: &mut PageCache, tokens: &[u32]) -> Holding {
    let found = cache.find(0, tokens);
    let mut holding = cache.start(tokens, found, PAGES, 0).expect("there is room");
    cache.give(&mut holding, tokens);
    holding
}

fn tokens(count: u32) -> Vec<u32> {
    (0..count).collect()
}

#[test]
fn nothing_behind_the_end_is_kept() {
    let page = PAGE as u32;
    for kept in [0, 1, page - 1, page, page + 5, 2 * page, 3 * page - 1, 3 * page + 2] {
        let mut cache = PageCache::new(PAGES + 1, SLOTS, false);
        let all = tokens(3 * page + 9);
        let holding = computed(&mut cache, &all);
        let pages = holding.pages.clone();
        cache.end_behind(holding, &all, kept as usize);
        let found = cache.find(0, &tokens(4 * page));
        assert_eq!(found.tokens, kept as usize);
        let usage = cache.usage();
        assert_eq!((usage.cached, usage.free), (kept.div_ceil(page) as usize, PAGES - kept.div_ceil(page) as usize));
        assert_eq!(cache.slots.len(), SLOTS);
        // Each token is in the page that it was computed into.
        let next = cache.start(&tokens(4 * page), found, PAGES, 0).expect("there is room");
        let has = kept.div_ceil(page) as usize;
        assert_eq!(next.pages[..has], pages[..has], "{kept} kept");
    }
}

#[test]
fn what_others_computed_too_stays() {
    let mut cache = PageCache::new(PAGES + 1, SLOTS, false);
    let all = tokens(3 * PAGE as u32 + 9);
    let [first, second] = [0, 1].map(|_| computed(&mut cache, &all));
    let pages = second.pages.clone();
    cache.end_behind(first, &all, 2 * PAGE + 10);
    cache.end(second, &all);
    let next = tokens(4 * PAGE as u32);
    let found = cache.find(0, &next);
    assert_eq!(found.tokens, all.len());
    assert_eq!(cache.start(&next, found, PAGES, 0).expect("there is room").pages[..4], pages[..4]);
}

#[test]
fn a_state_goes_back_within_its_page_alone() {
    let mut cache = PageCache::new(PAGES + 1, SLOTS, true);
    let all = tokens(PAGE as u32 + 30);
    let holding = computed(&mut cache, &all);
    cache.end_behind(holding, &all, PAGE + 10);
    assert_eq!(cache.find(0, &all).tokens, PAGE + 10);
    let holding = computed(&mut cache, &all);
    cache.end_behind(holding, &all, PAGE - 1);
    assert_eq!((cache.find(0, &all).tokens, cache.usage().free, cache.slots.len()), (0, PAGES, SLOTS));
}

#[test]
fn the_end_of_a_turn_stays_longer() {
    let mut cache = PageCache::new(PAGES + 1, SLOTS, true);
    let of = |number: u32| vec![number; PAGE + 1];
    // Three states, the first of the end of a turn.
    for number in 0..3 {
        let holding = computed(&mut cache, &of(number));
        assert!(cache.leave_snapshot(&holding, PAGE, number == 0));
        cache.end(holding, &of(number)[..PAGE]);
    }
    let found = |cache: &mut PageCache| [0, 1, 2].map(|number| cache.find(0, &of(number)).tokens == PAGE);
    assert_eq!(found(&mut cache), [true; 3]);
    cache.evict_state();
    assert_eq!(found(&mut cache), [true, false, true], "the oldest but one");
    for _ in 0..BONUS * SLOTS as u64 {
        let last = cache.find(0, &of(2)[..PAGE + 1]);
        cache.tree.touch(last.snapshot.expect("it is there"));
    }
    cache.evict_state();
    assert_eq!(found(&mut cache), [false, false, true], "but not for ever");
}

#[test]
fn what_many_begin_with_outlives_their_own_ends() {
    let mut cache = PageCache::new(PAGES + 1, SLOTS, true);
    let begin = vec![7; PAGE];
    let holding = computed(&mut cache, &begin);
    assert!(cache.leave_snapshot(&holding, PAGE, false));
    cache.end(holding, &begin);
    // Each goes on from there, and leaves the end of a turn of its own.
    for number in 100..100 + 4 * SLOTS as u32 {
        let prompt = [&begin[..], &[number; PAGE + 1]].concat();
        let found = cache.find(0, &prompt);
        assert_eq!(found.tokens, PAGE, "prompt {number}");
        let mut holding = cache.start(&prompt, found, PAGES, 0).expect("there is room");
        cache.give(&mut holding, &prompt);
        assert!(cache.leave_snapshot(&holding, 2 * PAGE, true));
        cache.end(holding, &prompt);
    }
}
