//! What the builder reads in a crate's `Cargo.toml`: its name, its edition, and what it depends on by path.
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// The text of a folder's manifest.
pub(crate) fn read(folder: &Path) -> Result<String, Error> {
    let path = folder.join("Cargo.toml");
    fs::read_to_string(&path).map_err(|e| Error::file(&path, e))
}

/// The nearest folder around the crate that has a `Cargo.lock`.
pub(crate) fn workspace_root(krate: &Path) -> Result<PathBuf, Error> {
    let folder = std::path::absolute(krate).map_err(|e| Error::file(krate, e))?;
    let root = folder.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).map(Path::to_owned);
    root.ok_or(Error::NoCrate { path: folder, missing: "Cargo.lock" })
}

/// The name of the crate's library as rustc has it.
pub(crate) fn library_name(krate: &Path) -> Result<String, Error> {
    Ok(package_name(krate)?.replace('-', "_"))
}

/// The name of the crate's package.
pub(crate) fn package_name(krate: &Path) -> Result<String, Error> {
    setting(&read(krate)?, "name").ok_or(Error::NoCrate { path: krate.to_owned(), missing: "package name" })
}

/// The crate's edition, its own or the workspace's.
pub(crate) fn edition(krate: &Path) -> Result<String, Error> {
    let own = setting(&read(krate)?, "edition");
    let edition = match own {
        Some(edition) => Some(edition),
        None => setting(&read(&workspace_root(krate)?)?, "edition"),
    };
    edition.ok_or(Error::NoCrate { path: krate.to_owned(), missing: "edition" })
}

fn setting(manifest: &str, key: &str) -> Option<String> {
    let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned());
    manifest.lines().find_map(value)
}

/// The crate and all that it depends on by path, each once: those whose sources can change under one version.
pub(crate) fn crates(krate: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![krate.to_owned()];
    let mut next = 0;
    while next < found.len() {
        for folder in path_dependencies(&found[next])? {
            if !found.contains(&folder) {
                found.push(folder);
            }
        }
        next += 1;
    }
    Ok(found)
}

/// The folders of a crate's path dependencies, written out in its manifest or inherited from the workspace's.
pub(crate) fn path_dependencies(krate: &Path) -> Result<Vec<PathBuf>, Error> {
    let workspace = match workspace_root(krate) {
        Ok(root) => Some((read(&root)?, root)),
        Err(_) => None,
    };
    let mut folders = Vec::new();
    for (key, value) in read(krate)?.lines().filter_map(|line| line.split_once(" = ")) {
        let inherited = key.strip_suffix(".workspace").zip(workspace.as_ref());
        if let Some((name, (text, root))) = inherited {
            let entry = text.lines().filter_map(|line| line.split_once(" = ")).find(|(key, _)| *key == name);
            folders.extend(entry.and_then(|(_, value)| path_in(value)).map(|path| root.join(path)));
        } else {
            folders.extend(path_in(value).map(|path| krate.join(path)));
        }
    }
    Ok(folders)
}

/// The path in a dependency's `{ path = "…" }`.
fn path_in(value: &str) -> Option<&str> {
    value.strip_prefix('{')?.split_once("path = \"")?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_named_as_rustc_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Cargo.toml"), "[package]\nname = \"gpu-kernels\"\n").unwrap();
        assert_eq!(library_name(folder.path()).unwrap(), "gpu_kernels");
        fs::write(folder.path().join("Cargo.toml"), "[package]\n").unwrap();
        assert!(library_name(folder.path()).is_err());
    }

    #[test]
    fn the_edition_is_the_crates_own_or_the_workspaces() {
        let root = tempfile::tempdir().unwrap();
        let krate = root.path().join("kernels");
        fs::create_dir(&krate).unwrap();
        fs::write(root.path().join("Cargo.lock"), "").unwrap();
        fs::write(root.path().join("Cargo.toml"), "[workspace.package]\nedition = \"2024\"\n").unwrap();
        fs::write(krate.join("Cargo.toml"), "[package]\nedition.workspace = true\n").unwrap();
        assert_eq!(edition(&krate).unwrap(), "2024");
        fs::write(krate.join("Cargo.toml"), "[package]\nedition = \"2021\"\n").unwrap();
        assert_eq!(edition(&krate).unwrap(), "2021");
    }
}
