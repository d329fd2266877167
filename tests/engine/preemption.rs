//! Scarce pages: sequences wait again and go on, and no text and no row of logits tells.
use gpu_kernels::gemv::SMALL_WEIGHT;
use half::bf16;
use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Engine, EngineConfig, Finish, Request, SequenceId};
use nemotron::sample::{Constraints, Sampling};

use crate::{Ahead, config, engine, generate, prompts, request};

/// A request for each way to choose, with a prompt of each length.
fn mixed() -> Vec<Request> {
    let warm = Sampling { temperature: 1.2, seed: 7, ..Sampling::default() };
    let rules = Constraints { no_repeat_ngram: 3, min_tokens: 60, ..Constraints::default() };
    let rows = [
        Sampling { repeat_penalty: 1.3, presence_penalty: 0.2, frequency_penalty: 0.1, ..warm.clone() },
        Sampling::default(),
        warm.clone(),
        Sampling { repeat_penalty: 1.5, logit_bias: vec![(17, 2.5), (300, -4.0)], ..Sampling::default() },
        Sampling { constraints: rules, top_k: 20, stream: 1, ..warm },
    ];
    let of = |(prompt, sampling): (&Vec<u32>, Sampling)| Request { sampling, max_tokens: 120, ..request(prompt) };
    prompts().iter().zip(rows).map(of).collect()
}

/// The smallest cache that holds one sequence.
fn scarce(max_sequences: usize, chunk: usize) -> EngineConfig {
    EngineConfig { context: 256, max_sequences, chunk, pages: Some(1 + 4), spare_slots: 0, small_weight: SMALL_WEIGHT }
}

type Told = Vec<(u32, Option<Vec<u32>>)>;

/// Runs everything: each one's tokens with the bits of their logits.
fn run(engine: &mut Engine, requests: &[Request]) -> Vec<Told> {
    let ids: Vec<SequenceId> =
        requests.iter().map(|request| engine.submit(request.clone()).expect("a good request")).collect();
    let mut told: Vec<Told> = vec![Vec::new(); ids.len()];
    let mut steps = 0;
    while !engine.is_idle() {
        steps += 1;
        assert!(steps < 5000, "every sequence ends");
        for event in engine.step().expect("the device does not fail") {
            let index = ids.iter().position(|id| *id == event.sequence).expect("a known sequence");
            let bits = event.logits.map(|row| row.into_iter().map(f32::to_bits).collect());
            told[index].push((event.token.expect("numbers"), bits));
        }
    }
    told
}

#[test]
fn a_sequence_that_waited_again_gives_the_text_of_one_that_did_not() {
    let devices: [fn() -> Box<dyn Device>; 3] =
        [|| Box::new(Cpu::<f32>::new()), || Box::new(Ahead(Cpu::new())), || Box::new(Cpu::<bf16>::new())];
    for (number, device) in devices.into_iter().enumerate() {
        for model in ["tests/golden/nemotron", "tests/golden/llama", "tests/golden/nemotron_h"] {
            let alone = |request| generate(&mut engine(model, device(), config(1, 512)), vec![request]).remove(0);
            let expected: Vec<(Vec<u32>, Finish)> = mixed().into_iter().map(alone).collect();
            for chunk in if number == 0 { vec![17, 64, 512] } else { vec![64] } {
                let mut engine = engine(model, device(), scarce(5, chunk));
                assert_eq!(generate(&mut engine, mixed()), expected, "{model}, device {number}, chunks of {chunk}");
                assert!(engine.counters().preempted > 0, "{model}, device {number}, chunks of {chunk}");
                let usage = engine.cache_usage();
                assert_eq!((usage.free + usage.cached, usage.idle), (4, usage.cached));
            }
        }
    }
}

#[test]
fn rows_of_logits_are_those_of_an_undisturbed_run() {
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        let requests: Vec<_> = mixed().into_iter().map(|request| Request { logits: true, ..request }).collect();
        let fresh = || engine(model, Box::new(Ahead(Cpu::<f32>::new())), config(1, 512));
        let expected: Vec<Told> =
            requests.iter().map(|request| run(&mut fresh(), std::slice::from_ref(request)).remove(0)).collect();
        let mut engine = engine(model, Box::new(Ahead(Cpu::<f32>::new())), scarce(5, 64));
        assert_eq!(run(&mut engine, &requests), expected, "{model}");
        assert!(engine.counters().preempted > 0);
    }
}

