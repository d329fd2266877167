//! Copies of the demo model for tests to change.
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use crate::root;

/// A directory with links to the demo model's files but for those in `without`.
pub fn storyteller_without(without: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    for entry in root().join("models/storyteller").read_dir().expect("the demo model is there") {
        let entry = entry.expect("the demo model can be listed");
        if !without.iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), directory.path().join(entry.file_name())).expect("a link can be made");
        }
    }
    directory
}

/// The demo model with another text for one of its files.
pub fn storyteller_with(file: &str, content: impl AsRef<[u8]>) -> TempDir {
    let directory = storyteller_without(&[file]);
    std::fs::write(directory.path().join(file), content).expect("a file can be written");
    directory
}

/// The demo model with `from` replaced by `to` in one of its files.
pub fn storyteller_edited(file: &str, from: &str, to: &str) -> TempDir {
    let text = std::fs::read_to_string(root().join("models/storyteller").join(file)).expect("the file is text");
    assert!(text.contains(from), "{file} has {from}");
    storyteller_with(file, text.replace(from, to))
}

/// The demo model without a token that ends its text: it runs until the tokens or the context do. Its template prints
/// the token that ends a turn in two parts, so that nobody sees what it is.
pub fn endless_storyteller() -> TempDir {
    let directory = storyteller_edited("config.json", "\"eos_token_id\": 3,", "\"eos_token_id\": [],");
    std::fs::remove_file(directory.path().join("generation_config.json")).expect("a link can be removed");
    let config = directory.path().join("tokenizer_config.json");
    let text = std::fs::read_to_string(&config).expect("the file is text");
    std::fs::remove_file(&config).expect("a link can be removed");
    std::fs::write(
        &config,
        text.replace("'<extra_id_1>", "'<extra_' + 'id_1>").replace("\"eos_token\": \"</s>\",", ""),
    )
    .expect("a file can be written");
    directory
}

/// The path as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
