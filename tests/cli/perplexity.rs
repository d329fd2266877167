//! `perplexity`: against the logits that transformers computed, and against the log-probabilities of a generation.
use std::path::Path;

use nemotron::session::expected::Expected;
use nemotron::session::perplexity::{PerplexityOptions, perplexity};
use nemotron::session::{DeviceChoice, LoadOptions, Model};
use serde_json::Value;

use crate::{fault, nemotron, root, storyteller};

/// Mean, and standard error of e to the mean, of the negative log-likelihoods that rows of logits give their next ids.
fn by_hand(logits: &[f32], vocab: usize, next: &[u32]) -> (f64, f64) {
    let negative = |(row, id): (&[f32], &u32)| {
        let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        sum.ln() - f64::from(row[*id as usize])
    };
    let values: Vec<f64> = logits.chunks(vocab).zip(next).map(negative).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, mean.exp() * (variance / count).sqrt())
}

#[test]
fn it_is_what_the_logits_of_transformers_give() {
    for family in ["llama", "nemotron", "mistral"] {
        let folder = root().join("tests/golden").join(family);
        let expected = Expected::read(&folder.join("expected.safetensors")).unwrap();
        // Every row of this prompt is there.
        let prompt = expected.prompts.iter().rfind(|prompt| prompt.rows == prompt.ids.len()).unwrap();
        let tokens = prompt.ids.len();
        assert_eq!(tokens, 33);
        let options = LoadOptions {
            device: DeviceChoice::Cpu,
            context: Some(tokens),
            ..LoadOptions::new(folder.to_str().unwrap())
        };
        let model = Model::load(&options, &mut |_| {}, |_: &Path| Ok(())).unwrap();
        // Windows that follow each other are computed by themselves: the same one twice scores the same twice.
        let twice = [&prompt.ids[..], &prompt.ids].concat();
        for (ids, stride, scored, windows) in
            [(&prompt.ids, Some(32), 32, 1), (&prompt.ids, None, 16, 1), (&twice, None, 16, 2)]
        {
            let rows = &prompt.logits_f32[(tokens - 1 - scored) * expected.vocab..(tokens - 1) * expected.vocab];
            let next = &prompt.ids[tokens - scored..];
            let (mean, error) = by_hand(&rows.repeat(windows), expected.vocab, &next.repeat(windows));
            let options = PerplexityOptions { stride, first: None };
            let found = perplexity(&model, ids, options, &mut |_, all| assert_eq!(all, windows)).unwrap();
            assert_eq!((found.scored, found.windows), (windows * scored, windows));
            assert!((found.mean() / mean - 1.0).abs() < 1e-5, "{family}: {} instead of {mean}", found.mean());
            assert!((found.error().unwrap() / error - 1.0).abs() < 1e-3, "{family}: {:?} and {error}", found.error());
        }
    }
}

fn report(arguments: &[&str]) -> Value {
    let model = ["perplexity", "-m", "models/storyteller", "--device", "cpu", "--json", "-q"];
    let run = nemotron(&[&model[..], arguments].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn it_is_what_a_generation_says_of_the_tokens_that_it_chose() {
    let run = storyteller(&["-p", "The capital of France is", "--logprobs", "0", "--json", "-q"]);
    let generation: Value = serde_json::from_str(&run.stdout).unwrap();
    let logprob = |index: usize| generation["logprobs"][index]["logprob"].as_f64().unwrap();
    // The text's two tokens; the third ends it and is not part of it.
    let mean = -(logprob(0) + logprob(1)) / 2.0;
    let tokens = generation["prompt_tokens"].as_u64().unwrap() + 2;
    let text = ["-p", "The capital of France is Paris.", "--stride", "2", "-c"];
    let found = report(&[&text[..], &[&tokens.to_string()]].concat());
    assert_eq!((&found["tokens"], &found["scored"], &found["windows"]), (&tokens.into(), &2.into(), &1.into()));
    assert!((found["mean_nll"].as_f64().unwrap() - mean).abs() < 1e-5, "{found} instead of {mean}");
    assert!((found["perplexity"].as_f64().unwrap() - mean.exp()).abs() < 1e-4, "{found}");
}

#[test]
fn windows_follow_each_other_and_a_short_text_has_none() {
    let text = "Once upon a time there was a curious fox. ".repeat(20);
    let found = report(&["-p", &text, "-c", "32"]);
    let tokens = found["tokens"].as_u64().unwrap();
    assert_eq!(
        (found["windows"].as_u64().unwrap(), found["scored"].as_u64().unwrap()),
        (tokens / 32, tokens / 32 * 15)
    );
    assert!(found["perplexity"].as_f64().unwrap() > 1.0 && found["error"].as_f64().unwrap() > 0.0, "{found}");
    let model = ["perplexity", "-m", "models/storyteller", "--device", "cpu", "-q", "-p"];
    let error = fault(nemotron(&[&model[..], &["Hello", "-c", "64"]].concat()));
    assert!(error.contains("the text has 2 tokens, a window 64"), "{error}");
    for (row, hint) in [
        (&["", "-c", "3"][..], "take a longer text"),
        (&["Hello", "-c", "64"], "take a longer text"),
        (&["Hello", "-c", "64", "--stride", "1"], "take a longer text, or --context 2 or less"),
        (&["Once upon a time", "-c", "64"], "take a longer text, or --context 5 or less"),
    ] {
        let error = fault(nemotron(&[&model[..], row].concat()));
        assert_eq!(error.lines().last(), Some(&*format!("Hint: {hint}")), "{row:?}: {error}");
    }
    let error = fault(nemotron(&[&model[..], &[&text, "--stride", "64", "-c", "64"]].concat()));
    assert!(error.starts_with("[ERROR] Input: The stride does not fit the context\n"), "{error}");
}
