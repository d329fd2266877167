//! Reasoning that uses its budget up is ended, and the text goes on behind its end as if the model had ended it.
use std::collections::HashMap;
use std::sync::Arc;

use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Engine, EngineConfig, Finish, Request, ThinkingBudget, TokenLogprobs, TokenMarks, log_softmax};
use nemotron::sample::{Constraints, Sampling};

use crate::toy::{self, Toy};
use crate::{Ahead, config, engine, generate, prompts, request};

/// The token that ends reasoning, and the one that begins it.
pub const CLOSE: u32 = 13;
pub const OPEN: u32 = 12;

/// What a budget ends reasoning with.
pub const END: [u32; 2] = [5, CLOSE];

/// A budget of so many tokens, of reasoning that the prompt or the answer begins.
pub fn budget(tokens: usize, opens: bool) -> ThinkingBudget {
    let marks = |id: u32, text: &str| Arc::new(TokenMarks::new(vec![text.into()], HashMap::from([(id, text.into())])));
    let opens = opens.then(|| marks(OPEN, "<think>"));
    ThinkingBudget { tokens, end: END.into(), opens, closes: marks(CLOSE, "</think>") }
}

fn devices() -> [Box<dyn Device>; 2] {
    [Box::new(Cpu::<f32>::new()), Box::new(Ahead(Cpu::<f32>::new()))]
}

/// Right values: the same model behind a prompt that ends with the budget's end. A token is a function of seed and position.
#[test]
fn the_text_goes_on_behind_the_end_of_the_reasoning() {
    let warm = Sampling { temperature: 1.2, seed: 7, top_k: 20, ..Sampling::default() };
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        for (sampling, prompt) in [(Sampling::default(), &prompts()[0]), (warm.clone(), &prompts()[1])] {
            let plain = Request { sampling, max_tokens: 40, ..request(prompt) };
            for tokens in [1, 2, 17] {
                for (device, again) in devices().into_iter().zip(devices()) {
                    let mut engine = engine(model, device, config(2, 64));
                    let free = generate(&mut engine, vec![plain.clone()]).remove(0).0;
                    let head = [&prompt[..], &free[..tokens], &END].concat();
                    let rest = Request { prompt: head, max_tokens: 40 - tokens - 2, ..plain.clone() };
                    let rest = generate(&mut crate::engine(model, again, config(2, 64)), vec![rest]).remove(0);
                    let bounded = Request { thinking: Some(budget(tokens, false)), ..plain.clone() };
                    let expected = ([&free[..tokens], &END, &rest.0].concat(), rest.1);
                    assert_eq!(generate(&mut engine, vec![bounded.clone(), bounded]), [expected.clone(), expected]);
                }
            }
        }
    }
}

#[test]
fn penalties_and_rules_know_what_came_in_front_of_the_end() {
    let rules = Constraints { no_repeat_ngram: 2, min_tokens: 30, ..Constraints::default() };
    let penalties =
        Sampling { presence_penalty: 1.5, frequency_penalty: 0.5, repeat_penalty: 1.2, ..Sampling::default() };
    for sampling in [penalties, Sampling { constraints: rules, temperature: 0.9, ..Sampling::default() }] {
        let [one, ahead] = devices().map(|device| {
            let request = Request { sampling: sampling.clone(), max_tokens: 60, ..request(&prompts()[0]) };
            let request = Request { thinking: Some(budget(20, false)), ..request };
            generate(&mut engine("tests/golden/nemotron_h", device, config(2, 64)), vec![request]).remove(0)
        });
        assert_eq!(one, ahead);
        let pairs: Vec<&[u32]> = one.0.windows(2).collect();
        let repeats = pairs.iter().enumerate().filter(|(at, pair)| pairs[..*at].contains(pair)).count();
        assert!(sampling.constraints.no_repeat_ngram == 0 || repeats == 0, "{:?}", one.0);
    }
}

