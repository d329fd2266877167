//! `random-checkpoint`: it overwrites nothing, and knows its presets. That what it writes loads is tested beside it.
use crate::{fault, nemotron};

#[test]
fn a_directory_with_files_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("config.json");
    std::fs::write(&kept, "mine").unwrap();
    let path = directory.path().to_str().unwrap();
    let error = fault(nemotron(&["random-checkpoint", "--preset", "nano-4b", path]));
    assert!(error.contains("The directory is not empty") && error.contains(path), "{error}");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "mine");
}

#[test]
fn an_unknown_preset_is_a_wrong_command_line() {
    let run = nemotron(&["random-checkpoint", "--preset", "gpt", "nowhere"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("nemotron-mini-4b"), "{run:?}");
}
