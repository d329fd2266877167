//! Bad input: exit code 1 and three lines, or exit code 2 for a wrong command line; never a panic.
use crate::checkpoint::{argument, storyteller_edited, storyteller_with, storyteller_without};
use crate::{Run, command, fault, nemotron, storyteller};

/// The error of a generation with the model in `directory`.
#[track_caller]
fn model_fault(directory: &tempfile::TempDir) -> String {
    let run = nemotron(&["--model", argument(directory.path()), "--device", "cpu", "--prompt", "Hello"]);
    assert_eq!(run.stdout, "");
    fault(run)
}

#[test]
fn a_directory_that_is_not_there_or_is_no_model() {
    let error = fault(nemotron(&["--model", "no/such", "--prompt", "Hello"]));
    assert!(error.starts_with("[ERROR] Model: Model directory does not exist\n"), "{error}");
    let error = fault(nemotron(&["--model", "Cargo.toml", "--prompt", "Hello"]));
    assert!(error.starts_with("[ERROR] Model: Model is not a directory\n"), "{error}");
}

#[test]
fn files_that_are_missing() {
    let error = model_fault(&storyteller_without(&["config.json"]));
    assert!(error.starts_with("[ERROR] Model: config.json not found\n"), "{error}");
    let error = model_fault(&storyteller_without(&["model.safetensors"]));
    assert!(error.starts_with("[ERROR] Model: Model weights not found\n"), "{error}");
    let directory = storyteller_without(&["tokenizer.json"]);
    let error = model_fault(&directory);
    assert!(error.starts_with("[ERROR] Tokenizer: tokenizer.json not found\n"), "{error}");
    std::fs::write(directory.path().join("tokenizer.model"), "\n").unwrap();
    let error = model_fault(&directory);
    assert!(error.starts_with("[ERROR] Tokenizer: tokenizer.json not found\n"), "{error}");
    assert!(error.contains("only tokenizer.model"), "{error}");
}

#[test]
fn files_that_are_damaged() {
    for (file, content) in [("config.json", "{"), ("config.json", "[1]"), ("generation_config.json", "\u{1}")] {
        let error = model_fault(&storyteller_with(file, content));
        assert!(error.starts_with("[ERROR] Model: ") && error.contains(file), "{error}");
    }
    let weights = std::fs::read(crate::root().join("models/storyteller/model.safetensors")).unwrap();
    for length in [0, 7, 100, weights.len() / 2, weights.len() - 1] {
        let error = model_fault(&storyteller_with("model.safetensors", &weights[..length]));
        assert!(error.starts_with("[ERROR] Model: ") && error.contains("model.safetensors"), "{error}");
    }
    for content in ["", "{\"model\": 1}"] {
        let error = model_fault(&storyteller_with("tokenizer.json", content));
        assert!(error.starts_with("[ERROR] Tokenizer: tokenizer.json is not a valid tokenizer\n"), "{error}");
    }
}

#[test]
fn a_tokenizer_that_contradicts_itself() {
    let directory = storyteller_edited(
        "tokenizer.json",
        "\"special_tokens\": {\n      \"<s>\"",
        "\"special_tokens\": {\n      \"<x>\"",
    );
    let error = model_fault(&directory);
    assert!(error.starts_with("[ERROR] Tokenizer: "), "{error}");
}

#[test]
fn models_that_are_not_supported() {
    let rows = [
        ("\"NemotronForCausalLM\"", "\"BertModel\"", "Unknown architecture", "NemotronForCausalLM"),
        (
            "\"head_dim\": 64,",
            "\"head_dim\": 64, \"quantization_config\": {\"quant_method\": \"awq\"},",
            "Configuration and weights contradict each other",
            "quantization_config",
        ),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "", "num_attention_heads"),
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "Heads are not divisible", "3"),
        ("\"hidden_size\": 256", "\"hidden_size\": 512", "Tensor has the wrong shape", "512"),
    ];
    for (from, to, message, named) in rows {
        let error = model_fault(&storyteller_edited("config.json", from, to));
        assert!(error.starts_with(&format!("[ERROR] Model: {message}")) && error.contains(named), "{to}: {error}");
    }
}

