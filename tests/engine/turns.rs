//! Conversations: a turn computes what follows the longest prefix that is still there, and gives the bits of a fresh start.
use gpu_kernels::gemv::SMALL_WEIGHT;
use half::bf16;
use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Engine, EngineConfig, Finish, Request};
use nemotron::sample::Sampling;

use crate::{Ahead, config, engine, generate, request};

/// Runs one turn and returns its tokens, its end and how many tokens of its prompt were not computed again.
fn turn(engine: &mut Engine, request: Request) -> (Vec<u32>, Finish, u64) {
    let reused = engine.counters().reused;
    let id = engine.submit(request).expect("a good request");
    let (mut tokens, mut finish) = (Vec::new(), None);
    while !engine.is_idle() {
        for event in engine.step().expect("the CPU does not fail") {
            assert_eq!(event.sequence, id);
            tokens.push(event.token.expect("numbers"));
            finish = finish.or(event.finish);
        }
    }
    (tokens, finish.expect("a turn ends"), engine.counters().reused - reused)
}

/// Tokens of `prompt` that are there where `computed` was computed last: all that is the same, and where they part within a
/// whole page those in front of it.
fn there(computed: &[u32], prompt: &[u32]) -> usize {
    let common = computed.iter().zip(&prompt[..prompt.len() - 1]).take_while(|(a, b)| a == b).count();
    let (whole, end) = (computed.len() / 64 * 64, computed.len());
    // The page behind the whole ones goes to who needs most of it.
    if common > whole && (common - whole) * 2 >= end - whole { common } else { common / 64 * 64 }
}

#[test]
fn twenty_turns_compute_exactly_what_is_new() {
    let devices: [fn() -> Box<dyn Device>; 3] =
        [|| Box::new(Cpu::<f32>::new()), || Box::new(Ahead(Cpu::new())), || Box::new(Cpu::<bf16>::new())];
    for (model, device) in ["nemotron", "llama", "mistral"].into_iter().zip(devices) {
        let model = format!("tests/golden/{model}");
        let mut chat = engine(&model, device(), config(1, 512));
        let mut fresh = engine(&model, device(), config(1, 512));
        let (mut history, mut computed): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for number in 0..20_u32 {
            history.extend((0..1 + number % 7).map(|i| (number * 31 + i * 17) % 512));
            if number % 6 == 5 {
                let middle = history.len() / 2;
                history.drain(middle..middle + 3);
            }
            let plain = Request { max_tokens: 6, ..request(&history) };
            let third = generate(&mut fresh, vec![plain.clone()])[0].0[2];
            let request = Request { eos: if number % 4 == 1 { vec![third] } else { vec![] }, ..plain };
            let rows = chat.counters().rows;
            let (tokens, finish, reused) = turn(&mut chat, request.clone());
            let expected = there(&computed, &history);
            assert_eq!(reused as usize, expected, "{model}, turn {number}");
            let generated_rows = tokens.len() as u64 - 1;
            let ahead = u64::from(finish == Finish::Stop && device().runs_ahead());
            let prefilled = chat.counters().rows - rows - generated_rows;
            assert_eq!(prefilled, (history.len() - expected) as u64 + ahead, "{model}, turn {number}");
            assert_eq!(generate(&mut fresh, vec![request]), [(tokens.clone(), finish)], "{model}, turn {number}");
            history.extend(tokens);
            computed = history[..history.len() - 1].to_vec();
        }
    }
}

#[test]
fn a_turn_that_was_cancelled_leaves_what_was_read() {
    let mut chat = engine("tests/golden/llama", Box::new(Ahead(Cpu::new())), config(1, 512));
    let prompt: Vec<u32> = (0..70).collect();
    let id = chat.submit(request(&prompt)).unwrap();
    let mut history = prompt;
    while history.len() < 74 {
        history.extend(chat.step().unwrap().into_iter().map(|event| event.token.expect("numbers")));
    }
    chat.cancel(id);
    history.extend([5, 6]);
    let (tokens, finish, reused) = turn(&mut chat, Request { max_tokens: 30, ..request(&history) });
    assert_eq!(reused, 73, "the token that was read last is not counted as computed");
    let mut fresh = engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(1, 512));
    assert_eq!(generate(&mut fresh, vec![Request { max_tokens: 30, ..request(&history) }]), [(tokens, finish)]);
}

#[test]
fn a_turn_with_penalties_reuses_what_is_there_and_is_right() {
    let mut chat = engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(1, 512));
    let mut history: Vec<u32> = (0..70).collect();
    for number in 0..3 {
        let penalized = Sampling { repeat_penalty: 1.3, presence_penalty: 0.5, ..Sampling::default() };
        let sampling = if number == 1 { Sampling::default() } else { penalized };
        let request = Request { max_tokens: 9, sampling, ..request(&history) };
        let (tokens, finish, reused) = turn(&mut chat, request.clone());
        // The history that penalties count is noted anew.
        assert_eq!(reused, [0, 78, 88][number], "turn {number}");
        let mut fresh = engine("tests/golden/llama", Box::new(Cpu::<f32>::new()), config(1, 512));
        assert_eq!(generate(&mut fresh, vec![request]), [(tokens.clone(), finish)], "turn {number}");
        history.extend(tokens);
        history.push(5);
    }
}

#[test]
fn kept_pages_are_given_up_when_others_need_them() {
    let sizes = EngineConfig {
        context: 128,
        max_sequences: 2,
        chunk: 128,
        pages: None,
        spare_slots: 0,
        small_weight: SMALL_WEIGHT,
    };
    let mut chat = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), sizes);
    let prompts: Vec<Vec<u32>> = (0..5_u32).map(|n| (0..100).map(|i| (i * 7 + n) % 512).collect()).collect();
    let short = |prompt: &Vec<u32>| Request { max_tokens: 3, ..request(prompt) };
    let first: Vec<_> = prompts.iter().map(|prompt| turn(&mut chat, short(prompt))).collect();
    assert!(first.iter().all(|(_, _, reused)| *reused == 0), "no prompt begins like another");
    assert_eq!(turn(&mut chat, short(&prompts[4])).2, 99, "the newest is still there");
    assert_eq!(turn(&mut chat, short(&prompts[0])).2, 0, "the oldest made room");
    chat.forget();
    assert_eq!(turn(&mut chat, short(&prompts[0])).2, 0, "nothing is left");
    let plain = generate(&mut chat, prompts.iter().map(short).collect());
    for ((tokens, finish, _), plain) in first.into_iter().zip(plain) {
        assert_eq!((tokens, finish), plain);
    }
    assert_eq!(chat.counters().reused, 99 + 99, "the last one was there again");
}
