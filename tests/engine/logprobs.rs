//! Log-probabilities beside the tokens: those of the model, whatever is done to its logits for the choice; the tokens do not
//! change, and no step is waited for.
use std::collections::HashMap;
use std::path::Path;

use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Engine, Request, SequenceId, TokenLogprobs, log_softmax};
use nemotron::sample::{Constraints, Sampling};
use nemotron::session::expected::Expected;

use crate::{Ahead, ROOT, config, engine, generate, mixed, prompts, request};

/// Tokens, and what came with them.
type Generated = (Vec<u32>, Vec<Option<TokenLogprobs>>);

/// Tokens of all requests, and what came with them.
fn told(engine: &mut Engine, requests: &[Request]) -> Vec<Generated> {
    let submit = |request: &Request| engine.submit(request.clone()).expect("a good request");
    let ids: Vec<SequenceId> = requests.iter().map(submit).collect();
    let mut results: HashMap<SequenceId, Generated> = HashMap::new();
    while !engine.is_idle() {
        for event in engine.step().expect("the CPU does not fail") {
            let (tokens, logprobs) = results.entry(event.sequence).or_default();
            tokens.push(event.token.expect("numbers"));
            logprobs.push(event.logprobs);
        }
    }
    ids.iter().map(|id| results.remove(id).expect("every sequence has tokens")).collect()
}

/// Whether what was told of a token is the log-softmax of its row in f64.
#[track_caller]
fn check(told: &TokenLogprobs, row: &[f32], token: u32, count: usize, bound: f64) {
    let (logprob, best) = log_softmax(row, token, count);
    assert!((told.logprob - logprob).abs() < bound, "{token}: {} {logprob}", told.logprob);
    assert_eq!(told.best.len(), best.len());
    for (told, (id, logprob)) in told.best.iter().zip(best) {
        assert!(told.0 == id && (told.1 - logprob).abs() < bound, "{told:?} {id} {logprob}");
    }
}

#[test]
fn every_token_has_the_log_probabilities_of_the_model() {
    let devices: [fn() -> Box<dyn Device>; 2] = [|| Box::new(Cpu::<f32>::new()), || Box::new(Ahead(Cpu::new()))];
    for (model, device) in ["tests/golden/nemotron", "tests/golden/llama"].into_iter().zip(devices) {
        let plain = generate(&mut engine(model, device(), config(5, 512)), mixed());
        // Greedy, by chance, with penalties and with biases; one sequence does not ask.
        let counts = [Some(20), None, Some(3), Some(0), Some(20)];
        let asks = |(index, request): (usize, _)| Request { logprobs: counts[index % 5], max_tokens: 12, ..request };
        let requests: Vec<_> = mixed().into_iter().enumerate().map(asks).collect();
        for (chunk, sequences) in [(512, 5), (17, 2)] {
            let mut engine = engine(model, device(), config(sequences, chunk));
            let results = told(&mut engine, &requests);
            for ((request, (tokens, logprobs)), (expected, _)) in requests.iter().zip(&results).zip(&plain) {
                assert_eq!(tokens[..], expected[..12], "{model}: no token changes");
                assert!(logprobs.iter().all(|told| told.is_some() == request.logprobs.is_some()), "{model}");
                for (index, told) in logprobs.iter().enumerate().filter_map(|(i, told)| Some((i, told.as_ref()?))) {
                    let prompt = [&request.prompt[..], &tokens[..index]].concat();
                    let row = engine.logits(&prompt, 1).expect("the prompt fits");
                    check(told, &row, tokens[index], request.logprobs.unwrap_or(0), 1e-6);
                }
            }
        }
    }
}

