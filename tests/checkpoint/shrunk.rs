//! A weights file that becomes shorter while the CPU reads it in place: an error of three lines, not a bare signal.
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::golden::root;

#[test]
fn a_file_that_becomes_shorter_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for entry in root().join("models/storyteller").read_dir().unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_nemotron"))
        .args(["chat", "--device", "cpu", "--max-tokens", "4", "--model"])
        .arg(directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Model weights loaded") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the model loads");
    }
    let weights = directory.path().join("model.safetensors");
    OpenOptions::new().write(true).open(&weights).unwrap().set_len(100).unwrap();
    child.stdin.take().unwrap().write_all(b"Hello\n").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    for part in ["[ERROR] Model: Model file became shorter", weights.to_str().unwrap(), "had 9", "\nHint: "] {
        assert!(rest.contains(part), "{part}: {rest}");
    }
}
