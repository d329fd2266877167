//! Constrained sequences: each token is the best of those that may come there, and neighbours notice nothing.
use std::thread::sleep;
use std::time::Duration;

use nemotron::cpu::Cpu;
use nemotron::device::Device;
use nemotron::engine::{Constraint, Engine, EngineConfig, Finish, Request, TokenMatcher, log_softmax};
use nemotron::error::{Category, Error, Result};
use nemotron::sample::Sampling;

use crate::thinking::{END, OPEN, budget, told};
use crate::{Ahead, config, engine, generate, prompts, request};

/// Which of 512 tokens may follow: an eighth of them, others behind each one.
pub fn allowed(last: u32) -> impl Iterator<Item = u32> {
    (0..512).filter(move |token| (token + 3 * last).is_multiple_of(8))
}

/// Allows what [`allowed`] says, and is so slow.
pub struct Eighth {
    last: u32,
    pause: Duration,
    /// Tokens until it does not know.
    left: usize,
}

impl Eighth {
    pub fn new(pause: Duration, left: usize) -> Eighth {
        Eighth { last: 0, pause, left }
    }
}

impl TokenMatcher for Eighth {
    fn push(&mut self, token: u32) -> Result<()> {
        assert!(allowed(self.last).any(|may| may == token), "a token that was forbidden came");
        self.last = token;
        self.left -= 1;
        Ok(())
    }

    fn mask(&mut self) -> Result<Vec<u32>> {
        sleep(self.pause);
        if self.left == 0 {
            return Err(Error::new(Category::Input, "Nobody knows"));
        }
        let mut mask = vec![0; 16];
        allowed(self.last).for_each(|token| mask[token as usize / 32] |= 1 << (token % 32));
        Ok(mask)
    }
}

fn eighth(pause: u64, left: usize) -> Option<Constraint> {
    let pause = Duration::from_millis(pause);
    Some(Constraint::new(move || Ok(Box::new(Eighth::new(pause, left)))))
}

fn devices() -> [Box<dyn Device>; 2] {
    [Box::new(Cpu::<f32>::new()), Box::new(Ahead(Cpu::<f32>::new()))]
}

/// Right values: the best of the logits that may come, behind each token anew.
fn expected(engine: &mut Engine, prompt: &[u32], count: usize) -> Vec<u32> {
    let (mut tokens, mut last) = (prompt.to_vec(), 0);
    for _ in 0..count {
        let logits = engine.logits(&tokens, 1).expect("logits");
        let better = |best: u32, token: u32| if logits[token as usize] > logits[best as usize] { token } else { best };
        last = allowed(last).reduce(better).expect("an eighth");
        tokens.push(last);
    }
    tokens.split_off(prompt.len())
}

#[test]
fn each_token_is_the_best_that_may_come() {
    for model in ["tests/golden/nemotron", "tests/golden/nemotron_h"] {
        for pause in [0, 4] {
            for device in devices() {
                let mut engine = engine(model, device, config(3, 64));
                let prompts = &prompts()[1..4];
                let expected: Vec<Vec<u32>> = prompts.iter().map(|prompt| expected(&mut engine, prompt, 20)).collect();
                let constrained =
                    |prompt: &Vec<u32>| Request { max_tokens: 20, constraint: eighth(pause, 99), ..request(prompt) };
                let found = generate(&mut engine, prompts.iter().map(constrained).collect());
                assert_eq!(
                    found,
                    expected.into_iter().map(|tokens| (tokens, Finish::Length)).collect::<Vec<_>>(),
                    "{model} {pause}"
                );
            }
        }
    }
}

/// Also where a neighbour's masks are slow, where the plans of both are others, and where pages are short.
#[test]
fn neighbours_notice_nothing() {
    let warm = Sampling { temperature: 1.1, seed: 3, top_k: 40, ..Sampling::default() };
    let free = || {
        prompts()
            .into_iter()
            .zip([Sampling::default(), warm.clone()].into_iter().cycle())
            .map(|(prompt, sampling)| Request { sampling, logprobs: Some(2), max_tokens: 40, ..request(&prompt) })
    };
    for (pause, pages) in [(0, None), (5, None), (1, Some(9))] {
        for (device, again) in devices().into_iter().zip(devices()) {
            let narrow = |config: EngineConfig| EngineConfig { pages, ..config };
            let mut engine_alone = engine("tests/golden/nemotron_h", again, config(4, 64));
            let alone = generate(&mut engine_alone, free().collect());
            let constrained = prompts().into_iter().zip([Sampling::default(), warm.clone()].into_iter().cycle()).map(
                |(prompt, sampling)| Request {
                    sampling,
                    max_tokens: 30,
                    logprobs: Some(1),
                    constraint: eighth(pause, 99),
                    ..request(&prompt)
                },
            );
            let constrained: Vec<Request> = constrained.collect();
            let alone_too = generate(&mut engine_alone, constrained.clone());
            let mut engine = engine("tests/golden/nemotron_h", device, narrow(config(4, 64)));
            let all = free().zip(constrained).flat_map(|(free, constrained)| [free, constrained]).collect();
            let (free_found, found): (Vec<_>, Vec<_>) = {
                let all = generate(&mut engine, all);
                (all.iter().step_by(2).cloned().collect(), all.iter().skip(1).step_by(2).cloned().collect())
            };
            assert_eq!((free_found, found), (alone, alone_too), "{pause} {pages:?}");
        }
    }
}

