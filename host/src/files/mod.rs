//! Files of a checkpoint: only regular ones are opened, and none is read that is larger than its kind can be.
mod json;

use std::fs::{File, FileType};
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde_json::Value;

use crate::error::{Category, Error, Result};
pub use json::{parse, parse_to_write, text};

/// The longest file that is read as a whole; published tokenizers have 40 MB at most.
pub const MAX_BYTES: u64 = 200_000_000;

/// The longest file whose JSON is taken apart, such as config.json or an index: the indexes of the largest models have
/// 15 MB, and each value takes 72 bytes of memory.
pub const MAX_JSON_BYTES: u64 = 32_000_000;

/// How a pointer file begins that Git LFS leaves where the content was not fetched.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Opens a regular file, or a link to one; none where there is no file of that name.
///
/// # Errors
/// It is something else, such as a pipe, whose opening might wait for ever; or it cannot be opened.
pub fn open(path: &Path) -> Result<Option<File>> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        // A link to nothing is no missing file: its owner believes that something is there.
        Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    if !metadata.is_file() {
        return Err(Error::new(Category::Model, "Model file is not a regular file")
            .details(format_args!("{}: expected a file, found {}", path.display(), kind(metadata.file_type())))
            .hint("put the file itself, or a link to it, in this place"));
    }
    File::open(path).map(Some).map_err(|error| unreadable(path, &error))
}

/// All bytes of a file of at most [`MAX_BYTES`]; none where there is no file of that name.
///
/// # Errors
/// As [`open`]; it is longer, cannot be read, or holds a pointer of Git LFS.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    read_at_most(path, MAX_BYTES)
}

fn read_at_most(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else { return Ok(None) };
    let length = file.metadata().map_err(|error| unreadable(path, &error))?.len();
    let mut bytes = Vec::new();
    if length > most {
        return Err(Error::new(Category::Model, "Model file is too large")
            .details(format_args!("{}: {length} bytes, expected at most {most}", path.display()))
            .hint("this is not the file that its name says; download it again"));
    }
    // It may become longer meanwhile.
    file.take(most).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    refuse_pointer(path, &bytes)?;
    Ok(Some(bytes))
}

/// The JSON object in a file; none where there is no such file.
///
/// # Errors
/// As [`read`]; it is longer than [`MAX_JSON_BYTES`], is not JSON, or is not an object.
pub fn json(path: &Path) -> Result<Option<Value>> {
    let Some(bytes) = read_at_most(path, MAX_JSON_BYTES)? else { return Ok(None) };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let value: Value = parse(&bytes).map_err(|error| {
        Error::new(Category::Model, format!("{name} is not valid JSON"))
            .details(format_args!("{}: {error}", path.display()))
            .hint("correct the file, or download it again")
    })?;
    if !value.is_object() {
        return Err(Error::new(Category::Model, format!("{name} is not a JSON object"))
            .details(format_args!("{}: expected an object, found {}", path.display(), json::kind(&value)))
            .hint("correct the file, or download it again"));
    }
    Ok(Some(value))
}

/// # Errors
/// The bytes are those of a pointer file.
pub fn refuse_pointer(path: &Path, bytes: &[u8]) -> Result<()> {
    if !bytes.starts_with(POINTER) {
        return Ok(());
    }
    Err(Error::new(Category::Model, "Model file is a Git LFS pointer")
        .details(format_args!("{}: says where the content is, and holds none of it", path.display()))
        .hint("fetch the content: git lfs pull, in the folder that was cloned"))
}

/// The error for a file that the system does not let us read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => {
            "you may not read it: its permissions, or those of a folder above it, forbid that"
        }
        ErrorKind::NotFound => "it is a link to a file that does not exist: download the model again",
        _ => "check that the file is complete and that you may read it",
    };
    Error::new(Category::Model, "Model file cannot be read")
        .details(format_args!("{}: {error}", path.display()))
        .hint(hint)
}

#[cfg(unix)]
fn kind(file: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if file.is_dir() => "a directory",
        () if file.is_fifo() => "a pipe",
        () if file.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn kind(file: FileType) -> &'static str {
    if file.is_dir() { "a directory" } else { "something else" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_forbids_is_said_as_such() {
        let error = unreadable(Path::new("m/config.json"), &ErrorKind::PermissionDenied.into()).to_string();
        assert!(
            error.contains("m/config.json: permission denied") && error.contains("Hint: you may not read it"),
            "{error}"
        );
    }
}