fn toy() -> Engine {
    engine("tests/golden/nemotron", Box::new(Toy::new(true, false, 4)), config(2, 64))
}

/// What the toy says with a budget of three tokens, of which `pieces` are bytes, until eight tokens are there.
fn bounded_saying(says: &[u32], pieces: &[(u32, &[u8])]) -> Vec<u32> {
    let pieces = pieces.iter().map(|(id, piece)| (*id, piece.to_vec())).collect();
    let closes = Arc::new(TokenMarks::new(vec![b"</think>".to_vec()], pieces));
    let thinking = Some(ThinkingBudget { closes, ..budget(3, false) });
    let device = Toy::new(true, false, 4).saying(says);
    let mut engine = engine("tests/golden/nemotron", Box::new(device), config(2, 64));
    let request = Request { prompt: vec![3, 1], max_tokens: 8, thinking, ..Request::default() };
    told(&mut engine, request).into_iter().map(|(id, ..)| id).collect()
}

#[test]
fn no_end_comes_inside_one_that_the_model_writes_or_inside_a_character() {
    const TAG: [(u32, &[u8]); 3] = [(20, b"</"), (21, b"think"), (22, b">")];
    // The model ends it by itself.
    assert_eq!(bounded_saying(&[7, 8, 20, 21, 22, 9, 10, 11], &TAG), [7, 8, 20, 21, 22, 9, 10, 11]);
    assert_eq!(bounded_saying(&[7, 20, 21, 22, 9, 10, 11, 12], &TAG), [7, 20, 21, 22, 9, 10, 11, 12]);
    // It does not: what it wrote is text.
    assert_eq!(bounded_saying(&[7, 8, 20, 21, 9, 10, 11, 12], &TAG)[..7], [7, 8, 20, 21, 9, END[0], END[1]]);
    let character = [(30, &b"\xf0\x9f"[..]), (31, b"\xa6"), (32, b"\x8a")];
    assert_eq!(bounded_saying(&[7, 8, 30, 31, 32, 9, 10, 11], &character)[..7], [7, 8, 30, 31, 32, END[0], END[1]]);
    assert_eq!(bounded_saying(&[7, 8, 9, 30, 31, 32, 10, 11], &character)[..5], [7, 8, 9, END[0], END[1]]);
}

#[test]
fn what_only_ever_begins_an_end_is_ended_all_the_same() {
    let closes = Arc::new(TokenMarks::new(vec![b"</think>".to_vec()], HashMap::from([(20, b"<".to_vec())])));
    let device = Toy::new(true, false, 4).saying(&[20; 40]);
    let mut engine = engine("tests/golden/nemotron", Box::new(device), config(2, 64));
    let thinking = Some(ThinkingBudget { closes, ..budget(3, false) });
    let told = told(&mut engine, Request { prompt: vec![3, 1], max_tokens: 30, thinking, ..Request::default() });
    let end = told.iter().position(|(id, ..)| *id == END[0]);
    assert_eq!(end, Some(3 + "</think>".len()), "{told:?}");
}

/// The tokens of a request, and what came with each.
pub fn told(engine: &mut Engine, request: Request) -> Vec<(u32, Option<TokenLogprobs>, Option<Finish>)> {
    engine.submit(request).expect("a good request");
    let mut told = Vec::new();
    while !engine.is_idle() {
        let events = engine.step().expect("the toy does not fail");
        told.extend(events.into_iter().map(|event| (event.token.expect("numbers"), event.logprobs, event.finish)));
    }
    told
}

