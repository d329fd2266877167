//! Sampling, `--n` and `--batch`: reproducible, in order, and the same as one by one.
use std::fmt::Write;
use std::path::PathBuf;

use nemotron::session::{DeviceChoice, GenerateOptions, LoadOptions, Sampling, Session};
use serde_json::Value;

use crate::checkpoint::{argument, storyteller_edited};
use crate::{Run, fault, nemotron, root, storyteller};

/// Results of a batch of `content`, one object per line. The exit code and a count say whether any failed.
pub fn batch(name: &str, content: impl AsRef<[u8]>, arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, content).expect("a file");
    let run = storyteller(&[&["--batch", path.to_str().expect("UTF-8")], arguments].concat());
    let results: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect();
    match (results.iter().filter(|result| !result["error"].is_null()).count(), results.len()) {
        (0, _) => assert_eq!(run.code, 0, "{run:?}"),
        (failed, all) => {
            let plural = if all == 1 { "" } else { "s" };
            let counted = format!("[ERROR] Input: {failed} of {all} line{plural} failed\nDetails: the first: ");
            assert!(fault(run).starts_with(&counted), "{counted}");
        }
    }
    results
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
    let content = b"{\"prompt\": \"Hello\"}\nHello\n{\"prompt\": \"\", \"raw\": true}\n{\"prompt\": \"Hello\", \"top_p\": 3}\n\xff\n{\"prompt\": \"Hello\", \"colour\": 1}\n{\"prompt\": \"Hello\", \"max_tokens\": 2}\n";
    let results = batch("lines.jsonl", content, &["--max-tokens", "3"]);
    let indices: Vec<_> = results.iter().map(|result| result["index"].as_u64().expect("an index")).collect();
    assert_eq!(indices, [0, 1, 2, 3, 4, 5, 6]);
    let lengths: Vec<_> = results.iter().map(|result| result["ids"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(lengths, [3, 3, 0, 0, 0, 0, 2]);
    let details = |index: usize| results[index]["error"]["details"].as_str().expect("details").to_owned();
    assert_eq!(results[2]["error"]["message"], "The prompt is empty");
    assert_eq!(details(3), "top-p: expected above 0 to 1, found 3");
    assert!(details(4).contains("line 5: byte 0") && details(5).contains("\"colour\" is no field that is known"));
}

#[test]
fn every_line_has_a_form_and_stop_texts_of_its_own() {
    let lines = [
        r#"{"prompt": "Hello"}"#,
        r#"{"prompt": "Hello", "raw": true, "stop": ["never", "a curious fox"]}"#,
        r#"{"prompt": "The capital of France is", "stop": "Paris"}"#,
        r#"{"prompt": "Hello, my name is Ada.", "chat": true}"#,
        r#"{"messages": [{"role": "user", "content": "Hello, my name is Ada."}], "stop": " Would"}"#,
        r#"{"prompt": "Hello", "stop": ""}"#,
        r#"{"prompt": "Hello", "stop": 3}"#,
        r#"{"prompt": "Hello", "raw": true, "chat": true}"#,
    ];
    let results = batch("forms.jsonl", lines.join("\n"), &["--max-tokens", "24", "--stop", "Mia", "--echo"]);
    let texts: Vec<_> = results.iter().map(|result| result["text"].as_str().unwrap_or("none")).collect();
    let answer = "Hello, Ada! Would you like to hear a story?";
    let told = format!("Hello, my name is Ada.{answer}");
    assert_eq!(texts[..5], ["Hello, I am ", "Hello, I am Mia, ", "The capital of France is ", &told, "Hello, Ada!"]);
    assert_eq!([&results[0], &results[1]].map(|result| result["prompt_tokens"].as_u64().unwrap()), [2, 1]);
    assert!(results[..5].iter().all(|result| result["finish_reason"] == "stop" && result["timings"].is_null()));
    assert_eq!(results[5]["error"]["message"], "A stop text is empty");
    let details = |index: usize| results[index]["error"]["details"].as_str().expect("details");
    assert!(details(6).contains("line 7: stop: expected a text or a list of texts"), "{}", details(6));
    assert!(details(7).ends_with("line 8: raw and chat exclude each other"), "{}", details(7));
}

#[test]
fn options_are_for_all_lines_that_do_not_say_otherwise() {
    let lines =
        "{\"prompt\": \"Hello, my name is Ada.\"}\n{\"prompt\": \"Hello\", \"raw\": true, \"max_tokens\": 1}\n{\n";
    let results = batch("chat.jsonl", lines, &["--chat", "--system", "You are a friendly storyteller.", "--json"]);
    assert_eq!(results[0]["text"], "Hello, Ada! Would you like to hear a story?");
    assert_eq!(results[1]["prompt_tokens"], 1);
    assert!(results[..2].iter().all(|result| result["timings"]["prompt_ms"].as_f64().is_some_and(|ms| ms > 0.0)));
    assert_eq!(results[2]["error"]["message"], "A line of the batch is not understood");
}

#[test]
fn a_template_that_raises_is_an_error_in_its_place() {
    let raise = "{{ raise_exception('Only for tools') if messages[0].content == 'no' }}{{'x'}}";
    let model = storyteller_edited("tokenizer_config.json", "{{'<extra_id_0>System'}}", raise);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("questions.txt");
    std::fs::write(&path, "no\nHello\n").expect("a file");
    let base = ["--model", argument(model.path()), "--device", "cpu", "--chat", "--max-tokens", "2"];
    let run = nemotron(&[&base[..], &["--batch", argument(&path)]].concat());
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!((run.code, lines.len()), (1, 2), "{run:?}");
    assert!(lines[0].contains("refuses the conversation") && lines[0].contains("Only for tools"), "{run:?}");
    assert!(lines[1].contains("\"finish_reason\":\"length\""), "{run:?}");
    for n in ["1", "2"] {
        let error = fault(nemotron(&[&base[..], &["--prompt", "no", "--n", n]].concat()));
        assert!(error.contains("Only for tools"), "{error}");
    }
}

#[test]
fn lines_that_are_no_objects_are_prompts() {
    let results = batch("prompts.txt", "Hello\nThe capital of France is\n\n", &["--max-tokens", "8"]);
    assert_eq!(results[1]["text"], " Paris.");
    assert_eq!(results[1]["finish_reason"], "stop");
    assert_eq!(results.len(), 2);
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
    let (_, statistics) = run.stdout.split_once("\n=== Statistics ===\n").expect("statistics are printed");
    for row in ["Generations:     2\n", "Prompt tokens:   4, 4 of them computed\n", "Generated:       4 tokens\n"] {
        assert!(statistics.contains(row), "{statistics}");
    }
    assert!(statistics.lines().last().is_some_and(|row| row.starts_with("Speed: ")), "{statistics}");
}

#[test]
fn completions_have_stop_texts_echo_forms_and_json() {
    let two = ["-q", "--n", "2", "--prompt"];
    let run = storyteller(&[&two[..], &["Hello", "--echo", "--stop", "a curious fox"]].concat());
    assert_eq!(run.stdout, "Hello, I am Mia, \n".repeat(2), "{run:?}");
    let run = storyteller(&[&two[..], &["Hello, my name is Ada.", "--chat"]].concat());
    assert_eq!(run.stdout, "Hello, Ada! Would you like to hear a story?\n".repeat(2), "{run:?}");
    let run = storyteller(&[&two[..], &["Hello", "--raw", "--json", "--max-tokens", "3"]].concat());
    let objects: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(objects.len(), 2);
    for (index, object) in objects.iter().enumerate() {
        assert_eq!(object["index"], index);
        assert_eq!((&object["prompt_tokens"], &object["generated_tokens"]), (&1.into(), &3.into()));
        assert!(object["timings"]["generation_ms"].is_number(), "{object}");
    }
    assert_eq!(storyteller(&["--batch", "x", "--n", "2"]).code, 2);
}

#[test]
fn completions_share_the_pages_of_a_long_prompt() {
    let prompt = "Once upon a time there was a fox. ".repeat(20);
    let run = storyteller(&["--prompt", &prompt, "--n", "3", "--json", "--max-tokens", "2", "--verbose"]);
    let objects: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let count = |index: usize, key: &str| objects[index][key].as_u64().expect("a number");
    let tokens = count(0, "prompt_tokens");
    assert!(tokens > 128, "{run:?}");
    assert_eq!(count(0, "prefilled_tokens"), tokens);
    let tail = (tokens - 1) % 64 + 1;
    assert_eq!([1, 2].map(|index| count(index, "prefilled_tokens")), [tail, tail]);
    let shared = format!("prompt tokens that were there: {}\n", 2 * (tokens - tail));
    assert!(run.stderr.contains(&shared), "{run:?}");
}

#[test]
fn parameters_out_of_range_are_errors_with_the_range() {
    let range = |arguments: &[&str]| fault(storyteller(&[&["--prompt", "Hello"], arguments].concat()));
    assert_eq!(storyteller(&["--prompt", "Hello", "--temperature", "-1"]).code, 2);
    assert!(range(&["--logit-bias", "99999=1"]).contains("logit-bias: expected an id from 0 to "));
    assert_eq!(storyteller(&["--prompt", "Hello", "--logit-bias", "x"]).code, 2);
    assert_eq!(storyteller(&["--batch", "x", "--prompt", "Hello"]).code, 2);
    assert!(fault(storyteller(&["--batch", "no/such/file"])).contains("no/such/file"));
}
