//! Ends that come from outside: a reader that goes away, Ctrl-C.
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::checkpoint::{argument, endless_storyteller};
use crate::{Run, command, storyteller};

/// A generation of a thousand tokens, both outputs piped.
fn long_generation(model: &tempfile::TempDir) -> Child {
    let mut command = command();
    command.args(["--model", argument(model.path()), "--device", "cpu", "--prompt", "Hello", "--max-tokens", "1000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn press_ctrl_c(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// A batch whose lines come through a pipe.
fn batch_of_stdin(model: &str, arguments: &[&str]) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let mut command = command();
    command.args(["--model", model, "--device", "cpu", "--batch", "-"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    (child, stdin, BufReader::new(stdout))
}

fn next_result(results: &mut impl BufRead) -> serde_json::Value {
    let mut line = String::new();
    results.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_line_of_stdin_is_answered_before_the_next_one_is_there() {
    let (child, mut lines, mut results) = batch_of_stdin("models/storyteller", &["--max-tokens", "8"]);
    for (index, prompt) in ["The capital of France is", "Hello", "The capital of France is"].into_iter().enumerate() {
        writeln!(lines, "{prompt}").unwrap();
        let result = next_result(&mut results);
        assert_eq!(result["index"], index);
        assert_eq!(result["text"] == " Paris.", prompt != "Hello", "{result}");
    }
    // The last line needs no end.
    write!(lines, "Hello").unwrap();
    drop(lines);
    assert_eq!(next_result(&mut results)["index"], 3);
    assert_eq!(Run::from(child.wait_with_output().unwrap()).code, 0);
}

#[test]
fn an_interrupted_batch_writes_what_is_done_and_says_how_much() {
    let model = endless_storyteller();
    let (child, mut lines, mut results) = batch_of_stdin(argument(model.path()), &["--max-tokens", "1000"]);
    writeln!(lines, "{{\"prompt\": \"Hello\", \"max_tokens\": 1}}\nHello").unwrap();
    assert_eq!(next_result(&mut results)["finish_reason"], "length");
    press_ctrl_c(&child);
    let cut = next_result(&mut results);
    assert_eq!((&cut["finish_reason"], &cut["index"]), (&"interrupted".into(), &1.into()), "{cut}");
    let run = Run::from(child.wait_with_output().unwrap());
    let said = "[INFO] Interrupted: 1 of the 2 lines that were begun are done, 1 were cut, 0 failed\n";
    assert!(run.code == 130 && run.stderr.ends_with(said), "{run:?}");
}

#[test]
fn a_batch_that_waits_for_lines_can_be_interrupted() {
    let (child, mut lines, mut results) = batch_of_stdin("models/storyteller", &["--max-tokens", "1", "-q"]);
    writeln!(lines, "Hello").unwrap();
    next_result(&mut results);
    press_ctrl_c(&child);
    assert_eq!(Run::from(child.wait_with_output().unwrap()).code, 130);
}

#[test]
fn a_second_ctrl_c_quits_and_the_first_says_so() {
    let mut command = command();
    command.args(["chat", "--model", "models/storyteller", "--device", "cpu"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = child.stdin.take().unwrap();
    writeln!(lines, "Hello, my name is Ada.").unwrap();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    press_ctrl_c(&child);
    let said = BufReader::new(child.stderr.as_mut().unwrap()).lines().map(Result::unwrap);
    assert!(said.into_iter().any(|line| line == "[INFO] Interrupted; Ctrl-C again to quit at once"));
    press_ctrl_c(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_long_prompt_is_computed_in_steps_between_which_ctrl_c_is_seen() {
    let prompt = "Once upon a time there was a fox. ".repeat(60);
    let run = storyteller(&["--prompt", &prompt, "--max-tokens", "1", "--verbose"]);
    let (_, tokens) = run.stdout.split_once("\nPrompt tokens:   ").expect("statistics are printed");
    let tokens: usize = tokens.lines().next().unwrap().parse().unwrap();
    assert!(tokens > 512, "{run:?}");
    assert!(run.stderr.contains(&format!("Steps: {}, ", tokens.div_ceil(512))), "{run:?}");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let model = endless_storyteller();
    let mut child = long_generation(&model);
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!((run.code, line.as_str()), (0, "\n"));
    assert!(run.stderr.lines().all(|line| line.starts_with("[INFO] ")), "{run:?}");
}

#[test]
fn stdout_and_stderr_may_both_be_closed() {
    let model = endless_storyteller();
    let mut child = long_generation(&model);
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn ctrl_c_ends_a_generation_with_its_statistics() {
    let model = endless_storyteller();
    let mut child = long_generation(&model);
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0; "\n=== Generation ===\nPrompt: Hello\nOutput: , I am".len()];
    stdout.read_exact(&mut text).unwrap();
    press_ctrl_c(&child);
    stdout.read_to_end(&mut text).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(run.code, 130, "{run:?}");
    let (_, generated) = text.split_once("\nGenerated:       ").expect("statistics are printed");
    let generated: usize = generated.split_once(" tokens\n").unwrap().0.parse().unwrap();
    assert!((1..1000).contains(&generated), "{text}");
}
