//! Files that are not what a loader may open: pipes, devices, pointers, and what is far too large.
use std::fs::File;

use nemotron::files::MAX_JSON_BYTES;
use nemotron::text::{ChatTemplate, Tokenizer};

use crate::fixture::{Fixture, INDEX, SHARDS, WEIGHTS, check_refusal};

const POINTER: &str =
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 9\n";

#[cfg(unix)]
#[test]
fn pipes_sockets_and_devices_are_refused_at_once() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    for name in ["config.json", "generation_config.json", "hf_quant_config.json", WEIGHTS] {
        let fixture = Fixture::new();
        let _ = std::fs::remove_file(fixture.file(name));
        assert!(std::process::Command::new("mkfifo").arg(fixture.file(name)).status().unwrap().success());
        fixture.refused("Model file is not a regular file", &[name, "found a pipe"]);
        fixture.remove(name);
        symlink("/dev/zero", fixture.file(name)).unwrap();
        fixture.refused("Model file is not a regular file", &[name, "found a device"]);
        fixture.remove(name);
        let _socket = UnixListener::bind(fixture.file(name)).unwrap();
        fixture.refused("Model file is not a regular file", &[name, "found a socket"]);
    }
    let fixture = Fixture::new();
    fixture.shard(|name| name.contains("mlp"));
    fixture.remove(SHARDS[1]);
    symlink("/dev/null", fixture.file(SHARDS[1])).unwrap();
    fixture.refused("Model file is not a regular file", &[SHARDS[1]]);
}

#[cfg(unix)]
#[test]
fn so_are_those_in_place_of_a_tokenizer() {
    for name in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"] {
        let fixture = Fixture::new();
        assert!(std::process::Command::new("mkfifo").arg(fixture.file(name)).status().unwrap().success());
        let error = match name {
            "tokenizer.json" => Tokenizer::open(fixture.path()).err(),
            _ => ChatTemplate::open(fixture.path()).err(),
        };
        let error = error.unwrap().to_string();
        assert!(error.contains(name) && error.contains("expected a file"), "{error}");
    }
}

#[test]
fn pointers_of_git_lfs_are_called_that() {
    for name in ["config.json", "generation_config.json", WEIGHTS] {
        let fixture = Fixture::new();
        fixture.write(name, POINTER);
        fixture.refused("Model file is a Git LFS pointer", &[name]);
    }
    let fixture = Fixture::new();
    fixture.shard(|name| name.contains("mlp"));
    fixture.write(SHARDS[1], POINTER);
    fixture.refused("Model file is a Git LFS pointer", &[SHARDS[1]]);
    fixture.write(INDEX, POINTER);
    fixture.refused("Model file is a Git LFS pointer", &[INDEX]);
}

#[test]
fn so_is_one_in_place_of_a_tokenizer_and_python_words_are_read() {
    let fixture = Fixture::new();
    fixture.write("tokenizer.json", POINTER);
    check_refusal(
        &Tokenizer::open(fixture.path()).err().unwrap(),
        "Model file is a Git LFS pointer",
        &["tokenizer.json"],
    );
    fixture.write("tokenizer_config.json", r#"{"model_max_length": Infinity, "chat_template": "{{ 1 }}"}"#);
    assert!(ChatTemplate::open(fixture.path()).is_ok());
}

#[test]
fn json_files_have_a_largest_size() {
    let fixture = Fixture::new();
    // A file without content on the disk, so that the test is quick.
    File::create(fixture.file("config.json")).unwrap().set_len(5_000_000_000).unwrap();
    fixture.refused("Model file is too large", &["config.json", "5000000000 bytes", &MAX_JSON_BYTES.to_string()]);
}

#[cfg(unix)]
#[test]
fn a_path_that_cannot_be_followed_is_not_called_missing() {
    use std::os::unix::fs::symlink;

    let fixture = Fixture::new();
    symlink("around", fixture.file("around")).unwrap();
    let path = fixture.file("around/model");
    let error = nemotron::checkpoint::Checkpoint::open_with_cache(path.to_str().unwrap(), None).unwrap_err();
    check_refusal(&error, "Model directory cannot be looked at", &["around/model"]);
}
