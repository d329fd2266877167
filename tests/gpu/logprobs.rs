//! Log-probabilities on the GPU: those of the model's logits, with no step that is waited for.
use nemotron::device::cuda::Options;
use nemotron::engine::{Counters, Engine, Request, TokenLogprobs, log_softmax};
use nemotron::sample::Sampling;

use crate::models::{PRODUCTS, engine, prompts};
use crate::{Row, ensure, text};

pub const ROWS: &[Row] = &[("logprobs: those of the model's logits, and no other step", of_the_logits)];

const MODELS: [&str; 3] = ["models/storyteller", "tests/golden/nemotron", "tests/golden/nemotron_h"];

/// Greedy, by chance, and with logits that change.
fn requests(asks: bool) -> Vec<Request> {
    let warm = Sampling { temperature: 0.9, seed: 3, ..Sampling::default() };
    let rows = [
        Sampling::default(),
        Sampling { top_k: 20, ..warm.clone() },
        Sampling { repeat_penalty: 1.3, frequency_penalty: 0.2, ..warm },
        Sampling { logit_bias: vec![(7, 3.5), (100, -2.0)], ..Sampling::default() },
        Sampling::default(),
    ];
    let of = |(index, (prompt, sampling)): (usize, (Vec<u32>, Sampling))| Request {
        prompt,
        sampling,
        max_tokens: 40,
        logprobs: (asks && index < 4).then_some(20),
        ..Request::default()
    };
    prompts().into_iter().zip(rows).enumerate().map(of).collect()
}

type Told = Vec<(u32, Option<TokenLogprobs>)>;

fn run(engine: &mut Engine, requests: &[Request]) -> Result<(Vec<Told>, Counters), String> {
    let ids = requests.iter().map(|request| engine.submit(request.clone())).collect::<Result<Vec<_>, _>>();
    let (ids, mut told) = (ids.map_err(text)?, vec![Told::new(); requests.len()]);
    while !engine.is_idle() {
        for event in engine.step().map_err(text)? {
            let index = ids.iter().position(|id| *id == event.sequence).ok_or("an unknown sequence")?;
            told[index].push((event.token.map_err(text)?, event.logprobs));
        }
    }
    Ok((told, engine.counters()))
}

fn of_the_logits() -> Result<String, String> {
    let (mut tokens, mut worst, mut sum) = (0_u32, 0.0_f64, 0.0);
    for (model, small_weight) in MODELS.iter().flat_map(|model| PRODUCTS.map(|small_weight| (model, small_weight))) {
        for options in [Options::default(), Options { check: true, graphs: false, ..Options::default() }] {
            let fresh = || engine(model, options, 5, small_weight);
            let (plain, before) = run(&mut fresh()?, &requests(false))?;
            let mut engine = fresh()?;
            let (told, after) = run(&mut engine, &requests(true))?;
            ensure((before.steps, before.uploads) == (after.steps, after.uploads), || {
                format!("{model}: {before:?}, with log-probabilities {after:?}")
            })?;
            for ((request, told), plain) in requests(true).iter().zip(&told).zip(&plain) {
                ensure(told.iter().map(|(token, _)| token).eq(plain.iter().map(|(token, _)| token)), || {
                    format!("{model}: a token changes")
                })?;
                for (index, (token, logprobs)) in told.iter().enumerate() {
                    let Some(logprobs) = logprobs else { continue };
                    consistent(logprobs, *token).map_err(|why| format!("{model}, token {index}: {why}"))?;
                    // A prompt's rows are computed in another way than a single token: the logits are near, not the same.
                    let before = told[..index].iter().map(|(token, _)| *token);
                    let prompt: Vec<u32> = request.prompt.iter().copied().chain(before).collect();
                    let row = engine.logits(&prompt, 1).map_err(text)?;
                    let error = (logprobs.logprob - log_softmax(&row, *token, 0).0).abs();
                    (worst, sum) = (worst.max(error), sum + error);
                    tokens += 1;
                }
            }
        }
    }
    let mean = sum / f64::from(tokens);
    let found = format!("{tokens} tokens, {mean:.5} from those of a prompt, at most {worst:.4}");
    ensure(mean < 0.02 && worst < 0.5, || found.clone())?;
    Ok(found)
}

/// Whether the best are in order, are probabilities, and agree with the chosen one.
fn consistent(told: &TokenLogprobs, token: u32) -> Result<(), String> {
    let sum: f64 = told.best.iter().map(|(_, logprob)| logprob.exp()).sum();
    let in_order = told.best.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 < b.0));
    let own = told.best.iter().find(|(id, _)| *id == token).map_or(told.logprob, |(_, logprob)| *logprob);
    let fine = told.best.len() == 20 && in_order && sum < 1.0 + 1e-5 && own == told.logprob;
    ensure(fine && told.logprob <= told.best[0].1, || format!("{told:?}"))
}
