//! `generate`: the frame of its output, and the demo model's texts to the character.
use std::io::Write;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::checkpoint::{argument, endless_storyteller, storyteller_edited};
use crate::{Run, command, nemotron, root, storyteller};

/// A prompt and what transformers makes of it; the first word's leading space belongs to it.
#[derive(Deserialize)]
struct Row {
    prompt: String,
    prompt_tokens: usize,
    text: String,
}

fn rows() -> Vec<Row> {
    let rows: Vec<Row> = serde_json::from_str(include_str!("texts.json")).unwrap();
    assert_eq!(rows.len(), 8);
    rows
}

/// The value of a line of the statistics, its unit included.
fn statistic<'a>(stdout: &'a str, label: &str) -> &'a str {
    let (_, statistics) = stdout.split_once("\n\n=== Statistics ===\n").expect("statistics are printed");
    let line = statistics.lines().find_map(|line| line.strip_prefix(label));
    line.unwrap_or_else(|| panic!("{label} is printed")).trim_start()
}

#[test]
fn every_text_of_the_demo_model_comes_out_to_the_character() {
    for row in rows() {
        let run = storyteller(&["--prompt", &row.prompt, "--max-tokens", "200"]);
        assert_eq!(run.code, 0, "{run:?}");
        let frame = format!("\n=== Generation ===\nPrompt: {}\nOutput: {}\n", row.prompt, row.text);
        assert!(run.stdout.starts_with(&(frame + "\n=== Statistics ===\n")), "{}", run.stdout);
        assert_eq!(statistic(&run.stdout, "Prompt tokens:"), row.prompt_tokens.to_string());
    }
}

#[test]
fn the_frame_is_as_documented() {
    let run = storyteller(&["--prompt", "Hello", "--max-tokens", "20"]);
    let lines: Vec<&str> = run.stderr.lines().collect();
    let [loading, device, weights] = lines[..] else { panic!("{run:?}") };
    assert_eq!(loading, "[INFO] Loading model from: models/storyteller");
    assert!(device.starts_with("[INFO] CPU Device: ") && device.contains(" thread"), "{device}");
    assert_eq!(weights, "[INFO] Model weights loaded: 9.5 MB");

    let labels =
        ["Load time:       ", "Prompt tokens:   ", "Prompt time:     ", "Generated:       ", "Generation time: "];
    let (_, statistics) = run.stdout.split_once("\n\n=== Statistics ===\n").unwrap();
    let lines: Vec<&str> = statistics.lines().collect();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().zip(labels).all(|(line, label)| line.starts_with(label)), "{statistics}");
    for label in ["Load time:", "Prompt time:", "Generation time:"] {
        let milliseconds = statistic(&run.stdout, label).strip_suffix(" ms").unwrap();
        assert!(milliseconds.parse::<f64>().unwrap() >= 0.0);
    }
    assert_eq!(statistic(&run.stdout, "Generated:"), "20 tokens");
    let speed = statistic(&run.stdout, "Speed:").strip_suffix(" tokens/sec").unwrap();
    assert!(speed.parse::<f64>().unwrap() > 0.0);
}

#[test]
fn quiet_leaves_the_text_alone() {
    let run = storyteller(&["--quiet", "--prompt", "The capital of France is"]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, " Paris.\n", ""));
}

#[test]
fn verbose_says_where_time_and_work_went() {
    let run = storyteller(&["--verbose", "--prompt", "The capital of France is"]);
    let has = |start: &str| run.stderr.lines().any(|line| line.starts_with(start));
    for start in [
        "Load: checkpoint ",
        "Load: tokenizer ",
        "Load: device ",
        "Load: weights ",
        "Load: warm-up ",
        "Ended: the model ended",
        "Steps: 3, ",
    ] {
        assert!(has(&format!("[VERBOSE] {start}")), "{start}: {}", run.stderr);
    }
}

#[test]
fn one_token_has_no_speed() {
    let run = storyteller(&["--prompt", "Hello", "--max-tokens", "1"]);
    assert_eq!(statistic(&run.stdout, "Generated:"), "1 tokens");
    assert_eq!(statistic(&run.stdout, "Speed:"), "n/a");
}

#[test]
fn a_full_context_ends_the_text() {
    let model = endless_storyteller();
    let arguments = ["generate", "--model", argument(model.path()), "--device", "cpu", "--verbose"];
    let run = nemotron(&[&arguments[..], &["--context", "70", "--prompt", "Hello", "--max-tokens", "200"]].concat());
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("Ended: the context is full"), "{}", run.stderr);
    let generated = statistic(&run.stdout, "Generated:").strip_suffix(" tokens").unwrap();
    assert!((68..=69).contains(&generated.parse::<usize>().unwrap()), "{generated}");
}

#[test]
fn the_prompt_can_come_from_a_file_or_from_stdin() {
    let row = &rows()[3];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", row.prompt)).unwrap();
    let run = storyteller(&["-q", "--max-tokens", "200", "--prompt-file", argument(file.path())]);
    assert_eq!(run.stdout, format!("{}\n", row.text), "{run:?}");

    let mut child = command();
    child.args(["--model", "models/storyteller", "-q", "--max-tokens", "200", "--prompt-file", "-"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(row.prompt.as_bytes()).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.stdout, format!("{}\n", row.text), "{run:?}");
}

#[test]
fn a_text_ends_at_the_eos_token_that_only_tokenizer_config_names() {
    let model = storyteller_edited("config.json", "\"eos_token_id\": 3,", "\"eos_token_id\": null,");
    std::fs::remove_file(model.path().join("generation_config.json")).unwrap();
    let arguments = ["--model", argument(model.path()), "--device", "cpu", "--quiet"];
    let run = nemotron(&[&arguments[..], &["--prompt", "The capital of France is"]].concat());
    assert_eq!((run.code, run.stdout.as_str()), (0, " Paris.\n"), "{run:?}");
}

#[test]
fn stop_strings_of_generation_config_end_a_text() {
    let model = storyteller_edited("generation_config.json", "{", "{\"stop_strings\": [\"xyz\", \"ris.\"],");
    let arguments = ["--model", argument(model.path()), "--device", "cpu", "--quiet"];
    let run = nemotron(&[&arguments[..], &["--prompt", "The capital of France is"]].concat());
    assert_eq!((run.code, run.stdout.as_str()), (0, " Pa\n"), "{run:?}");
}

#[test]
fn help_and_version_end_well() {
    for flag in ["--help", "--version"] {
        let run = nemotron(&[flag]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
        assert!(run.stdout.contains("nemotron"), "{run:?}");
    }
}

#[test]
fn the_librarys_example_streams_a_text() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["run", "--quiet", "--offline", "--package", "nemotron", "--example", "generate"]);
    if env!("CARGO_BIN_EXE_nemotron").contains("/release/") {
        cargo.arg("--release");
    }
    let run = Run::from(cargo.args(["--", "models/storyteller", "Hello"]).output().unwrap());
    assert_eq!(run.stdout, format!("{}\n", rows()[0].text), "{}", run.stderr);
}