#[test]
fn steps_run_ahead_of_the_log_probabilities_and_their_inputs_stay() {
    let requests = || -> Vec<Request> {
        let ask = |(index, prompt): (usize, &Vec<u32>)| Request {
            logprobs: (index != 1).then_some(20),
            sampling: Sampling { repeat_penalty: if index == 2 { 1.3 } else { 1.0 }, ..Sampling::default() },
            ..request(prompt)
        };
        prompts().iter().enumerate().map(ask).collect()
    };
    let run = |requests: Vec<Request>| {
        let mut engine = engine("tests/golden/nemotron", Box::new(Ahead(Cpu::new())), config(5, 512));
        generate(&mut engine, requests);
        engine.counters()
    };
    let plain = run(requests().into_iter().map(|request| Request { logprobs: None, ..request }).collect());
    let asked = run(requests());
    // As many passes, none twice, and nothing more is uploaded. A token that is read waits for no step but its own.
    assert_eq!((asked.steps, asked.uploads, asked.rows), (plain.steps, plain.uploads, plain.rows));
    assert!(asked.uploads < asked.steps / 5, "{asked:?}");
    let mut engine = engine("tests/golden/nemotron", Box::new(Ahead(Cpu::new())), config(5, 512));
    requests().into_iter().for_each(|request| drop(engine.submit(request)));
    for step in 0..6 {
        let events = engine.step().expect("the CPU does not fail");
        assert_eq!(events.len(), if step == 0 { 0 } else { 5 }, "the tokens of a step come behind the next one");
    }
}

#[test]
fn a_forced_last_token_has_its_own_log_probability() {
    let constraints = Constraints { forced_eos: vec![7, 9], ..Constraints::default() };
    for (temperature, penalty) in [(0.0, 1.0), (0.9, 1.2)] {
        let sampling =
            Sampling { temperature, repeat_penalty: penalty, constraints: constraints.clone(), ..Sampling::default() };
        let request = Request { sampling, max_tokens: 5, logprobs: Some(2), ..request(&prompts()[1]) };
        let mut engine = engine("tests/golden/nemotron", Box::new(Ahead(Cpu::new())), config(2, 512));
        let (tokens, logprobs) = told(&mut engine, std::slice::from_ref(&request)).remove(0);
        assert!(tokens.len() == 5 && constraints.forced_eos.contains(&tokens[4]), "{tokens:?}");
        for (index, told) in logprobs.iter().enumerate() {
            let prompt = [&request.prompt[..], &tokens[..index]].concat();
            let row = engine.logits(&prompt, 1).expect("the prompt fits");
            check(told.as_ref().expect("it was asked for"), &row, tokens[index], 2, 1e-6);
        }
    }
}

#[test]
fn more_than_the_device_finds_are_refused() {
    let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(1, 512));
    let error = engine.submit(Request { logprobs: Some(21), ..request(&[1]) }).expect_err("too many");
    assert_eq!(error.details_text(), "logprobs: expected 0 to 20, found 21");
}

#[test]
fn the_first_ones_are_those_of_transformers() {
    for model in ["nemotron", "llama", "mistral"] {
        let path = format!("{ROOT}/tests/golden/{model}/expected.safetensors");
        let expected = Expected::read(Path::new(&path)).expect("a golden folder");
        let mut engine = engine(&format!("tests/golden/{model}"), Box::new(Cpu::<f32>::new()), config(2, 512));
        for prompt in &expected.prompts {
            let (ids, max_tokens) = (prompt.ids.clone(), prompt.greedy.len());
            let request = Request { prompt: ids, max_tokens, logprobs: Some(20), ..Request::default() };
            let (tokens, logprobs) = told(&mut engine, &[request]).remove(0);
            assert_eq!(tokens, prompt.greedy);
            let row = &prompt.logits_f32[prompt.logits_f32.len() - expected.vocab..];
            let told = logprobs[0].as_ref().expect("it was asked for");
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            for (id, logprob) in &told.best {
                let wanted = f64::from(row[*id as usize]) - sum.ln();
                assert!((logprob - wanted).abs() < 1e-4, "{model}: {id} {logprob} {wanted}");
            }
            assert!(told.best.is_sorted_by(|a, b| a.1 >= b.1) && told.best[0] == (tokens[0], told.logprob));
        }
    }
}
