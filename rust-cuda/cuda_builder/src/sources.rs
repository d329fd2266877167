//! The hash of what a crate's PTX is made from: the same on every machine, in every folder, with every kind of line end.
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use crate::{Arch, Error, manifest, rustc};

/// The files and folders that a crate's PTX is made from.
pub(crate) fn roots(krate: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(manifest::crates(krate)?.iter().flat_map(|folder| [folder.join("Cargo.toml"), folder.join("src")]).collect())
}

/// A file that PTX is made from.
pub(crate) struct Source {
    /// Whether it is below the `src` of the crate itself, and not its manifest or of a crate that it depends on.
    pub(crate) own: bool,
    /// Its path below `src`, or the manifest's name; with `/` everywhere.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) bytes: Vec<u8>,
}

/// All files that the crate's PTX is made from, those of the crate first.
pub(crate) fn read(krate: &Path) -> Result<Vec<Source>, Error> {
    if !krate.join("Cargo.toml").is_file() {
        return Err(Error::NoCrate { path: krate.to_owned(), missing: "Cargo.toml" });
    }
    let mut sources = Vec::new();
    for folder in manifest::crates(krate)? {
        let bytes = manifest::read(&folder)?.into_bytes();
        sources.push(Source { own: false, name: "Cargo.toml".to_owned(), bytes });
        let root = folder.join("src");
        for file in files(&root)? {
            let name = file.strip_prefix(&root).unwrap_or(&file);
            let name: Vec<_> = name.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            let bytes = fs::read(&file).map_err(|e| Error::file(&file, e))?;
            sources.push(Source { own: folder == krate, name: name.join("/"), bytes });
        }
    }
    Ok(sources)
}

/// The hash of these files and of rustc's flags, as 16 hexadecimal digits.
///
/// FNV-1a of 64 bits: it tells an edit from none, it does not guard against a forger.
pub(crate) fn hash<'a>(sources: impl IntoIterator<Item = &'a Source>, arch: Arch) -> String {
    let mut hasher = fnv::FnvHasher::default();
    for flag in arch.flags().iter().map(String::as_str).chain(rustc::PROFILE.iter().map(|(_, value)| *value)) {
        write_part(&mut hasher, flag.as_bytes());
    }
    for source in sources {
        write_part(&mut hasher, source.name.as_bytes());
        write_part(&mut hasher, &source.bytes);
    }
    format!("{:016x}", hasher.finish())
}

/// All files below a folder, sorted by path.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| Error::file(&folder, e))? {
            let path = entry.map_err(|e| Error::file(&folder, e))?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes one part and its end, so that no byte can move from one part to the next unnoticed.
fn write_part(hasher: &mut fnv::FnvHasher, bytes: &[u8]) {
    for line in bytes.split(|&byte| byte == b'\n') {
        hasher.write(line.strip_suffix(b"\r").unwrap_or(line));
        hasher.write(b"\n");
    }
    hasher.write(b"\0");
}

#[cfg(test)]
mod tests;
