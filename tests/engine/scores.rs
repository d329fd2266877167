//! Scores of prompts beside other sequences: those of the rows of logits that an idle engine gives, each once, in order.
use std::collections::HashMap;
use std::path::Path;

use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Engine, EngineConfig, Request, SequenceId, TokenScore, log_softmax};
use nemotron::session::expected::Expected;

use crate::{Ahead, ROOT, config, engine, mixed, prompts};

/// Tokens of a sequence, and the scores of its prompt.
type Told = (Vec<u32>, Vec<TokenScore>);

/// Runs everything; the scores of a prompt are there when its first token is.
fn run(engine: &mut Engine, requests: &[Request]) -> Vec<Told> {
    let submit = |request: &Request| engine.submit(request.clone()).expect("a good request");
    let ids: Vec<SequenceId> = requests.iter().map(submit).collect();
    let mut told: HashMap<SequenceId, Told> = HashMap::new();
    while !engine.is_idle() {
        let events = engine.step().expect("the CPU does not fail");
        for (id, scores) in engine.take_scores() {
            let (tokens, known) = told.entry(id).or_default();
            assert!(tokens.is_empty() && !scores.is_empty());
            known.extend(scores);
        }
        for event in events {
            told.entry(event.sequence).or_default().0.push(event.token.expect("numbers"));
        }
    }
    ids.iter().map(|id| told.remove(id).expect("every sequence has tokens")).collect()
}

/// Three of five requests, which choose their tokens in different ways, have their prompts scored; one has log-probabilities of its answer too.
fn scored() -> Vec<Request> {
    let asks = |(index, request): (usize, Request)| Request {
        prompt_logprobs: [Some(3), None, Some(0), Some(20), None][index],
        logprobs: (index == 3).then_some(20),
        max_tokens: 70,
        ..request
    };
    mixed().into_iter().rev().enumerate().map(asks).collect()
}

/// What the rows of logits say of a prompt's tokens.
fn of_rows(engine: &mut Engine, prompt: &[u32], count: usize) -> Vec<TokenScore> {
    let rows = engine.logits(prompt, prompt.len()).expect("the prompt fits");
    let rows = rows.chunks(rows.len() / prompt.len());
    let score = |(row, &id): (&[f32], &u32)| {
        let rank = row.iter().filter(|logit| **logit >= row[id as usize]).count();
        let (logprob, best) = log_softmax(row, id, count);
        TokenScore { id, logprob, rank, best }
    };
    rows.zip(&prompt[1..]).map(score).collect()
}

#[test]
fn scores_are_the_same_to_the_bit_whatever_runs_beside_them() {
    let devices: [fn() -> Box<dyn Device>; 2] = [|| Box::new(Cpu::<f32>::new()), || Box::new(Ahead(Cpu::new()))];
    let scarce = |chunk| EngineConfig { pages: Some(1 + 4), ..config(5, chunk) };
    for (model, device) in ["tests/golden/nemotron", "tests/golden/nemotron_h"].into_iter().zip(devices) {
        let requests = scored();
        let plain = requests.iter().map(|request| Request { prompt_logprobs: None, ..request.clone() });
        let tokens = run(&mut engine(model, device(), config(1, 512)), &plain.collect::<Vec<_>>());
        let mut idle = engine(model, device(), config(1, 512));
        let expected = requests.iter().map(|request| {
            let count = request.prompt_logprobs?;
            Some(of_rows(&mut idle, &request.prompt, count))
        });
        let expected: Vec<_> = expected.map(Option::unwrap_or_default).collect();
        for config in [config(5, 512), config(3, 17), scarce(64), scarce(5)] {
            let mut engine = engine(model, device(), config);
            let pages = engine.free_pages();
            // A second time, when all that may be cached is cached.
            for _ in 0..2 {
                for (index, (got, scores)) in run(&mut engine, &requests).into_iter().enumerate() {
                    assert_eq!(got, tokens[index].0, "{model}, {config:?}, request {index}");
                    assert_eq!(scores, expected[index], "{model}, {config:?}, request {index}");
                }
            }
            assert_eq!(engine.free_pages(), pages);
            assert_eq!(engine.counters().preempted > 0, config.pages.is_some(), "{model}, {config:?}");
        }
    }
}

#[test]
fn they_are_those_of_transformers() {
    let path = format!("{ROOT}/tests/golden/llama/expected.safetensors");
    let expected = Expected::read(Path::new(&path)).expect("a golden folder");
    let mut engine = engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(2, 512));
    for prompt in &expected.prompts {
        let request = Request { prompt_logprobs: Some(1), ..crate::request(&prompt.ids) };
        let (_, scores) = run(&mut engine, &[request]).remove(0);
        assert_eq!(scores.len() + 1, prompt.ids.len());
        // Rows of the last tokens are there; the last of them has no token behind it.
        let rows = prompt.logits_f32.chunks(expected.vocab).take(prompt.rows - 1);
        for (row, score) in rows.zip(&scores[prompt.ids.len() - prompt.rows..]) {
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            assert!((score.logprob - (f64::from(row[score.id as usize]) - sum.ln())).abs() < 1e-4, "{score:?}");
            assert_eq!(score.rank == 1, score.best[0].0 == score.id);
        }
    }
}

#[test]
fn a_scored_prompt_holds_up_no_running_sequence() {
    let mut engine = engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(5, 512));
    let running = engine.submit(crate::request(&prompts()[1])).expect("it fits");
    engine.step().expect("the CPU does not fail");
    let asks = Request { prompt_logprobs: Some(0), max_tokens: 1, ..crate::request(&prompts()[4]) };
    let scored = engine.submit(asks).expect("it fits");
    let mut steps = 0;
    loop {
        steps += 1;
        let events = engine.step().expect("the CPU does not fail");
        assert!(events.iter().any(|event| event.sequence == running), "it has a token of every step");
        if events.iter().any(|event| event.sequence == scored) {
            break;
        }
    }
    // 130 rows of logits, where a step has 64 of which two are kept for choices.
    assert_eq!(steps, 3);
}