#[test]
fn the_oldest_is_never_held_up() {
    let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), scarce(5, 64));
    let oldest = engine.submit(Request { max_tokens: 180, ..request(&prompts()[2]) }).expect("it fits");
    for number in 0..20 {
        engine
            .submit(Request {
                max_tokens: 150,
                ..request(&prompts()[number % 5][..1 + number % 60 % prompts()[number % 5].len()])
            })
            .expect("it fits");
    }
    let mut tokens = 0;
    for step in 1..=180 {
        let events = engine.step().expect("the CPU does not fail");
        tokens += events.iter().filter(|event| event.sequence == oldest).count();
        assert_eq!(tokens, step, "a token in each step");
    }
}

#[test]
fn a_large_request_is_passed_but_not_for_ever() {
    let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), scarce(4, 256));
    let small = |number: u32| Request { max_tokens: 10 + 7 * (number as usize % 5), ..request(&[number % 500, 3]) };
    engine.submit(small(0)).expect("it fits");
    let large = engine.submit(Request { max_tokens: 5, ..request(&[9; 240]) }).expect("it fits");
    let (mut number, mut ended, mut steps) = (1, 0, 0);
    while engine.prompt_progress(large) == Some(0) {
        // There is always somebody smaller who waits.
        while number - ended < 8 {
            engine.submit(small(number)).expect("it fits");
            number += 1;
        }
        let events = engine.step().expect("the CPU does not fail");
        ended += events.iter().filter(|event| event.finish.is_some()).count() as u32;
        steps += 1;
        assert!(steps < 2000, "the large one begins");
    }
    assert!(ended > 10 && ended < 80, "others passed it: {ended}");
}

#[test]
fn a_cancelled_sequence_gives_its_pages_back_wherever_it_is() {
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        let alone = |request| {
            generate(&mut engine(model, Box::new(Cpu::<f32>::new()), config(1, 512)), vec![request]).remove(0)
        };
        let expected: Vec<_> = mixed().into_iter().map(alone).collect();
        for (victim, steps) in [(0, 0), (4, 0), (1, 1), (4, 3), (2, 40), (3, 70), (4, 100), (1, 150)] {
            let mut engine = engine(model, Box::new(Ahead(Cpu::<f32>::new())), scarce(5, 64));
            let ids: Vec<_> = mixed().into_iter().map(|request| engine.submit(request).expect("it fits")).collect();
            let mut told = vec![Vec::new(); ids.len()];
            let mut note = |events: Vec<nemotron::engine::Event>| {
                for event in events {
                    let index = ids.iter().position(|id| *id == event.sequence).expect("a known sequence");
                    told[index].push(event.token.expect("numbers"));
                }
            };
            (0..steps).for_each(|_| note(engine.step().expect("the CPU does not fail")));
            engine.cancel(ids[victim]);
            while !engine.is_idle() {
                let events = engine.step().expect("the CPU does not fail");
                assert!(events.iter().all(|event| event.sequence != ids[victim]), "no event follows");
                note(events);
            }
            for (index, (tokens, _)) in expected.iter().enumerate() {
                assert!(tokens.starts_with(&told[index]), "{model}, {victim} after {steps} steps");
                assert!(index == victim || tokens.len() == told[index].len(), "{model}, {victim} after {steps} steps");
            }
            assert_eq!(engine.free_pages(), 4);
            engine.forget();
            assert_eq!(engine.cache_usage().free, 4, "{model}, {victim} after {steps} steps");
        }
    }
}

#[test]
fn what_can_never_fit_is_refused() {
    let sizes = EngineConfig { pages: Some(1 + 3), ..scarce(2, 64) };
    let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), sizes);
    let error = engine.submit(Request { max_tokens: 64, ..request(&[1; 129]) }).expect_err("four pages");
    assert_eq!(error.message(), "The request needs more of the cache than there is");
    assert!(error.details_text().contains("4 pages of 64 tokens, there are 3"), "{error}");
    let whole = Request { max_tokens: 63, ..request(&[1; 129]) };
    assert_eq!(generate(&mut engine, vec![whole.clone(), whole]).len(), 2);
}
