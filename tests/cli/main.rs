//! The command as a user runs it: what it prints where, and how it ends.
mod batch;
mod batch_forms;
mod bench;
mod chat;
mod chat_commands;
mod chat_terminal;
mod checkpoint;
mod docs;
mod faults;
mod forms;
mod generate;
mod inspect;
mod logprobs;
mod numbers;
mod options;
mod perplexity;
mod pipes;
mod quantize;
mod random_checkpoint;
mod ranges;
mod ranks;
mod rules;
mod surroundings;
mod tokens;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run of the command left.
#[derive(Debug)]
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        let text = |bytes| String::from_utf8(bytes).expect("the command prints UTF-8");
        Run {
            code: output.status.code().expect("no signal ended the command"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host has a parent").to_path_buf()
}

/// The command, in the project's root, without the user's own environment variables.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nemotron"));
    for variable in ["NEMOTRON_MODEL", "NEMOTRON_DEVICE", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.env("NEMOTRON_HISTORY", "").current_dir(root()).stdin(Stdio::null());
    command
}

fn nemotron(arguments: &[&str]) -> Run {
    command().args(arguments).output().expect("the command starts").into()
}

/// The command on the demo model on the CPU.
fn storyteller(arguments: &[&str]) -> Run {
    nemotron(&[&["--model", "models/storyteller", "--device", "cpu"], arguments].concat())
}

/// A run that failed as every failure must: exit code 1, and the three lines of an error as the last of stderr.
#[track_caller]
fn fault(run: Run) -> String {
    assert_eq!(run.code, 1, "{run:?}");
    assert!(!run.stderr.contains("panicked"), "{run:?}");
    let lines: Vec<&str> = run.stderr.lines().skip_while(|line| line.starts_with("[INFO] ")).collect();
    let [first, details, hint] = lines[..] else { panic!("not three lines: {run:?}") };
    assert!(first.starts_with("[ERROR] ") && first.contains(": "), "{first}");
    assert!(details.len() > "Details: ".len() && details.starts_with("Details: "), "{details}");
    assert!(hint.len() > "Hint: ".len() && hint.starts_with("Hint: "), "{hint}");
    lines.join("\n")
}

#[test]
fn the_command_needs_neither_cuda_nor_a_cpp_library() {
    let ldd = Command::new("ldd").arg(env!("CARGO_BIN_EXE_nemotron")).output().expect("ldd is there");
    let libraries = String::from_utf8(ldd.stdout).expect("ldd prints UTF-8");
    assert!(libraries.contains("libc."), "{libraries}");
    for unwanted in ["libcu", "libnv", "libstdc++", "libc++"] {
        assert!(!libraries.contains(unwanted), "{libraries}");
    }
}
