//! Writing checkpoints: headers of safetensors, names of shards and their index, and files that are whole or not there.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

pub use super::shards::INDEX;
use super::shards::SINGLE;
use crate::error::{Category, Error, Result};

/// A shard is closed when it holds this many bytes.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// A tensor that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl TensorEntry {
    /// Bytes of its elements.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product::<u64>() * self.dtype.bitsize() as u64 / 8
    }
}

/// What a file of these tensors begins with, their length and JSON, padded so that the first tensor starts at a multiple of
/// 8 bytes.
pub fn header(entries: &[TensorEntry]) -> Vec<u8> {
    // transformers refuses a file that does not name its framework.
    let mut object = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
    let mut offset = 0;
    for entry in entries {
        let end = offset + entry.bytes();
        let info = json!({ "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [offset, end] });
        object.insert(entry.name.clone(), info);
        offset = end;
    }
    let mut json = serde_json::to_vec(&object).expect("a JSON value has a text");
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    header
}

/// The name of shard `number`, from 0 on, of `count`.
pub fn shard_name(number: usize, count: usize) -> String {
    match count {
        1 => SINGLE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    }
}

/// Writes the index: which shard each tensor is in, and the bytes of all.
///
/// # Errors
/// The file can not be written.
pub fn index(directory: &Path, shards: &BTreeMap<String, String>, total: u64) -> Result<()> {
    json(&directory.join(INDEX), &json!({ "metadata": { "total_size": total }, "weight_map": shards }))
}

/// # Errors
/// The directory is there and has files, or is something else.
pub fn refuse_files(directory: &Path) -> Result<()> {
    let mut entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(directory, &error)),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Error::new(Category::Io, "The directory is not empty")
            .details(format!("{} has files; a new checkpoint overwrites nothing", directory.display()))
            .hint("name a directory that does not exist")),
    }
}

/// Writes a JSON file.
///
/// # Errors
/// The file can not be written.
pub fn json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("a JSON value has a text");
    whole(path, |file| file.write_all((text + "\n").as_bytes()).map_err(|error| io_error(path, &error)))
}

/// Writes a file under another name and gives it its own when it is whole, so that no part is taken for all of it; what
/// `write` returned.
///
/// # Errors
/// Those of `write`; the file can not be made.
pub fn whole<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = Path::new(&name);
    let written = File::create(partial)
        .map_err(|error| io_error(path, &error))
        .and_then(|mut file| write(&mut file))
        .and_then(|done| fs::rename(partial, path).map(|()| done).map_err(|error| io_error(path, &error)));
    if written.is_err() {
        // The error counts; the disk may be full, so what is of no use goes.
        let _ = fs::remove_file(partial);
    }
    written
}

/// The error of what can not be written.
pub fn io_error(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Category::Io, "The checkpoint can not be written")
        .details(format!("{}: {error}", path.display()))
        .hint("make room on the disk, or name a directory that you may write to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_fails_leaves_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("new");
        let full = io_error(&path, &ErrorKind::StorageFull.into());
        assert!(full.to_string().contains("Hint: make room on the disk"), "{full}");
        assert!(whole::<()>(&path, |_| Err(full)).is_err());
        assert_eq!(fs::read_dir(directory.path()).expect("it is a directory").count(), 0);
    }

    #[test]
    fn a_header_is_what_the_library_reads() {
        let entry =
            |name: &str, dtype, shape: &[usize]| TensorEntry { name: name.into(), dtype, shape: shape.to_vec() };
        let entries = [entry("a", Dtype::F32, &[]), entry("b", Dtype::BF16, &[3, 5]), entry("c", Dtype::F8_E4M3, &[7])];
        let mut file = header(&entries);
        assert_eq!(file.len() % 8, 0);
        file.extend((0..4 + 30 + 7).map(|byte| byte as u8));
        let read = safetensors::SafeTensors::deserialize(&file).expect("a valid file");
        assert_eq!(read.tensor("b").expect("it is there").data(), (4..34).collect::<Vec<u8>>());
        assert_eq!(read.tensor("c").expect("it is there").shape(), [7]);
    }
}
