//! `chat` on a terminal: lines that come at once, the history, Tab. `script` lends the terminal.
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::checkpoint::argument;
use crate::root;

/// What a terminal shows of a conversation in which all of `typed` comes at once.
fn terminal(history: &Path, typed: &str) -> String {
    let program = format!("{} chat --model models/storyteller --device cpu -q -n 20", env!("CARGO_BIN_EXE_nemotron"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
    script.env("NEMOTRON_HISTORY", history).env("TERM", "xterm").env("SHELL", "/bin/sh").current_dir(root());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(typed.as_bytes()).unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert!(child.wait().unwrap().success(), "{shown}");
    shown
}

#[test]
fn lines_that_come_at_once_are_answered_one_by_one_and_kept_in_the_history() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("kept/history");
    let shown =
        terminal(&history, "Hello, my name is Ada.\rThe capital of France is\r\"\"\"\rone\rtwo\"\"\"\r/stats\r/exit\r");
    assert_eq!(shown.matches("Hello, Ada! Would you like to hear a story?").count(), 1, "{shown}");
    assert_eq!(shown.matches("Context:  ").count(), 1, "{shown}");
    let kept = std::fs::read_to_string(&history).unwrap();
    let lines: Vec<&str> = kept.lines().filter(|line| !line.starts_with('#')).collect();
    let typed = ["Hello, my name is Ada.", "The capital of France is", "\"\"\"", "one", "two\"\"\"", "/stats", "/exit"];
    assert_eq!(lines, typed);
    assert_eq!(history.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // Up brings back what the conversation before it ended with.
    let shown = terminal(&history, "\u{1b}[A\u{1b}[A\r/exit\r");
    assert_eq!(shown.matches("Context:  ").count(), 1, "{shown}");
}

#[test]
fn tab_completes_commands_and_file_names_and_an_empty_variable_keeps_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a-long-name.json");
    std::fs::write(&file, "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}").unwrap();
    let begun = argument(directory.path()).to_owned() + "/a-l";
    let shown = terminal(Path::new(""), &format!("/he\t\r/load {begun}\t\r/regen\t\r/exit\r"));
    assert!(shown.contains("/think on|off "), "{shown}");
    assert!(!shown.contains("cannot be loaded") && !shown.contains("There is no turn yet"), "{shown}");
}