#[test]
fn prompts_that_cannot_be_continued() {
    let error = fault(storyteller(&["--prompt", "", "--raw"]));
    assert!(error.starts_with("[ERROR] Input: The prompt is empty\n"), "{error}");
    let long = "Once upon a time ".repeat(400);
    let run = storyteller(&["--prompt", &long]);
    assert_eq!(run.stdout, "", "nothing is printed for a prompt that is refused");
    let error = fault(run);
    assert!(error.starts_with("[ERROR] Input: The prompt is longer than the context\n"), "{error}");
    let error = fault(storyteller(&["--context", "4", "--prompt", "Once upon a time"]));
    assert!(error.starts_with("[ERROR] Input: The prompt is longer than the context\n"), "{error}");
    let error = fault(storyteller(&["--context", "4097", "--prompt", "Hello"]));
    assert!(error.starts_with("[ERROR] Input: The context is out of range\n"), "{error}");
}

#[test]
fn prompt_files_that_cannot_be_read() {
    let error = fault(storyteller(&["--prompt-file", "no/such"]));
    assert!(error.starts_with("[ERROR] Io: The prompt cannot be read\nDetails: no/such: "), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"caf\xe9 au lait").unwrap();
    let error = fault(storyteller(&["--prompt-file", argument(file.path())]));
    assert!(error.starts_with("[ERROR] Input: The prompt is not UTF-8\n") && error.contains("byte 3 "), "{error}");
}

#[test]
fn a_batch_that_cannot_be_read_is_refused_before_a_model_is_loaded() {
    let error = fault(nemotron(&["--model", "no/such/model", "--device", "cpu", "--batch", "no/such"]));
    assert!(error.starts_with("[ERROR] Io: The batch cannot be read\nDetails: no/such: "), "{error}");
}

#[test]
fn a_gpu_that_is_not_there() {
    let mut command = command();
    command.args(["--model", "models/storyteller", "--prompt", "Hello", "--device", "0"]);
    let run = Run::from(command.env("CUDA_VISIBLE_DEVICES", "").output().unwrap());
    assert!(fault(run).starts_with("[ERROR] Device: CUDA is not available\n"));
    let error = fault(nemotron(&[
        "verify",
        "--model=tests/golden/llama",
        "--expected=tests/golden/llama/expected.safetensors",
        "--device=0",
        "--activations=f32",
    ]));
    assert!(error.starts_with("[ERROR] Device: A GPU has no f32 activations\n"), "{error}");
}

#[test]
fn without_a_gpu_the_cpu_is_listed_and_nothing_has_failed() {
    let list = |arguments: &[&str]| {
        Run::from(command().arg("devices").args(arguments).env("CUDA_VISIBLE_DEVICES", "").output().unwrap())
    };
    let run = list(&[]);
    assert!(run.code == 0 && run.stdout.starts_with("cpu: ") && run.stdout.contains("\n   Threads: "), "{run:?}");
    assert!(run.stderr.starts_with("[INFO] No GPU: the driver"), "{run:?}");
    let run = list(&["--json"]);
    let object: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, run.stderr.as_str(), &object["devices"][0]["device"]), (0, "", &"cpu".into()));
    assert!(object["devices"][0]["threads"].as_u64() > Some(0) && object["no_gpu"].is_string(), "{object}");
}

#[test]
fn wrong_command_lines() {
    let model = ["--model", "models/storyteller"];
    let rows: [&[&str]; 8] = [
        &["--prompt", "x", "--prompt-file", "y"],
        &[],
        &["--prompt", "x", "--device", "tpu"],
        &["--prompt", "x", "--max-tokens", "0"],
        &["--prompt", "x", "--max-tokens", "-2"],
        &["--prompt", "x", "--quiet", "--verbose"],
        &["--prompt", "x", "--temperatur", "1"],
        &["verify"],
    ];
    for row in rows {
        let run = nemotron(&[&model[..], row].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{row:?}: {run:?}");
        assert!(run.stderr.starts_with("error: "), "{run:?}");
    }
    assert_eq!(nemotron(&[]).code, 2);
    assert_eq!(nemotron(&["--prompt", "x"]).code, 2);
}
