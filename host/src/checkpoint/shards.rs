//! Which files hold the weights: one, or the shards of an index.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::StoredTensor;
use super::locate::is_word;
use crate::error::{Category, Error, Result};
use crate::files;

/// The file of weights that are in one.
pub const SINGLE: &str = "model.safetensors";
/// The index of those in several.
pub const INDEX: &str = "model.safetensors.index.json";

/// The files that hold the weights, and which tensors the index says are in which.
pub struct WeightFiles {
    /// Paths, each once.
    pub files: Vec<PathBuf>,
    index: BTreeMap<String, PathBuf>,
}

/// Finds the weights of a directory; none where there is neither one file nor an index. One file counts, as in
/// transformers.
///
/// # Errors
/// The index is not what it should be, or a shard is missing.
pub fn find(directory: &Path, notes: &mut Vec<String>) -> Result<Option<WeightFiles>> {
    let (single, path) = (directory.join(SINGLE), directory.join(INDEX));
    // Also true for a link to nothing, which is then said to be unreadable instead of absent.
    if single.symlink_metadata().is_ok() {
        if path.exists() {
            notes.push(format!("{INDEX} is ignored: {SINGLE} is there and counts"));
        }
        return Ok(Some(WeightFiles { files: vec![single], index: BTreeMap::new() }));
    }
    let Some(index) = files::json(&path)? else { return Ok(None) };
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
    Ok(Some(WeightFiles { files, index: tensors }))
}

impl WeightFiles {
    /// Which of two shards has the tensor that counts: the one that the index names.
    ///
    /// # Errors
    /// The index names neither.
    pub fn choose<'a>(&self, name: &str, first: &'a Path, second: &'a Path) -> Result<&'a Path> {
        let named = self.index.get(name);
        let counts = [first, second].into_iter().find(|path| named.is_some_and(|named| named == path));
        counts.ok_or_else(|| {
            Error::new(Category::Model, "Tensor is in two shards")
                .details(format_args!(
                    "{name} is in {} and in {}; expected one of them, or an index that names one",
                    first.display(),
                    second.display()
                ))
                .hint("download the checkpoint again")
        })
    }

    /// The tensors that the index names and no shard has. A note counts those that another shard has.
    pub fn compare(
        &self,
        tensors: &BTreeMap<String, Arc<StoredTensor>>,
        notes: &mut Vec<String>,
    ) -> BTreeMap<String, PathBuf> {
        let elsewhere =
            |(name, shard): &(&String, &PathBuf)| tensors.get(*name).is_some_and(|tensor| *tensor.file != ***shard);
        let mut moved = self.index.iter().filter(elsewhere);
        if let Some((name, shard)) = moved.next() {
            let more = moved.count();
            let others = if more > 0 { format!(", nor {more} more in theirs") } else { String::new() };
            notes.push(format!("{INDEX}: {name} is not in {}{others}: other shards have them", shard.display()));
        }
        let absent = self.index.iter().filter(|(name, _)| !tensors.contains_key(*name));
        absent.map(|(name, shard)| (name.clone(), shard.clone())).collect()
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
pub fn no_weights(directory: &Path) -> Error {
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