#[test]
fn a_sequence_that_may_have_no_token_ends_with_an_error_and_others_go_on() {
    for device in devices() {
        let mut engine = engine("tests/golden/nemotron", device, config(2, 64));
        let alone = generate(&mut engine, vec![request(&prompts()[0])]);
        for left in [0, 5] {
            let lost = engine
                .submit(Request { constraint: eighth(1, left), ..request(&prompts()[1]) })
                .expect("a good request");
            let other = engine.submit(request(&prompts()[0])).expect("a good request");
            let (mut tokens, mut before, mut failed) = (Vec::new(), 0, None);
            while !engine.is_idle() {
                for event in engine.step().expect("the device does not fail") {
                    match event.token {
                        Ok(token) if event.sequence == other => tokens.push(token),
                        Ok(_) => before += 1,
                        Err(error) => assert!(event.sequence == lost && failed.replace(error).is_none()),
                    }
                }
            }
            assert_eq!((tokens, before), (alone[0].0.clone(), left));
            assert_eq!(failed.expect("it ends").message(), "Nobody knows");
        }
    }
}

/// The constraint begins behind the end of the reasoning, wherever that comes from.
#[test]
fn reasoning_is_free_and_the_answer_is_not() {
    for device in devices() {
        let mut engine = engine("tests/golden/nemotron", device, config(2, 64));
        let bounded = Request { max_tokens: 30, thinking: Some(budget(7, false)), ..request(&prompts()[0]) };
        let free = generate(&mut engine, vec![bounded.clone()]).remove(0).0;
        let found = generate(&mut engine, vec![Request { constraint: eighth(0, 99), ..bounded.clone() }]).remove(0).0;
        assert_eq!((&found[..9], &found[7..9]), (&free[..9], &END[..]));
        let head = [&prompts()[0][..], &found[..9]].concat();
        assert_eq!(found[9..], expected(&mut engine, &head, 21));
        // Where it is told how likely tokens are, the end comes token by token.
        let told = told(&mut engine, Request { constraint: eighth(0, 99), logprobs: Some(0), ..bounded });
        assert!(told.iter().map(|(id, ..)| *id).eq(found.iter().copied()), "{told:?}");
        for (index, (id, told, _)) in told.iter().enumerate() {
            let row = engine.logits(&[&prompts()[0][..], &found[..index]].concat(), 1).expect("it fits");
            let likely = told.as_ref().expect("asked for").logprob;
            assert!((likely - log_softmax(&row, *id, 0).0).abs() < 1e-6, "{index}: {likely}");
        }
    }
}

/// What begins the reasoning may come though the constraint does not allow it; else the answer begins at once.
#[test]
fn an_answer_may_begin_with_reasoning() {
    assert!(allowed(0).all(|token| token != OPEN));
    let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(2, 64));
    let asked = |thinking, prompt: &[u32]| Request {
        max_tokens: 20,
        thinking: Some(thinking),
        constraint: eighth(0, 99),
        ..request(prompt)
    };
    for prompt in &prompts()[..3] {
        let found = generate(&mut engine, vec![asked(budget(5, true), prompt)]).remove(0).0;
        assert_eq!(found, expected(&mut engine, prompt, 20));
        let drawn = Sampling { logit_bias: vec![(OPEN, 100.0)], ..Sampling::default() };
        let asked = Request { sampling: drawn, ..asked(budget(5, true), prompt) };
        let found = generate(&mut engine, vec![asked]).remove(0).0;
        assert_eq!((&found[..6], &found[6..8]), (&[OPEN; 6][..], &END[..]));
        let answer = &found[8..];
        assert!(
            answer.iter().zip([0].iter().chain(answer)).all(|(token, last)| allowed(*last).any(|may| may == *token))
        );
    }
}

/// Least tokens hold where more may always come; else the constraint says where a text ends.
#[test]
fn least_tokens_hold_where_more_may_come() {
    let mut engine = engine("tests/golden/nemotron", Box::new(Cpu::<f32>::new()), config(5, 64));
    let mut shortest = |open: bool| {
        let asked = |prompt: &Vec<u32>| {
            let mut asked = Request { max_tokens: 30, constraint: eighth(0, 99), ..request(prompt) };
            asked.eos = (0..256).collect();
            asked.sampling.constraints.min_tokens = 12;
            asked.constraint = asked.constraint.map(|form| if open { form.open() } else { form });
            asked
        };
        let found = generate(&mut engine, prompts().iter().map(asked).collect());
        found.into_iter().map(|(tokens, _)| tokens.len()).min()
    };
    assert!(shortest(false) < Some(12));
    assert!(shortest(true) > Some(12));
}
