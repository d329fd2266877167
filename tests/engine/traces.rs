//! Random traces of requests through the whole engine, on a device whose text depends on every page and slot.
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use gpu_kernels::gemv::SMALL_WEIGHT;
use nemotron::engine::{Engine, EngineConfig, Event, Finish, Request, SequenceId};

use crate::engine;
use crate::late::{Clock, late};
use crate::masks::allowed;
use crate::thinking::{CLOSE, END, budget};
use crate::toy::{self, Toy};

/// Random numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// A request, and what should become of it.
struct Expected {
    request: Request,
    text: Vec<u32>,
    finish: Finish,
    told: usize,
}

fn expected(request: Request, context: usize) -> Expected {
    let mut tokens = request.prompt.clone();
    let (mut thinks, mut forced) = (request.thinking.as_ref().map(|budget| budget.tokens), VecDeque::new());
    let finish = loop {
        let mut token = forced.pop_front().unwrap_or_else(|| toy::next(&tokens));
        if request.constraint.is_some() {
            let last = if tokens.len() == request.prompt.len() { 0 } else { tokens[tokens.len() - 1] };
            // The toy takes the next one that may come.
            token = allowed(last).find(|may| *may >= token).or_else(|| allowed(last).next()).expect("an eighth");
        }
        tokens.push(token);
        let generated = tokens.len() - request.prompt.len();
        thinks = thinks.filter(|_| token != CLOSE);
        if thinks.take_if(|most| generated >= *most).is_some() {
            forced.extend(END);
        }
        // An end that has not begun needs room as a whole.
        let begins = forced.len() == END.len();
        let next = if begins { END.len() } else { 1 };
        match () {
            () if request.eos.contains(&token) => break Finish::Stop,
            () if generated + next > request.max_tokens => break Finish::Length,
            () if tokens.len() + next > context => break Finish::Context,
            () => {}
        }
    };
    Expected { text: tokens[request.prompt.len()..].to_vec(), request, finish, told: 0 }
}

/// Prompts with common heads, some of which go on where an earlier text ended.
fn prompt(numbers: &mut Numbers, texts: &[Vec<u32>], context: usize) -> Vec<u32> {
    let mut prompt: Vec<u32> = match numbers.below(3) {
        0 if !texts.is_empty() => texts[numbers.below(texts.len())].clone(),
        kind => (0..[0, 70, 140][kind]).map(|token| token * 3 % 500).collect(),
    };
    if numbers.below(4) == 0 && !prompt.is_empty() {
        prompt.truncate(1 + numbers.below(prompt.len()));
    }
    let rest = 1 + numbers.below(60);
    prompt.extend((0..rest).map(|_| numbers.below(500) as u32));
    prompt.truncate(context - 1);
    prompt
}

struct Trace<'a> {
    engine: &'a mut Engine,
    numbers: &'a mut Numbers,
    open: HashMap<SequenceId, Expected>,
    texts: Vec<Vec<u32>>,
    /// Where half of the requests have constraints: what their masks wait for.
    clock: Option<&'a Arc<Clock>>,
}

