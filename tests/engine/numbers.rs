//! Logits that are no numbers end their sequence with an error that says where, and leave everything else as it is.
use std::collections::HashMap;

use bytes::Bytes;
use half::bf16;
use nemotron::cpu::Cpu;
use nemotron::device::{Device, Weight, WeightPart};
use nemotron::engine::{Engine, EngineConfig, Request, SequenceId};
use nemotron::error::Error;
use nemotron::sample::{Constraints, Sampling};

use crate::{Ahead, config, generate, load, prompts, request};

/// The token whose row of the embedding table is NaN. No prompt of [`prompts`] has it.
const POISON: u32 = 509;

/// The golden model, but for one row of its embedding table.
fn poisoned(device: Box<dyn Device>, config: EngineConfig) -> Engine {
    let (spec, weights) = load("tests/golden/llama");
    let table = spec.embedding.clone();
    let source = |tensors: &[_]| {
        let parts = weights.parts(tensors)?;
        if *tensors != [table.clone()] {
            return Ok(parts);
        }
        let rows = (0..parts.rows()).flat_map(|row| match row as u32 {
            POISON => vec![bf16::NAN; parts.columns()],
            _ => parts.row(row).to_vec(),
        });
        let bytes = Bytes::from(bytemuck::pod_collect_to_vec::<bf16, u8>(&rows.collect::<Vec<_>>()));
        let (rows, columns) = (parts.rows(), parts.columns());
        Ok(Weight::new(vec![WeightPart::new(bytes, columns, 0..rows, 0..columns)]))
    };
    Engine::new(device, &spec, &source, config).expect("the engine starts")
}

/// Tokens of each sequence, and the error that ended it.
fn run(engine: &mut Engine, requests: &[Request]) -> Vec<(Vec<u32>, Option<Error>)> {
    let submit = |request: &Request| engine.submit(request.clone()).expect("a good request");
    let ids: Vec<SequenceId> = requests.iter().map(submit).collect();
    let mut results: HashMap<SequenceId, (Vec<u32>, Option<Error>)> = HashMap::new();
    while !engine.is_idle() {
        for event in engine.step().expect("the device does not fail") {
            let (tokens, error) = results.entry(event.sequence).or_default();
            assert!(error.is_none(), "no event follows an error");
            match event.token {
                Ok(token) => tokens.push(token),
                Err(found) => *error = Some(found),
            }
        }
    }
    ids.iter().map(|id| results.remove(id).expect("every sequence has an event")).collect()
}

/// Ways to choose that take each way through the kernels: greedy, by chance, penalties, forbidden tokens.
fn choices() -> Vec<Sampling> {
    let plain = Sampling::default;
    let rules = Constraints { suppress: vec![1, 2, 3], no_repeat_ngram: 2, ..Constraints::default() };
    vec![
        plain(),
        Sampling { temperature: 0.9, ..plain() },
        Sampling { temperature: 0.9, top_k: 5, top_p: 0.7, min_p: 0.1, ..plain() },
        Sampling { repeat_penalty: 1.3, frequency_penalty: 0.2, ..plain() },
        Sampling { constraints: rules, temperature: 1.1, ..plain() },
    ]
}

#[test]
fn a_prompt_that_gives_no_numbers_fails_alone() {
    let devices: [fn() -> Box<dyn Device>; 3] =
        [|| Box::new(Cpu::<f32>::new()), || Box::new(Ahead(Cpu::new())), || Box::new(Cpu::<bf16>::new())];
    for (number, device) in devices.into_iter().enumerate() {
        for (chunk, logprobs) in [(512, None), (17, None), (512, Some(20))] {
            let mut engine = poisoned(device(), config(3, chunk));
            let pages = engine.free_pages();
            let mut requests: Vec<_> = prompts().iter().map(|prompt| request(prompt)).collect();
            for (index, sampling) in choices().into_iter().enumerate() {
                let prompt = [&prompts()[index][..], &[POISON, 5]].concat();
                requests.push(Request { sampling, logprobs, ..request(&prompt) });
            }
            let results = run(&mut engine, &requests);
            for ((tokens, error), request) in results[5..].iter().zip(&requests[5..]) {
                let error = error.as_ref().expect("no numbers");
                assert_eq!(error.message(), "The model's logits are not numbers");
                assert!(error.details_text().contains(&format!("position {}:", request.prompt.len())), "{error}");
                assert!(error.details_text().contains("sequence ") && error.details_text().contains("NaN"), "{error}");
                assert!(tokens.is_empty(), "nothing is chosen from them");
            }
            assert_eq!(engine.free_pages(), pages);
            if number < 2 {
                let mut sound = crate::engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(3, 512));
                let alone: Vec<_> = generate(&mut sound, requests[..5].to_vec()).into_iter().map(|(t, _)| t).collect();
                let others: Vec<_> = results[..5].iter().map(|(tokens, _)| tokens.clone()).collect();
                assert_eq!(others, alone, "the others do not notice");
                let again = generate(&mut engine, requests[..5].to_vec());
                assert_eq!(again.into_iter().map(|(tokens, _)| tokens).collect::<Vec<_>>(), alone, "nor do later ones");
            }
        }
    }
}

