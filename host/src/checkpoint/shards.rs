//! Which files hold the weights: one, or the shards of an index.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::locate::is_word;
use super::{StoredTensor, json};
use crate::error::{Category, Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The files that hold the weights, and which tensors the index says are in which.
pub struct WeightFiles {
    /// Paths, each once.
    pub files: Vec<PathBuf>,
    index: BTreeMap<String, PathBuf>,
}

/// Finds the weights of a directory.
///
/// # Errors
/// There are none, the index is not what it should be, or a shard is missing.
pub fn find(directory: &Path) -> Result<WeightFiles> {
    let single = directory.join(SINGLE);
    // Also true for a link to nothing, which is then said to be unreadable instead of absent.
    if single.symlink_metadata().is_ok() {
        return Ok(WeightFiles { files: vec![single], index: BTreeMap::new() });
    }
    let path = directory.join(INDEX);
    let Some(index) = json::read(&path)? else { return Err(no_weights(directory)) };
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(invalid_index(&path, "weight_map: expected an object of tensor names and file names"));
    };
    let mut tensors = BTreeMap::new();
    for (name, shard) in map {
        let shard = shard.as_str().ok_or_else(|| {
            invalid_index(&path, format_args!("weight_map: {name}: expected a file name, found {shard}"))
        })?;
        tensors.insert(name.clone(), directory.join(checked_name(&path, name, shard)?));
    }
    let files: BTreeSet<&PathBuf> = tensors.values().collect();
    if let Some(missing) = files.iter().find(|file| file.symlink_metadata().is_err()) {
        return Err(Error::new(Category::Model, "Weights shard not found")
            .details(format_args!("{} is named in {} and does not exist", missing.display(), path.display()))
            .hint("download the missing shard"));
    }
    let files = files.into_iter().cloned().collect();
    Ok(WeightFiles { files, index: tensors })
}

impl WeightFiles {
    /// Checks that every tensor of the index is in the shard that the index names.
    ///
    /// # Errors
    /// One is not.
    pub fn check(&self, tensors: &BTreeMap<String, Arc<StoredTensor>>) -> Result<()> {
        for (name, shard) in &self.index {
            if tensors.get(name).is_none_or(|tensor| *tensor.file != **shard) {
                return Err(Error::new(Category::Model, "Tensor is not in its shard")
                    .details(format_args!("{name}: expected in {}, as {INDEX} says", shard.display()))
                    .hint("download the index and its shards again, from one revision"));
            }
        }
        Ok(())
    }
}

/// A shard's name must be a word; it may be a link, as every file in Hugging Face's cache is.
fn checked_name<'a>(index: &Path, tensor: &str, shard: &'a str) -> Result<&'a str> {
    if is_word(shard) {
        return Ok(shard);
    }
    Err(Error::new(Category::Model, "Shard name is a path")
        .details(format_args!("{}: weight_map: {tensor}: expected a plain file name, found {shard:?}", index.display()))
        .hint("shards lie beside their index; do not load this checkpoint if you do not trust where it comes from"))
}

fn invalid_index(path: &Path, details: impl std::fmt::Display) -> Error {
    Error::new(Category::Model, "Weights index is not valid")
        .details(format_args!("{}: {details}", path.display()))
        .hint("download the index again")
}

/// Says what is there instead of weights.
fn no_weights(directory: &Path) -> Error {
    let names = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let first = |suffix: &str| names.iter().find(|name| name.ends_with(suffix));
    let (found, hint) = if let Some(name) = first(".safetensors") {
        (format!("only {name}"), "download model.safetensors.index.json, which says what is in which shard")
    } else if let Some(name) = first(".gguf") {
        (format!("only {name}"), "GGUF is not supported: use the safetensors checkpoint that it was made from")
    } else if let Some(name) = first(".bin") {
        (format!("only {name}"), "PyTorch's .bin is not supported: save the model again with safe_serialization=True")
    } else {
        ("nothing of the kind".to_owned(), "download the model's weights into this directory")
    };
    Error::new(Category::Model, "Model weights not found")
        .details(format_args!("{}: expected {SINGLE} or {INDEX}, found {found}", directory.display()))
        .hint(hint)
}
