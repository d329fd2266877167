//! Hybrids on the CPU device: batches, chunks, slots that are taken again and kept conversations change no bit.
use nemotron::cpu::Cpu;
use nemotron::engine::{Engine, EngineConfig, Finish, Request};

use super::{engine, generate, prompts};

const MODELS: [&str; 2] = ["tests/golden/nemotron_h", "tests/golden/nemotron_h_moe"];

fn config(max_sequences: usize, chunk: usize) -> EngineConfig {
    EngineConfig { context: 256, max_sequences, chunk, pages: None, spare_slots: 0, small_weight: 0 }
}

fn on_cpu(model: &str, config: EngineConfig) -> Engine {
    engine(model, Box::new(Cpu::<f32>::new()), config)
}

fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request { prompt: prompt.to_vec(), max_tokens, ..Request::default() }
}

fn alone(model: &str, prompt: &[u32]) -> (Vec<u32>, Finish) {
    generate(&mut on_cpu(model, config(1, 256)), vec![request(prompt, 20)]).remove(0)
}

#[test]
fn a_batch_of_five_and_chunks_of_any_size_give_what_each_gives_alone() {
    for model in MODELS {
        let expected: Vec<_> = prompts().iter().map(|prompt| alone(model, prompt)).collect();
        let requests = || prompts().iter().map(|prompt| request(prompt, 20)).collect();
        for (sequences, chunk) in [(5, 256), (2, 256), (1, 1), (1, 7), (5, 64), (3, 200)] {
            let got = generate(&mut on_cpu(model, config(sequences, chunk)), requests());
            assert_eq!(got, expected, "{model}, {sequences} sequences, chunks of {chunk}");
        }
    }
}

#[test]
fn logits_do_not_depend_on_where_a_prompt_is_cut() {
    let prompt = &prompts()[4];
    let whole = on_cpu(MODELS[0], config(1, 256)).logits(prompt, 1).expect("the prompt fits");
    for chunk in [1, 7, 64, 200] {
        let cut = on_cpu(MODELS[0], config(1, chunk)).logits(prompt, 1).expect("the prompt fits");
        assert_eq!(cut, whole, "chunks of {chunk}");
    }
}

/// A thousand sequences through eight slots leave no trace of each other: not in the state, and not in the choice of experts.
#[test]
fn a_slot_that_is_taken_again_starts_at_nothing() {
    // Longer ones and shorter ones, one of a chunk and more, follow each other in every slot.
    let cases: Vec<(Vec<u32>, usize)> = prompts()
        .into_iter()
        .flat_map(|prompt| [(1, 9), (4, 3), (17, 1), (70, 2)].map(|(length, tokens)| (cut(&prompt, length), tokens)))
        .collect();
    let alone = |(prompt, tokens): &(Vec<u32>, usize)| {
        generate(&mut on_cpu(MODELS[1], config(1, 256)), vec![request(prompt, *tokens)]).remove(0)
    };
    let expected: Vec<_> = cases.iter().map(alone).collect();
    let mut engine = on_cpu(MODELS[1], config(8, 64));
    let order: Vec<usize> = (0..1000).map(|i| i * 7 % cases.len()).collect();
    let got = generate(&mut engine, order.iter().map(|&i| request(&cases[i].0, cases[i].1)).collect());
    for (number, (got, index)) in got.iter().zip(order).enumerate() {
        assert_eq!(got, &expected[index], "sequence {number}");
    }
}

/// The prompt's first tokens.
fn cut(prompt: &[u32], length: usize) -> Vec<u32> {
    prompt[..length.min(prompt.len())].to_vec()
}

/// A turn goes on from the state that its conversation left; another that took the slot meanwhile computes it anew.
#[test]
fn a_kept_sequence_goes_on_from_its_state() {
    for first_tokens in [20, 45, 70] {
        let prompt = prompts()[2].clone();
        let mut engine = on_cpu(MODELS[0], config(1, 256));
        let said = turn(&mut engine, &prompt, first_tokens);
        let second = [&prompt[..], &said[..], &[5, 6, 7]].concat();
        let fresh = alone(MODELS[0], &second).0;
        let before = engine.counters();
        assert_eq!(turn(&mut engine, &second, 20), fresh, "{first_tokens} tokens before");
        let reused = (engine.counters().reused - before.reused) as usize;
        // The last token of the first turn was never computed.
        assert_eq!(reused, prompt.len() + said.len() - 1);
        let other = turn(&mut engine, &prompts()[1], 20);
        assert_eq!(other, alone(MODELS[0], &prompts()[1]).0);
        assert_eq!(turn(&mut engine, &second, 20), fresh, "computed anew");
    }
}

fn turn(engine: &mut Engine, prompt: &[u32], max_tokens: usize) -> Vec<u32> {
    engine.submit(request(prompt, max_tokens)).expect("a good request");
    let mut tokens = Vec::new();
    while !engine.is_idle() {
        let events = engine.step().expect("the CPU does not fail");
        tokens.extend(events.into_iter().map(|event| event.token.expect("numbers")));
    }
    tokens
}
