//! Snapshots of states, on hybrids: how much of what others computed is computed again, and that no bit of a text tells of it.
use nemotron::cpu::Cpu;
use nemotron::engine::{Engine, EngineConfig, Request};

use super::{engine, generate};

const MODELS: [&str; 2] = ["tests/golden/nemotron_h", "tests/golden/nemotron_h_moe"];

/// Tokens that are computed again at most: those of a page, and of the page that the prompt's end is in.
const AGAIN: usize = 128;

fn on_cpu(model: &str, spare_slots: usize) -> Engine {
    let sizes = EngineConfig { context: 1024, max_sequences: 4, chunk: 512, pages: None, spare_slots, small_weight: 0 };
    engine(model, Box::new(Cpu::<f32>::new()), sizes)
}

/// A text of its own of so many tokens.
fn text(number: u32, tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| (i * (37 + 2 * number) + 11 * number + i * i) % 512).collect()
}

/// Where the model's turn begins with so many tokens that a later prompt may not have.
fn request(prompt: &[u32], begin: usize, question: usize) -> Request {
    let turn_ends = vec![prompt.len() - begin - question, prompt.len() - begin];
    Request { prompt: prompt.to_vec(), max_tokens: 12, turn_ends, ..Request::default() }
}

/// The request's text, and how many of its prompt's tokens were computed for it; the text must be that of an engine without
/// anything cached.
fn run(engine: &mut Engine, model: &str, request: &Request) -> (Vec<u32>, usize) {
    let before = engine.counters().reused;
    let (text, _) = generate(engine, vec![request.clone()]).remove(0);
    let (alone, _) = generate(&mut on_cpu(model, 0), vec![request.clone()]).remove(0);
    assert_eq!(text, alone, "the same bits with and without the cache");
    (text, request.prompt.len() - (engine.counters().reused - before) as usize)
}

/// Each turn's history is the one before as it is, or without the end of the model's begin and with another answer, as where
/// reasoning is left out of it.
#[test]
fn a_turn_of_a_conversation_computes_what_is_new() {
    for model in MODELS {
        for (begin, same) in [(0, true), (5, false)] {
            let mut engine = on_cpu(model, 8);
            let mut history = text(0, 300);
            let mut known = 0;
            for turn in 1..6 {
                let question = text(turn, 20 + 9 * turn as usize);
                let prompt = [&history[..], &question, &text(50, begin)].concat();
                let (said, computed) = run(&mut engine, model, &request(&prompt, begin, question.len()));
                assert!(computed <= prompt.len() - known + AGAIN, "turn {turn}: {computed}, known were {known}");
                known = prompt.len() - begin;
                let answer = if same { said } else { text(60 + turn, 10) };
                history = [&prompt[..known], &answer].concat();
            }
        }
    }
}

#[test]
fn an_edited_turn_computes_that_turn() {
    for model in MODELS {
        let mut engine = on_cpu(model, 8);
        let first = [text(0, 200), text(1, 30)].concat();
        let (said, _) = run(&mut engine, model, &request(&first, 0, 30));
        // The history is long, and its end was written otherwise than the model said it.
        let history = [&first[..], &said[..4], &text(2, 150)].concat();
        for edit in 0..4 {
            let question = text(10 + edit, 40);
            let prompt = [&history[..], &question].concat();
            let (_, computed) = run(&mut engine, model, &request(&prompt, 0, question.len()));
            let known = if edit == 0 { first.len() } else { history.len() };
            assert!(computed <= prompt.len() - known + AGAIN, "edit {edit}: {computed} of {}", prompt.len());
        }
    }
}

#[test]
fn a_system_prompt_is_computed_twice_and_no_more() {
    for model in MODELS {
        let mut engine = on_cpu(model, 8);
        let system = text(0, 400);
        for user in 1..6 {
            let prompt = [&system[..], &text(user, 70)].concat();
            let (_, computed) = run(&mut engine, model, &request(&prompt, 3, 67));
            let most = if user < 3 { prompt.len() } else { 70 + AGAIN };
            assert!(computed <= most, "user {user}: {computed}");
        }
    }
}

/// Requests that begin alike at the same time: one computes that, the others wait for its state.
#[test]
fn what_several_begin_with_at_once_is_computed_once() {
    for (model, spare_slots) in [(MODELS[0], 8), (MODELS[1], 0)] {
        let system = text(0, 250);
        let requests: Vec<Request> =
            (1..5).map(|user| request(&[&system[..], &text(user, 40)].concat(), 3, 37)).collect();
        let mut together = on_cpu(model, spare_slots);
        let texts = generate(&mut together, requests.clone());
        for (text, request) in texts.iter().zip(&requests) {
            assert_eq!(*text, generate(&mut on_cpu(model, 0), vec![request.clone()])[0]);
        }
        let (queried, reused) = (together.counters().queried as usize, together.counters().reused as usize);
        assert_eq!(queried, 4 * 290);
        assert!(reused >= 3 * 192, "the last page end in front of 250, for three of four: {reused}");
    }
}

/// The next one goes on where a leader that was cancelled left, and leads those that wait.
#[test]
fn a_cancelled_leader_hands_over() {
    let model = MODELS[0];
    let system = text(0, 600);
    let requests: Vec<Request> = (1..5).map(|user| request(&[&system[..], &text(user, 40)].concat(), 3, 37)).collect();
    let mut engine = on_cpu(model, 8);
    let ids: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).expect("it fits")).collect();
    engine.step().expect("the CPU does not fail");
    engine.cancel(ids[0]);
    let mut tokens = vec![Vec::new(); ids.len()];
    while !engine.is_idle() {
        for event in engine.step().expect("the CPU does not fail") {
            let index = ids.iter().position(|id| *id == event.sequence).expect("one of these");
            tokens[index].push(event.token.expect("numbers"));
        }
    }
    for (tokens, request) in tokens.iter().zip(&requests).skip(1) {
        assert_eq!(*tokens, generate(&mut on_cpu(model, 0), vec![request.clone()])[0].0);
    }
    // 512 tokens of the first step, and the last page end in front of 600 for the last two.
    assert!(engine.counters().reused >= 512 + 2 * 576, "{:?}", engine.counters());
}

/// Others that wait for beginnings of a long prompt do not cut it into pages.
#[test]
fn few_of_those_that_wait_cut_a_prompt() {
    let mut engine = on_cpu(MODELS[0], 8);
    let long = text(0, 900);
    let leader = engine.submit(request(&long, 0, 0)).expect("it fits");
    let others: Vec<Request> = (1..14).map(|page| request(&long[..page * 64 + 10], 0, 0)).collect();
    for other in &others {
        engine.submit(other.clone()).expect("it fits");
    }
    let mut steps = 0;
    while engine.prompt_progress(leader).is_some_and(|computed| computed < 900) {
        engine.step().expect("the CPU does not fail");
        steps += 1;
    }
    // Two of its own, and one for each of eight that asked.
    assert!(steps <= 2 + 8 + 1, "{steps}");
    while !engine.is_idle() {
        engine.step().expect("the CPU does not fail");
    }
}
