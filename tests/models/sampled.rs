//! Tokens drawn by the PTX of a whole model are those that the references draw.
use gpu_kernels::gemv::SMALL_WEIGHT;
use half::bf16;
use nemotron::cpu::Cpu;
use nemotron::engine::{Engine, Request, TokenLogprobs};
use nemotron::sample::Sampling;

use crate::{emulated, engine};

/// Tokens of a vocabulary of 101, so that every filter has something to leave out.
const MODEL: &str = "tests/golden/odd_vocab";

fn rows() -> [Sampling; 4] {
    let warm = Sampling { temperature: 0.9, seed: 11, ..Sampling::default() };
    [
        Sampling { temperature: 2.0, ..warm.clone() },
        Sampling { top_k: 20, top_p: 0.8, min_p: 0.02, stream: 3, ..warm.clone() },
        Sampling { repeat_penalty: 1.4, presence_penalty: 0.3, frequency_penalty: 0.2, ..warm.clone() },
        Sampling { repeat_penalty: 1.2, logit_bias: vec![(7, 3.5), (100, -2.0)], ..Sampling::default() },
    ]
}

fn generate(engine: &mut Engine, sampling: Sampling) -> Vec<u32> {
    told(engine, sampling, None).into_iter().map(|(token, _)| token).collect()
}

/// Tokens, with how likely they and the best are where `logprobs` are asked for.
fn told(engine: &mut Engine, sampling: Sampling, logprobs: Option<usize>) -> Vec<(u32, Option<TokenLogprobs>)> {
    let prompt = (0..7).map(|i| i * 13 % 101).collect();
    let request = Request { prompt, max_tokens: 12, sampling, logprobs, ..Request::default() };
    engine.submit(request).expect("a good request");
    let mut told = Vec::new();
    while !engine.is_idle() {
        let events = engine.step().expect("the device does not fail");
        told.extend(events.into_iter().map(|event| (event.token.expect("numbers"), event.logprobs)));
    }
    told
}

#[test]
fn the_emulator_tells_the_log_probabilities_that_the_references_tell() {
    let (mut ptx, _, ran) = emulated(MODEL, SMALL_WEIGHT);
    let (mut references, _) = engine(MODEL, Box::new(Cpu::<bf16>::new()));
    for sampling in rows().into_iter().chain([Sampling::default()]) {
        let got = told(&mut ptx, sampling.clone(), Some(20));
        let wanted = told(&mut references, sampling.clone(), Some(20));
        for ((token, got), (other, wanted)) in got.iter().zip(&wanted) {
            let (got, wanted) = (got.as_ref().expect("asked for"), wanted.as_ref().expect("asked for"));
            // Both round to bf16, whose steps are 0.8 % apart, in other places: attn_decode its weights by 16 keys.
            let near = |a: f64, b: f64| (a - b).abs() < 0.04;
            assert!(token == other && near(got.logprob, wanted.logprob), "{sampling:?}: {got:?} {wanted:?}");
            assert_eq!(got.best.len(), 20);
            for ((id, logprob), (_, other)) in got.best.iter().zip(&wanted.best) {
                assert!(near(*logprob, *other) && (id != token || *logprob == got.logprob), "{got:?} {wanted:?}");
            }
        }
        assert_eq!(got.iter().map(|(token, _)| *token).collect::<Vec<_>>(), generate(&mut ptx, sampling));
    }
    let ran = ran.lock().expect("no thread died");
    assert_eq!((ran.kernels["top_logprobs"], ran.kernels["keep_logits"]), (5 * 12, 4 * 12), "{ran:?}");
}

#[test]
fn the_emulator_draws_the_tokens_that_the_references_draw() {
    let (mut ptx, _, ran) = emulated(MODEL, SMALL_WEIGHT);
    let (mut references, _) = engine(MODEL, Box::new(Cpu::<bf16>::new()));
    let drawn = rows().map(|sampling| {
        let tokens = generate(&mut ptx, sampling.clone());
        assert_eq!(tokens, generate(&mut references, sampling.clone()), "{sampling:?}");
        tokens
    });
    let greedy = generate(&mut references, Sampling::default());
    assert!(drawn.iter().all(|tokens| *tokens != greedy), "every row draws something else: {drawn:?}, {greedy:?}");
    let ran = ran.lock().expect("no thread died");
    assert!(["sample", "penalize", "argmax", "history_append"].iter().all(|name| ran.kernels[name] > 0), "{ran:?}");
}