#[test]
fn an_end_that_has_no_room_does_not_begin() {
    for logprobs in [None, Some(2)] {
        for (max_tokens, context, tokens) in [(3, 256, 3), (4, 256, 3), (5, 256, 5), (9, 256, 9), (9, 6, 3), (9, 7, 5)]
        {
            let device = Box::new(Toy::new(true, false, usize::div_ceil(context, 64)));
            let mut engine = engine("tests/golden/nemotron", device, EngineConfig { context, ..config(2, 64) });
            let request = Request { prompt: vec![3, 1], max_tokens, logprobs, ..Request::default() };
            let told = told(&mut engine, Request { thinking: Some(budget(3, false)), ..request });
            let ids: Vec<u32> = told.iter().map(|(id, ..)| *id).collect();
            let end = if tokens > 3 { &END[..] } else { &[] };
            assert!(ids.len() == tokens && ids[3..].starts_with(end), "{ids:?}");
            let ends: Vec<_> = told.iter().filter_map(|(.., finish)| *finish).collect();
            let full = if context < 256 { Finish::Context } else { Finish::Length };
            assert_eq!((ends, told[tokens - 1].2), (vec![full], Some(full)), "{max_tokens} of {context}");
        }
    }
}

/// Right values: the model's rows of logits in front of each token, forced ones included.
#[test]
fn forced_tokens_have_the_log_probabilities_of_the_model() {
    let warm = Sampling { temperature: 1.2, seed: 7, repeat_penalty: 1.2, ..Sampling::default() };
    for (model, sampling) in [("tests/golden/nemotron", Sampling::default()), ("tests/golden/nemotron_h", warm)] {
        for device in devices() {
            let mut engine = engine(model, device, config(2, 64));
            let plain = Request { sampling: sampling.clone(), max_tokens: 12, ..request(&prompts()[3]) };
            let plain = Request { thinking: Some(budget(4, false)), ..plain };
            let expected = generate(&mut engine, vec![plain.clone()]).remove(0);
            let told = told(&mut engine, Request { logprobs: Some(3), ..plain.clone() });
            let ids: Vec<u32> = told.iter().map(|(id, ..)| *id).collect();
            assert_eq!((&ids, &ids[4..6], told[11].2), (&expected.0, &END[..], Some(expected.1)));
            for (index, (id, told, _)) in told.iter().enumerate() {
                let row = engine.logits(&[&plain.prompt[..], &ids[..index]].concat(), 1).expect("it fits");
                let ((logprob, best), told) = (log_softmax(&row, *id, 3), told.as_ref().expect("asked for"));
                assert!((told.logprob - logprob).abs() < 1e-6 && told.best.len() == 3, "{index}: {told:?}");
                assert!(told.best.iter().zip(best).all(|(told, best)| told.0 == best.0), "{index}: {told:?}");
            }
        }
    }
}

#[test]
fn reasoning_that_is_over_or_never_begins_has_no_bound() {
    let free = |prompt: &[u32]| {
        let mut tokens = prompt.to_vec();
        (0..20).for_each(|_| tokens.push(toy::next(&tokens)));
        tokens.split_off(prompt.len())
    };
    let bounded = |prompt: &[u32], thinking: ThinkingBudget| {
        let request =
            Request { prompt: prompt.to_vec(), max_tokens: 20, thinking: Some(thinking), ..Request::default() };
        told(&mut toy(), request).into_iter().map(|(id, ..)| id).collect::<Vec<u32>>()
    };
    // Nothing opens it.
    assert_eq!(bounded(&[3, 1], budget(3, true)), free(&[3, 1]));
    // The token that comes third closes it, and is no part of it.
    let closes = free(&[3, 1])[2];
    let marks = TokenMarks::new(vec![b"x".to_vec()], HashMap::from([(closes, b"x".to_vec())]));
    let mut closed = budget(3, false);
    closed.closes = Arc::new(marks.clone());
    assert_eq!(bounded(&[3, 1], closed), free(&[3, 1]));
    // The first one opens it.
    let opens = TokenMarks::new(vec![b"x".to_vec()], HashMap::from([(free(&[3, 1])[0], b"x".to_vec())]));
    let opened = ThinkingBudget { opens: Some(Arc::new(opens)), ..budget(3, true) };
    let text = bounded(&[3, 1], opened);
    assert_eq!((&text[..4], &text[4..6]), (&free(&[3, 1])[..4], &END[..]));
}
