//! Common prefixes: completions of one prompt compute its whole pages once, and give the bits of separate runs.
use gpu_kernels::gemv::SMALL_WEIGHT;
use half::bf16;
use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Engine, EngineConfig, Finish, Request, SequenceId};
use nemotron::sample::Sampling;

use crate::{Ahead, config, engine, generate, request};

const MODEL: &str = "tests/golden/llama";
const TOKENS: usize = 9;

fn prompt(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| (i * 37 + 5) % 512).collect()
}

/// The same prompt with `count` streams of random numbers.
fn completions(prompt: &[u32], count: u32) -> Vec<Request> {
    let warm = |stream| Sampling { temperature: 1.2, seed: 3, stream, ..Sampling::default() };
    let of = |stream| Request { sampling: warm(stream), max_tokens: TOKENS, ..request(prompt) };
    (0..count).map(of).collect()
}

fn submit(engine: &mut Engine, requests: &[Request]) -> Vec<SequenceId> {
    requests.iter().map(|request| engine.submit(request.clone()).expect("a good request")).collect()
}

/// Runs everything; tokens and ends of `ids`.
fn finish(engine: &mut Engine, ids: &[SequenceId]) -> Vec<(Vec<u32>, Finish)> {
    let mut results = vec![(Vec::new(), None); ids.len()];
    while !engine.is_idle() {
        for event in engine.step().expect("the CPU does not fail") {
            if let Some(index) = ids.iter().position(|id| *id == event.sequence) {
                results[index].0.push(event.token.expect("numbers"));
                results[index].1 = event.finish;
            }
        }
    }
    results.into_iter().map(|(tokens, finish)| (tokens, finish.expect("every sequence ends"))).collect()
}

fn alone(requests: &[Request]) -> Vec<(Vec<u32>, Finish)> {
    let run = |request: &Request| {
        let mut engine = engine(MODEL, Box::new(Cpu::<f32>::new()), config(1, 512));
        generate(&mut engine, vec![request.clone()]).remove(0)
    };
    requests.iter().map(run).collect()
}

#[test]
fn whole_pages_of_the_prompt_are_computed_once() {
    for (tokens, shared) in [(1, 0), (64, 0), (65, 64), (128, 64), (130, 128)] {
        let requests = completions(&prompt(tokens), 5);
        let mut engine = engine(MODEL, Box::new(Cpu::<f32>::new()), config(5, 512));
        let free = engine.free_pages();
        let ids = submit(&mut engine, &requests);
        assert_eq!(finish(&mut engine, &ids), alone(&requests), "{tokens} tokens");
        let prefilled = engine.counters().rows - 5 * (TOKENS as u64 - 1);
        assert_eq!(prefilled as usize, tokens + 4 * (tokens - shared), "{tokens} tokens");
        assert_eq!(engine.counters().reused as usize, 4 * shared, "{tokens} tokens");
        assert_eq!(engine.free_pages(), free, "{tokens} tokens");
    }
}

#[test]
fn devices_chunks_and_few_slots_change_no_token() {
    let requests = completions(&prompt(130), 5);
    let expected = alone(&requests);
    let bf16_alone = {
        let mut engine = engine(MODEL, Box::new(Cpu::<bf16>::new()), config(5, 512));
        generate(&mut engine, requests.clone())
    };
    let devices: [(Box<dyn Device>, _); 3] = [
        (Box::new(Cpu::<f32>::new()), &expected),
        (Box::new(Ahead(Cpu::new())), &expected),
        (Box::new(Cpu::<bf16>::new()), &bf16_alone),
    ];
    for ((device, expected), (sequences, chunk)) in devices.into_iter().zip([(2, 512), (2, 17), (1, 40)]) {
        let mut engine = engine(MODEL, device, config(sequences, chunk));
        let free = engine.free_pages();
        let ids = submit(&mut engine, &requests);
        assert_eq!(&finish(&mut engine, &ids), expected, "{sequences} slots, chunks of {chunk}");
        assert_eq!(engine.counters().reused, 4 * 128, "those that wait for a slot share too");
        assert_eq!(engine.free_pages(), free);
    }
}

#[test]
fn another_goes_on_where_a_cancelled_sequence_stopped() {
    let requests = completions(&prompt(130), 4);
    let expected = alone(&requests);
    for steps in 0..5 {
        let mut engine = engine(MODEL, Box::new(Ahead(Cpu::new())), config(4, 40));
        let free = engine.free_pages();
        let ids = submit(&mut engine, &requests);
        (0..steps).for_each(|_| drop(engine.step().expect("the CPU does not fail")));
        engine.cancel(ids[0]);
        assert_eq!(finish(&mut engine, &ids[1..]), expected[1..], "after {steps} steps");
        // The next one finds what the first computed, but for its last token, and the two others find all whole pages.
        assert_eq!(engine.counters().reused, (40 * steps).min(129) + 2 * 128, "after {steps} steps");
        assert_eq!(engine.free_pages(), free, "after {steps} steps");
        for id in ids {
            engine.cancel(id);
        }
        assert_eq!(engine.free_pages(), free, "unknown ids are ignored");
    }
}