impl Trace<'_> {
    fn submit(&mut self) {
        let context = self.engine.context();
        let prompt = prompt(self.numbers, &self.texts, context);
        let eos = if self.numbers.below(2) == 0 { (0..20).collect() } else { Vec::new() };
        let thinking = (self.numbers.below(3) == 0).then(|| budget(1 + self.numbers.below(80), false));
        let logprobs = (self.numbers.below(2) == 0).then_some(1);
        let max_tokens = 1 + self.numbers.below(200);
        let mut request = Request { prompt, max_tokens, eos, thinking, logprobs, ..Request::default() };
        let patterns: [fn(usize) -> usize; 3] = [|_| 0, |n| n % 5 / 3, |n| [3, 0, 1, 0, 0, 2][n % 6]];
        let pattern = patterns[self.numbers.below(3)];
        let constrains = request.thinking.is_none() && self.numbers.below(4) > 0;
        request.constraint = self.clock.filter(|_| constrains).and_then(|clock| late(clock, pattern));
        let id = self.engine.submit(request.clone()).expect("it fits");
        self.open.insert(id, expected(request, context));
    }

    /// Ends one, half of the times in front of its last tokens.
    fn cancel(&mut self) {
        let mut ids: Vec<_> = self.open.keys().copied().collect();
        ids.sort_unstable();
        if !ids.is_empty() {
            let id = ids[self.numbers.below(ids.len())];
            let Expected { request, text, told, .. } = self.open.remove(&id).expect("it is there");
            if self.numbers.below(2) == 0 {
                return self.engine.cancel(id);
            }
            // Others go on from there, and from what was computed behind.
            self.engine.end_behind(id, told - self.numbers.below(5).min(told));
            self.texts.push([request.prompt, text].concat());
        }
    }

    fn step(&mut self) {
        for Event { sequence, token, finish, cached_tokens, .. } in self.engine.step().expect("the toy does not fail") {
            let known = self.open.get_mut(&sequence).expect("no event follows the last one, or a cancellation");
            assert_eq!(token.expect("numbers"), known.text[known.told], "token {}", known.told);
            known.told += 1;
            let last = known.told == known.text.len();
            assert_eq!(finish, last.then_some(known.finish));
            assert!(cached_tokens < known.request.prompt.len());
            if last {
                let ended = self.open.remove(&sequence).expect("it is there");
                self.texts.push([ended.request.prompt, ended.text].concat());
            }
        }
        self.clock.into_iter().for_each(|clock| clock.tick());
        let usage = self.engine.cache_usage();
        assert!(usage.free + usage.cached <= usage.pages && usage.idle <= usage.cached);
    }
}

fn traces(count: usize, pages: usize, [ahead, state]: [bool; 2], seed: u64, clock: Option<&Arc<Clock>>) {
    let model = if state { "tests/golden/nemotron_h" } else { "tests/golden/nemotron" };
    let sizes = EngineConfig {
        context: 320,
        max_sequences: 4,
        chunk: 100,
        pages: Some(1 + pages),
        spare_slots: pages % 3,
        small_weight: SMALL_WEIGHT,
    };
    let mut engine = engine(model, Box::new(Toy::new(ahead, state, 5)), sizes);
    let mut numbers = Numbers(seed);
    for trace in 0..count {
        let mut trace_of =
            Trace { engine: &mut engine, numbers: &mut numbers, open: HashMap::new(), texts: Vec::new(), clock };
        for _ in 0..8 + trace_of.numbers.below(24) {
            match trace_of.numbers.below(8) {
                0 | 1 => trace_of.submit(),
                2 => trace_of.cancel(),
                _ => trace_of.step(),
            }
        }
        if trace % 4 == 0 {
            (0..4).for_each(|_| trace_of.cancel());
        }
        let mut steps = 0;
        while !trace_of.engine.is_idle() {
            trace_of.step();
            steps += 1;
            assert!(steps < 5000, "every sequence ends");
        }
        assert!(trace_of.open.is_empty(), "every sequence has ended");
        let usage = engine.cache_usage();
        assert_eq!((usage.free + usage.cached, usage.idle), (pages, usage.cached), "no page is held");
        if trace % 100 == 99 {
            engine.forget();
            assert_eq!(engine.cache_usage().free, pages, "exact after a reset");
        }
    }
    let counters = engine.counters();
    assert!(counters.reused > count as u64, "prefixes are found: {counters:?}");
    // Of few traces not all have too little in eight pages.
    let scarce = if clock.is_some() { 5 } else { 8 };
    assert!(pages > scarce || counters.preempted > 0, "pages are scarce: {counters:?}");
    assert_eq!(counters.late > count as u64, clock.is_some(), "{counters:?}");
}

/// As many pages as one sequence needs, a few more, and plenty.
#[test]
fn ten_thousand_traces_give_the_texts_of_undisturbed_requests() {
    for (index, [ahead, state]) in [[false, false], [true, false], [false, true], [true, true]].into_iter().enumerate()
    {
        for (pages, count) in [(5, 1000), (8, 1000), (24, 500)] {
            traces(count, pages, [ahead, state], (index * 100 + pages) as u64, None);
        }
    }
}

#[test]
fn traces_with_late_masks_give_them_too() {
    let clock = Arc::new(Clock::default());
    for (index, [ahead, state]) in [[false, false], [true, false], [false, true], [true, true]].into_iter().enumerate()
    {
        for (pages, count) in [(5, 30), (8, 30)] {
            traces(count, pages, [ahead, state], (index * 100 + pages) as u64, Some(&clock));
        }
    }
    clock.release();
}
