//! `random-checkpoint`: it overwrites nothing, and knows its presets. That what it writes loads is tested beside it.
use std::process::{Command, Stdio};

use crate::{command, fault, nemotron};

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

/// What a user and what a machine that goes down send.
#[test]
fn a_run_that_is_ended_leaves_nothing_and_can_be_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let (out, partial) = (folder.path().join("out"), folder.path().join("out.partial"));
    for signal in ["-INT", "-TERM"] {
        // 16 GB, of which little is written.
        let arguments = ["random-checkpoint", "--preset", "nano-8b", out.to_str().unwrap()];
        let mut child = command().args(arguments).stderr(Stdio::null()).spawn().unwrap();
        while !partial.join("model-00001-of-00004.safetensors.partial").exists() {
            assert_eq!(child.try_wait().unwrap(), None, "it ended too early");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{signal}");
    }
}
