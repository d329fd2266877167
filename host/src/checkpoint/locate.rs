//! Where a model is: a directory, or a snapshot in Hugging Face's cache.
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Category, Error, Result};

/// One of these is in every directory that is meant as a model.
const SIGNS: [&str; 4] = ["config.json", "adapter_config.json", "model.safetensors", "model.safetensors.index.json"];

/// The directory of `model`: the directory of that name if there is one with a model in it, else the snapshot of
/// `org/name` or `org/name@revision` in `cache`, else a directory of that name whatever is in it.
///
/// # Errors
/// There is none, it cannot be looked at, or the cache has the model and not the revision.
pub fn directory(model: &str, cache: Option<&Path>, notes: &mut Vec<String>) -> Result<PathBuf> {
    let path = PathBuf::from(model);
    let is_directory = look(model, &path)?;
    if is_directory && SIGNS.iter().any(|name| path.join(name).symlink_metadata().is_ok()) {
        return Ok(path);
    }
    let repository = Repository::of(model);
    let entry = repository.as_ref().and_then(|repository| Some(cache?.join(repository.folder())));
    if let (Some(repository), Some(entry)) = (&repository, &entry)
        && entry.join("snapshots").is_dir()
    {
        let snapshot = repository.snapshot(entry, notes)?;
        if is_directory {
            notes.push(format!("the directory {model} holds no model: the one in Hugging Face's cache is used"));
        }
        return Ok(snapshot);
    }
    if is_directory {
        return Ok(path);
    }
    let error = Error::new(Category::Model, "Model directory does not exist");
    Err(match (repository, entry) {
        (Some(repository), Some(entry)) => error
            .details(format_args!("{model}: no such directory, and no snapshot in {}", entry.display()))
            .hint(format_args!("name a directory, or download the model first: {}", repository.download())),
        _ => error
            .details(format_args!("{model}: no such directory"))
            .hint("name a directory, or as org/name a model that is in Hugging Face's cache"),
    })
}

/// Whether there is a directory.
fn look(model: &str, path: &Path) -> Result<bool> {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(Error::new(Category::Model, "Model is not a directory")
            .details(format_args!("{model} is a file"))
            .hint("name the directory that holds config.json and model.safetensors")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(Error::new(Category::Model, "Model directory cannot be looked at")
            .details(format_args!("{model}: {error}"))
            .hint("check the path, and that you may enter every folder on it")),
    }
}

/// Whether `name` is one plain component of a path: no separators, no `..`, nothing that leaves its directory.
pub fn is_word(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0', ':'])
}

/// `org/name`, and the branch, tag or commit that was asked for.
struct Repository<'a> {
    organisation: &'a str,
    name: &'a str,
    revision: Option<&'a str>,
}

impl Repository<'_> {
    fn of(model: &str) -> Option<Repository<'_>> {
        let (path, revision) = match model.split_once('@') {
            Some((path, revision)) => (path, Some(revision)),
            None => (model, None),
        };
        let (organisation, name) = path.split_once('/')?;
        let words = is_word(organisation) && is_word(name) && revision.is_none_or(|it| it.split('/').all(is_word));
        words.then_some(Repository { organisation, name, revision })
    }

    /// Its folder in the cache.
    fn folder(&self) -> String {
        format!("models--{}--{}", self.organisation, self.name)
    }

    /// The command that fetches it.
    fn download(&self) -> String {
        let revision = self.revision.map(|revision| format!(" --revision {revision}")).unwrap_or_default();
        format!("hf download {}/{}{revision}", self.organisation, self.name)
    }

    /// The snapshot of the revision, which is `main` where none is named. Where the cache has no `main`, because only
    /// another revision was downloaded, it is the newest.
    ///
    /// # Errors
    /// The cache does not have the revision.
    fn snapshot(&self, entry: &Path, notes: &mut Vec<String>) -> Result<PathBuf> {
        let snapshots = entry.join("snapshots");
        let revision = self.revision.unwrap_or("main");
        let reference = entry.join("refs").join(revision);
        let commit = std::fs::read_to_string(&reference).map(|commit| commit.trim().to_owned());
        let wanted = match &commit {
            Ok(commit) => commit.as_str(),
            Err(_) => revision,
        };
        let found = Some(snapshots.join(wanted)).filter(|path| is_word(wanted) && path.is_dir());
        if let Some(found) = found {
            return Ok(found);
        }
        if self.revision.is_none()
            && commit.is_err_and(|error| error.kind() == ErrorKind::NotFound)
            && let Some(newest) = newest(&snapshots)
        {
            notes.push(format!("the cache has no main revision: the newest snapshot is used, {}", newest.display()));
            return Ok(newest);
        }
        Err(self.no_revision(revision, &reference, &snapshots))
    }

    fn no_revision(&self, revision: &str, reference: &Path, snapshots: &Path) -> Error {
        let mut there: Vec<String> = folders(snapshots).filter_map(|path| file_name(&path)).collect();
        there.sort();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let wanted = std::fs::read_to_string(reference);
        let wanted = wanted.map_or(revision.to_owned(), |commit| format!("{revision}, which is {:?},", commit.trim()));
        Error::new(Category::Model, "Revision is not in the cache")
            .details(format_args!("{}: expected a snapshot of {wanted} found {there}", snapshots.display()))
            .hint(format_args!(
                "download it: {}; or name one that is there: {}/{}@revision",
                self.download(),
                self.organisation,
                self.name
            ))
    }
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn folders(snapshots: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(snapshots).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}

fn newest(snapshots: &Path) -> Option<PathBuf> {
    let age =
        |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    folders(snapshots).max_by_key(|path| (age(path), path.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_org_slash_name_is_looked_up() {
        let folder = |model| Repository::of(model).map(|repository| repository.folder());
        assert_eq!(folder("nvidia/Minitron-4B-Base").as_deref(), Some("models--nvidia--Minitron-4B-Base"));
        for other in ["minitron", "../x", "a/../b", "a/b/c", "/etc", "a/", "a/..", "a/b@", "a/b@..", "a/b@x/../y"] {
            assert_eq!(folder(other), None, "{other}");
        }
        let revision = Repository::of("nvidia/Minitron@refs/pr/1").unwrap();
        assert_eq!((revision.revision, revision.name), (Some("refs/pr/1"), "Minitron"));
    }
}
