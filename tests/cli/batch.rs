//! Sampling, `--n` and `--batch`: reproducible, in order, and the same as one by one.
use std::fmt::Write;
use std::path::PathBuf;

use nemotron::session::{DeviceChoice, GenerateOptions, LoadOptions, Sampling, Session};
use serde_json::Value;

use crate::{Run, fault, root, storyteller};

/// Results of a batch of `content`, one object per line.
fn batch(name: &str, content: impl AsRef<[u8]>, arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, content).expect("a file");
    let run = storyteller(&[&["--batch", path.to_str().expect("UTF-8")], arguments].concat());
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

fn session() -> Session {
    let model = root().join("models/storyteller");
    let model = model.to_str().expect("UTF-8");
    let options = LoadOptions { device: DeviceChoice::Cpu, ..LoadOptions::new(model) };
    Session::load(&options, &mut |_| {}).expect("the demo model loads")
}

#[test]
fn a_hundred_prompts_in_a_batch_are_what_they_are_one_by_one() {
    let names = ["Ada", "Ben", "Cleo", "a red kite", "the old fox"];
    let openings = ["Hello, my name is", "Once upon a time", "What is", "The capital of", "Tell me about"];
    let mut lines = String::new();
    let mut alone = Vec::new();
    for number in 0..100_u32 {
        let prompt = format!(
            "{} {}{}",
            openings[number as usize % 5],
            names[number as usize / 20],
            ".".repeat(number as usize % 3)
        );
        let mut sampling = Sampling::default();
        if number % 2 == 1 {
            sampling = Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, seed: u64::from(number), ..sampling };
            sampling.repeat_penalty = if number % 4 == 3 { 1.2 } else { 1.0 };
        }
        let object = serde_json::json!({ "prompt": prompt, "temperature": sampling.temperature, "top_k": sampling.top_k,
            "top_p": sampling.top_p, "seed": sampling.seed, "repeat_penalty": sampling.repeat_penalty });
        writeln!(lines, "{object}").expect("memory");
        alone.push((prompt, sampling));
    }
    let results = batch("prompts.jsonl", lines, &["--max-tokens", "32"]);
    assert_eq!(results.len(), 100);
    let mut session = session();
    for ((prompt, sampling), result) in alone.into_iter().zip(results) {
        let options = GenerateOptions { max_tokens: 32, sampling, ..GenerateOptions::default() };
        let expected = session.generate(&prompt, &options, |_| {}).expect("the CPU does not fail");
        assert_eq!(result["ids"], serde_json::json!(expected.ids), "{prompt:?}, {:?}", options.sampling);
        assert_eq!(result["text"], expected.text);
    }
}

#[test]
fn a_bad_line_has_an_error_in_its_place() {
    let content = b"{\"prompt\": \"Hello\"}\nHello\n{\"prompt\": \"\"}\n{\"prompt\": \"Hello\", \"top_p\": 3}\n\xff\n{\"prompt\": \"Hello\", \"colour\": 1}\n{\"prompt\": \"Hello\", \"max_tokens\": 2}\n";
    let results = batch("lines.jsonl", content, &["--max-tokens", "3"]);
    let indices: Vec<_> = results.iter().map(|result| result["index"].as_u64().expect("an index")).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6]);
    let lengths: Vec<_> = results.iter().map(|result| result["ids"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(lengths, [3, 0, 0, 0, 0, 0, 2]);
    let details = |index: usize| results[index]["error"]["details"].as_str().expect("details").to_owned();
    assert!(details(1).contains("line 2: expected value"), "{}", details(1));
    assert_eq!(results[2]["error"]["message"], "The prompt is empty");
    assert_eq!(details(3), "top-p: expected above 0 to 1, found 3");
    assert!(details(4).contains("line 5: byte 0") && details(5).contains("unknown field `colour`"));
}

#[test]
fn lines_that_are_no_objects_are_prompts() {
    let results = batch("prompts.txt", "Hello\nThe capital of France is\n\n", &["--max-tokens", "8"]);
    assert_eq!(results[1]["text"], " Paris.");
    assert_eq!(results[1]["finish"], "stop");
    assert_eq!(results[2]["error"]["message"], "The prompt is empty");
    assert_eq!(results.len(), 3);
}

fn text(arguments: &[&str]) -> String {
    let run: Run =
        storyteller(&[&["--quiet", "--prompt", "Once upon a time", "--max-tokens", "24"], arguments].concat());
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout
}

#[test]
fn a_seed_names_a_text() {
    let warm = ["--temperature", "1.3", "--seed"];
    let seeded = |seed| text(&[&warm[..], &[seed]].concat());
    assert_eq!(seeded("5"), seeded("5"));
    assert_ne!(seeded("5"), seeded("6"));
    assert_eq!(text(&[]), text(&["--temperature", "0"]));
    assert_eq!(text(&[]), text(&["--temperature", "1", "--top-k", "1"]));
}

#[test]
fn completions_differ_and_the_first_is_the_one_alone() {
    let warm = ["--temperature", "1.5", "--seed", "9"];
    let three = text(&[&warm[..], &["--n", "3"]].concat());
    let texts: Vec<&str> = three.lines().collect();
    assert!(three.starts_with(&text(&warm)), "{three}");
    assert!(texts.len() >= 3 && texts[0] != texts[1], "{three}");
    let run = storyteller(&["--prompt", "Hello", "--max-tokens", "2", "--n", "2"]);
    assert!(run.stdout.contains("\n=== Generation 2 of 2 ===\nPrompt: Hello\nOutput: "), "{run:?}");
}

#[test]
fn parameters_out_of_range_are_errors_with_the_range() {
    let range = |arguments: &[&str]| fault(storyteller(&[&["--prompt", "Hello"], arguments].concat()));
    assert!(range(&["--temperature", "-1"]).contains("temperature: expected 0 (greedy) or 0.0001 to 100, found -1"));
    assert!(range(&["--top-p", "1.5"]).contains("top-p: expected above 0 to 1, found 1.5"));
    assert!(range(&["--logit-bias", "99999=1"]).contains("logit-bias: expected an id from 0 to "));
    assert_eq!(storyteller(&["--prompt", "Hello", "--logit-bias", "x"]).code, 2);
    assert_eq!(storyteller(&["--batch", "x", "--prompt", "Hello"]).code, 2);
    assert!(fault(storyteller(&["--batch", "no/such/file"])).contains("no/such/file"));
}