#[test]
fn prompts_that_begin_alike_share_that_and_others_nothing() {
    let (long, other) = (prompt(150), prompt(150).into_iter().rev().collect::<Vec<_>>());
    let branch = [&long[..100], &other[..20]].concat();
    let requests: Vec<_> = [&long, &branch, &other].map(|prompt| completions(prompt, 1).remove(0)).to_vec();
    let mut engine = engine(MODEL, Box::new(Cpu::<f32>::new()), config(3, 512));
    let first = engine.submit(requests[0].clone()).unwrap();
    engine.step().unwrap();
    let ids = submit(&mut engine, &requests[1..]);
    assert_eq!(engine.prompt_progress(first), Some(150), "the first one still runs");
    assert_eq!(finish(&mut engine, &ids), alone(&requests)[1..]);
    assert_eq!(engine.counters().reused, 64, "a page of the branch");
    let late = engine.submit(requests[0].clone()).unwrap();
    assert_eq!(finish(&mut engine, &[late]), alone(&requests)[..1]);
    assert_eq!(engine.counters().reused, 64 + 149, "all but the last token, of one that has ended");
}

#[test]
fn shared_pages_make_room_for_a_sequence_that_needs_them() {
    // One slot with pages for one sequence: between two completions another sequence needs all of them.
    let requests = completions(&prompt(130), 2);
    let large = Request { max_tokens: 1000, ..request(&prompt(250).into_iter().rev().collect::<Vec<_>>()) };
    let sizes = EngineConfig {
        context: 256,
        max_sequences: 1,
        chunk: 256,
        pages: None,
        spare_slots: 0,
        small_weight: SMALL_WEIGHT,
    };
    let mut engine = engine(MODEL, Box::new(Cpu::<f32>::new()), sizes);
    let free = engine.free_pages();
    let first = engine.submit(requests[0].clone()).unwrap();
    let between = engine.submit(large.clone()).unwrap();
    let second = engine.submit(requests[1].clone()).unwrap();
    let expected = alone(&[requests[0].clone(), large, requests[1].clone()]);
    assert_eq!(finish(&mut engine, &[first, between, second]), expected);
    assert_eq!((engine.counters().reused, engine.free_pages()), (0, free));
    assert!(engine.counters().evicted >= 5, "both times");
}

#[test]
fn penalties_see_the_whole_prompt() {
    let penalized = |request| Request {
        sampling: Sampling { repeat_penalty: 1.4, ..Request::clone(&request).sampling },
        ..request
    };
    let requests: Vec<_> = completions(&prompt(130), 3).into_iter().map(penalized).collect();
    let mut engine = engine(MODEL, Box::new(Cpu::<f32>::new()), config(3, 512));
    let ids = submit(&mut engine, &requests);
    assert_eq!(finish(&mut engine, &ids), alone(&requests));
    assert_eq!(engine.counters().reused, 2 * 128, "the prompt's tokens are noted for each");
}

/// A stop text may be found only when the device has gone on; what it computed there is nobody's.
#[test]
fn nothing_behind_the_end_of_an_answer_is_cached() {
    for model in [MODEL, "tests/golden/nemotron_h"] {
        for kept in [0, 5, 30] {
            let mut engine = engine(model, Box::new(Ahead(Cpu::new())), config(2, 256));
            let prompt = prompt(60);
            let id = engine.submit(Request { max_tokens: 40, ..request(&prompt) }).expect("it fits");
            let mut said = Vec::new();
            while said.len() < 20 {
                let events = engine.step().expect("the CPU does not fail");
                said.extend(events.into_iter().map(|event| event.token.expect("the CPU does not fail")));
            }
            engine.end_behind(id, kept);
            let next = [&prompt[..], &said, &[1, 2, 3]].concat();
            generate(&mut engine, vec![Request { max_tokens: 1, ..request(&next) }]);
            // The token that was read last is not computed yet.
            let computed = prompt.len() + said.len() - 1;
            let reused = computed.min(prompt.len() + kept);
            let is_lost = model != MODEL && reused / 64 < computed / 64;
            assert_eq!(engine.counters().reused as usize, if is_lost { 0 } else { reused }, "{model}, {kept}");
        }
    }
}