#[test]
fn a_scored_prompt_that_gives_no_numbers_fails_alone() {
    let device: fn() -> Box<dyn Device> = || Box::new(Ahead(Cpu::<f32>::new()));
    let prompt = [&prompts()[2][..], &[POISON], &prompts()[3][..]].concat();
    let bad = Request { prompt_logprobs: Some(2), ..request(&prompt) };
    let good = Request { prompt_logprobs: Some(2), ..request(&prompts()[1]) };
    for chunk in [512, 17] {
        let mut engine = poisoned(device(), config(3, chunk));
        let pages = engine.free_pages();
        let expected = run(&mut engine, std::slice::from_ref(&good)).remove(0);
        let mut results = run(&mut engine, &[bad.clone(), good.clone()]);
        assert_eq!(results.pop(), Some(expected));
        let (tokens, error) = results.remove(0);
        let details = error.expect("no numbers").details_text().to_owned();
        assert!(tokens.is_empty() && details.contains("a prompt of 98 tokens, position 33:"), "{details}");
        assert_eq!(engine.free_pages(), pages);
    }
}

#[test]
fn a_token_that_gives_no_numbers_ends_its_sequence_behind_itself() {
    let devices: [Box<dyn Device>; 2] = [Box::new(Cpu::<f32>::new()), Box::new(Ahead(Cpu::new()))];
    for device in devices {
        let mut engine = poisoned(device, config(5, 512));
        let biased = |(prompt, sampling): (&Vec<u32>, Sampling)| {
            let sampling = Sampling { logit_bias: vec![(POISON, 100.0)], ..sampling };
            Request { sampling, ..request(prompt) }
        };
        let requests: Vec<_> = prompts().iter().zip(choices()).map(biased).collect();
        for ((tokens, error), request) in run(&mut engine, &requests).into_iter().zip(&requests) {
            assert_eq!(tokens, [POISON]);
            let details = error.expect("no numbers").details_text().to_owned();
            assert!(details.contains(&format!("position {}:", request.prompt.len() + 1)), "{details}");
        }
    }
}

#[test]
fn what_gave_no_numbers_is_not_kept() {
    let mut engine = poisoned(Box::new(Ahead(Cpu::<f32>::new())), config(1, 512));
    let pages = engine.free_pages();
    for _ in 0..2 {
        engine.submit(request(&[4, 5, POISON, 6])).expect("a good request");
        while !engine.is_idle() {
            for event in engine.step().expect("the device does not fail") {
                assert!(event.token.is_err() && event.cached_tokens == 0 && event.finish.is_none());
            }
        }
        assert_eq!(engine.free_pages(), pages);
    }
}

#[test]
fn logits_that_are_read_are_numbers() {
    let mut engine = poisoned(Box::new(Cpu::<f32>::new()), config(1, 64));
    let error = engine.logits(&[1, 2, POISON, 3], 3).expect_err("no numbers");
    assert!(error.details_text().contains("position 2:"), "{error}");
    let mut sound = crate::engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(1, 64));
    assert_eq!(engine.logits(&[1, 2], 2), sound.logits(&[1, 2], 2), "position 1 had numbers, and pages are free");
}

#[test]
fn where_every_token_is_forbidden_the_sequence_ends_with_an_error() {
    let mut engine = crate::engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(2, 64));
    let constraints = Constraints { suppress: (0..512).collect(), ..Constraints::default() };
    let forbidden = Sampling { constraints, ..Sampling::default() };
    let requests = [Request { sampling: forbidden, ..request(&[1, 2]) }, request(&[1, 2])];
    let results = run(&mut engine, &requests);
    let details = results[0].1.as_ref().expect("an error").details_text().to_owned();
    assert!(details.contains("every token is forbidden"), "{details}");
    assert_eq!((results[1].0.len(), &results[1].1), (70, &None));
}
