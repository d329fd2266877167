//! Weights that are no numbers: every command says so and fails, and a batch fails only where they are read.
use serde_json::Value;
use tempfile::TempDir;

use crate::checkpoint::{argument, storyteller_with};
use crate::{fault, nemotron, root};

/// A model in `folder` whose tensor `name` is NaN in BF16, from row `first` on for `rows` rows of `columns`.
fn with_nan(folder: &str, name: &str, columns: usize, first: usize, rows: usize) -> Vec<u8> {
    let mut bytes = std::fs::read(root().join(folder).join("model.safetensors")).expect("the model is there");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a JSON header");
    let start = header[name]["data_offsets"][0].as_u64().expect("the tensor is there") as usize;
    let start = 8 + length + start + 2 * first * columns;
    for element in bytes[start..start + 2 * rows * columns].chunks_mut(2) {
        element.copy_from_slice(&0x7FC0_u16.to_le_bytes());
    }
    bytes
}

/// The demo model with a last norm of NaN.
fn broken() -> TempDir {
    storyteller_with("model.safetensors", with_nan("models/storyteller", "model.norm.weight", 256, 0, 1))
}

#[track_caller]
fn says_so(error: &str, position: usize) {
    assert!(error.starts_with("[ERROR] Model: The model's logits are not numbers\n"), "{error}");
    assert!(error.contains(&format!("position {position}: ")) && error.contains("NaN"), "{error}");
}

#[test]
fn every_way_to_choose_says_where_logits_are_no_numbers() {
    let directory = broken();
    let model = ["--model", argument(directory.path()), "--device", "cpu", "--prompt", "Once upon a time"];
    let ways: [&[&str]; 6] = [
        &[],
        &["--json"],
        &["--temperature", "0.8", "--top-k", "5"],
        &["--repeat-penalty", "1.2", "--logit-bias", "5=3"],
        &["--logprobs", "3"],
        &["--n", "2", "--temperature", "1"],
    ];
    for way in ways {
        // The prompt has 5 tokens; the first of the answer would be at position 5.
        says_so(&fault(nemotron(&[&model, way].concat())), 5);
    }
}

#[test]
fn a_batch_fails_only_in_the_lines_that_have_none() {
    // The token of " France".
    let weights = with_nan("models/storyteller", "model.embed_tokens.weight", 256, 1474, 1);
    let directory = storyteller_with("model.safetensors", weights);
    let lines = directory.path().join("lines.txt");
    std::fs::write(&lines, "Once upon a time\nThe capital of France is\nHello\n").unwrap();
    let batch = ["--batch", argument(&lines), "--max-tokens", "8", "--quiet", "--device", "cpu"];
    let run = nemotron(&[&["--model", argument(directory.path())], &batch[..]].concat());
    let got: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let run = nemotron(&[&["--model", "models/storyteller"], &batch[..]].concat());
    let sound: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&got[0], &got[2]), (&sound[0], &sound[2]));
    assert!(got[1].to_string().contains("The model's logits are not numbers"), "{}", got[1]);
    assert!(got[1].to_string().contains("position 6"), "{}", got[1]);
}

#[test]
fn bench_and_verify_say_so_too() {
    let directory = broken();
    let model = argument(directory.path());
    let run = nemotron(&["bench", "--device", "cpu", "--model", model, "--prompt", "4", "--generate", "2"]);
    assert!(fault(run).starts_with("[ERROR] Model: The model's logits are not numbers\n"));
    let golden = tempfile::tempdir().unwrap();
    let from = root().join("tests/golden/llama");
    std::fs::copy(from.join("config.json"), golden.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    let width = config["hidden_size"].as_u64().unwrap() as usize;
    let weights = with_nan("tests/golden/llama", "model.norm.weight", width, 0, 1);
    std::fs::write(golden.path().join("model.safetensors"), weights).unwrap();
    let expected = "tests/golden/llama/expected.safetensors";
    let run = nemotron(&["verify", "--model", argument(golden.path()), "--expected", expected, "--device", "cpu"]);
    let error = fault(run);
    assert!(error.starts_with("[ERROR] Model: The model's logits are not numbers\nDetails: a prompt of "), "{error}");
}
