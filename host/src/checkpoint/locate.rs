//! Where a model is: a directory, or a snapshot in Hugging Face's cache.
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Category, Error, Result};

/// The folder `hub` of Hugging Face's cache, from the environment as its own library reads it.
pub fn hub_cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || {
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
        Some(caches.join("huggingface"))
    };
    folder("HF_HUB_CACHE").or_else(|| Some(folder("HF_HOME").or_else(home)?.join("hub")))
}

/// The directory of `model`: the directory of that name if there is one, else the snapshot of `org/name` in `cache`.
///
/// # Errors
/// There is neither.
pub fn directory(model: &str, cache: Option<&Path>) -> Result<PathBuf> {
    let path = PathBuf::from(model);
    if path.is_dir() {
        return Ok(path);
    }
    if path.exists() {
        return Err(Error::new(Category::Model, "Model is not a directory")
            .details(format_args!("{model} is a file"))
            .hint("name the directory that holds config.json and model.safetensors"));
    }
    let entry = hub_entry(model).and_then(|entry| Some(cache?.join(entry)));
    if let Some(snapshot) = entry.as_deref().and_then(snapshot) {
        return Ok(snapshot);
    }
    let error = Error::new(Category::Model, "Model directory does not exist");
    Err(match entry {
        None => error
            .details(format_args!("{model}: no such directory"))
            .hint("name a directory, or as org/name a model that is in Hugging Face's cache"),
        Some(entry) => error
            .details(format_args!("{model}: no such directory, and no snapshot in {}", entry.display()))
            .hint(format_args!("name a directory, or download the model first: hf download {model}")),
    })
}

/// Whether `name` is one plain component of a path: no separators, no `..`, nothing that leaves its directory.
pub fn is_word(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0', ':'])
}

/// The cache's folder name for `org/name`.
fn hub_entry(model: &str) -> Option<String> {
    let (organisation, name) = model.split_once('/')?;
    (is_word(organisation) && is_word(name)).then(|| format!("models--{organisation}--{name}"))
}

/// The snapshot that `refs/main` names, else the newest.
fn snapshot(entry: &Path) -> Option<PathBuf> {
    let snapshots = entry.join("snapshots");
    let main = std::fs::read_to_string(entry.join("refs").join("main")).ok();
    let main = main.map(|revision| revision.trim().to_owned()).filter(|revision| is_word(revision));
    main.map(|revision| snapshots.join(revision)).filter(|path| path.is_dir()).or_else(|| newest(&snapshots))
}

fn newest(snapshots: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(snapshots).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let age =
        |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    folders.max_by_key(|path| (age(path), path.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_cache_in_hugging_faces_order() {
        let all = [
            ("HF_HUB_CACHE", "/hub-cache", "/hub-cache"),
            ("HF_HOME", "/hf", "/hf/hub"),
            ("XDG_CACHE_HOME", "/xdg", "/xdg/huggingface/hub"),
            ("HOME", "/home/u", "/home/u/.cache/huggingface/hub"),
        ];
        for first in 0..all.len() {
            let set = |name: &str| all[first..].iter().find(|row| row.0 == name).map(|row| OsString::from(row.1));
            assert_eq!(hub_cache(set), Some(PathBuf::from(all[first].2)));
        }
        assert_eq!(hub_cache(|name| (name == "HF_HOME").then(OsString::new)), None);
    }

    #[test]
    fn only_org_slash_name_is_looked_up() {
        assert_eq!(hub_entry("nvidia/Minitron-4B-Base").as_deref(), Some("models--nvidia--Minitron-4B-Base"));
        for other in ["minitron", "../x", "a/../b", "a/b/c", "/etc", "a/", "a/.."] {
            assert_eq!(hub_entry(other), None, "{other}");
        }
    }
}
