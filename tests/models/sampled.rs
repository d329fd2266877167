//! Tokens drawn by the PTX of a whole model are those that the references draw.
use gpu_kernels::gemv::SMALL_WEIGHT;
use half::bf16;
use nemotron::cpu::Cpu;
use nemotron::engine::{Engine, Request};
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
    let prompt = (0..7).map(|i| i * 13 % 101).collect();
    let request = Request { prompt, max_tokens: 12, sampling, ..Request::default() };
    engine.submit(request).expect("a good request");
    let mut tokens = Vec::new();
    while !engine.is_idle() {
        tokens.extend(
            engine.step().expect("the device does not fail").into_iter().map(|event| event.token.expect("numbers")),
        );
    }
    tokens
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
