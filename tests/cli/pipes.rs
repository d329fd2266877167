//! Ends that come from outside: a reader that goes away, Ctrl-C.
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::checkpoint::{argument, endless_storyteller};
use crate::{Run, command};

/// A generation of a thousand tokens, both outputs piped.
fn long_generation(model: &tempfile::TempDir) -> Child {
    let mut command = command();
    command.args(["--model", argument(model.path()), "--device", "cpu", "--prompt", "Hello", "--max-tokens", "1000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
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
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    stdout.read_to_end(&mut text).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    let text = String::from_utf8(text).unwrap();
    assert_eq!(run.code, 0, "{run:?}");
    let (_, generated) = text.split_once("\nGenerated:       ").expect("statistics are printed");
    let generated: usize = generated.split_once(" tokens\n").unwrap().0.parse().unwrap();
    assert!((1..1000).contains(&generated), "{text}");
}
