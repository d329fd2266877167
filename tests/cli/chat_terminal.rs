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

/// As a terminal sends what is pasted: marked, with the line ends of the Enter key.
#[test]
fn each_line_of_a_paste_is_a_turn_unless_fences_hold_them_together() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("talk.json");
    let pasted = "\u{1b}[200~Hello, my name is Ada.\r\rtwo\r\"\"\"one\r\rtwo\"\"\"\r/undo\r  three\u{1b}[201~";
    let shown = terminal(Path::new(""), &format!("{pasted} more\r/save {}\r/exit\r", argument(&file)));
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect(&shown)).unwrap();
    let said = saved["messages"].as_array().unwrap().iter().filter(|message| message["role"] == "user");
    let said: Vec<&str> = said.map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["Hello, my name is Ada.", "two", "three more"], "{shown}");
    assert!(shown.contains("\n> two\r\n") && shown.contains("\n... two\"\"\"\r\n"), "{shown}");

    let fenced = "\"\"\"\r\u{1b}[200~one\r\r/two\r\u{1b}[201~\"\"\"\r";
    let shown = terminal(Path::new(""), &format!("{fenced}/save! {}\r/exit\r", argument(&file)));
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).expect(&shown)).unwrap();
    assert_eq!(saved["messages"][0]["content"], "one\n\n/two", "{shown}");
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
