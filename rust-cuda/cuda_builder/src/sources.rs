//! The hash of what a crate's PTX is made from: the same on every machine, in every folder, with every kind of line end.
use std::fs;
use std::hash::Hasher;
use std::path::{Path, PathBuf};

use crate::{Arch, Error};

/// cuda_std is part of every crate of kernels, and stands beside this one.
const CUDA_STD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cuda_std");

/// The files and folders that a crate's PTX is made from.
pub(crate) fn roots(krate: &Path) -> Vec<PathBuf> {
    crates(krate).iter().flat_map(|folder| [folder.join("Cargo.toml"), folder.join("src")]).collect()
}

/// The hash of these files and of rustc's flags, as 16 hexadecimal digits.
///
/// FNV-1a of 64 bits: it tells an edit from none, it does not guard against a forger.
pub(crate) fn hash(krate: &Path, arch: Arch) -> Result<String, Error> {
    if !krate.join("Cargo.toml").is_file() {
        return Err(Error::NoCrate { path: krate.to_owned(), missing: "Cargo.toml" });
    }
    let mut hasher = fnv::FnvHasher::default();
    for flag in arch.flags().iter().map(String::as_str).chain(crate::cargo::PROFILE.iter().map(|(_, value)| *value)) {
        write_part(&mut hasher, flag.as_bytes());
    }
    for folder in crates(krate) {
        write_part(&mut hasher, &fs::read(folder.join("Cargo.toml")).map_err(|e| Error::file(&folder, e))?);
        let source = folder.join("src");
        for file in files(&source)? {
            let name = file.strip_prefix(&source).unwrap_or(&file);
            let name: Vec<_> = name.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            write_part(&mut hasher, name.join("/").as_bytes());
            write_part(&mut hasher, &fs::read(&file).map_err(|e| Error::file(&file, e))?);
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
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

fn crates(krate: &Path) -> [PathBuf; 2] {
    [krate.to_owned(), PathBuf::from(CUDA_STD)]
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
mod tests {
    use super::*;

    fn krate(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn hash_of(files: &[(&str, &str)]) -> String {
        hash(krate(files).path(), Arch::ALL[0]).unwrap()
    }

    const FILES: [(&str, &str); 3] = [("Cargo.toml", "[package]\n"), ("src/lib.rs", "a\nb\n"), ("src/x/y.rs", "c\n")];

    #[test]
    fn the_folder_the_order_and_the_line_ends_do_not_count() {
        let reversed = [FILES[2], FILES[1], FILES[0]];
        let windows = [FILES[0], ("src/lib.rs", "a\r\nb\r\n"), FILES[2]];
        assert_eq!(hash_of(&FILES), hash_of(&reversed));
        assert_eq!(hash_of(&FILES), hash_of(&windows));
    }

    #[test]
    fn every_byte_and_name_and_the_flags_count() {
        let others = [
            [FILES[0], ("src/lib.rs", "a\nB\n"), FILES[2]],
            [FILES[0], ("src/lib.rs", "a\nb\n\n"), FILES[2]],
            [FILES[0], FILES[1], ("src/x/z.rs", "c\n")],
            [FILES[0], FILES[1], ("src/xy.rs", "c\n")],
            [("Cargo.toml", "[package]\nx\n"), FILES[1], FILES[2]],
        ];
        for other in others {
            assert_ne!(hash_of(&FILES), hash_of(&other), "{other:?}");
        }
        let folder = krate(&FILES);
        assert_ne!(hash(folder.path(), Arch::ALL[0]).unwrap(), hash(folder.path(), Arch::ALL[1]).unwrap());
    }

    #[test]
    fn a_folder_without_a_crate_is_an_error() {
        let error = hash(tempfile::tempdir().unwrap().path(), Arch::ALL[0]).unwrap_err();
        assert!(error.to_string().contains("there is no Cargo.toml"), "{error}");
    }
}
