//! The files of a checkpoint that are neither weights nor say how they are quantized: copied as they are.
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::config::CONFIG;
use crate::checkpoint::writing::{INDEX, io_error};
use crate::checkpoint::{Checkpoint, QUANTIZATION_FILES};
use crate::error::Result;
use crate::files::unreadable;

/// How the names of files end that hold weights in other forms, or a part of some.
const WEIGHTS: [&str; 12] = [
    ".safetensors",
    ".bin",
    ".bin.index.json",
    ".pt",
    ".pth",
    ".ckpt",
    ".gguf",
    ".onnx",
    ".h5",
    ".msgpack",
    ".nemo",
    ".partial",
];

/// Copies them; says which other files stay behind, but for those that were read.
///
/// # Errors
/// One can not be read, or not be written.
pub fn copy(checkpoint: &Checkpoint, to: &Path) -> Result<Option<String>> {
    let from = checkpoint.directory();
    let read: BTreeSet<&OsStr> = checkpoint.tensors().filter_map(|(_, tensor)| tensor.file.file_name()).collect();
    let mut left = Vec::new();
    for entry in fs::read_dir(from).map_err(|error| unreadable(from, &error))? {
        let path = entry.map_err(|error| unreadable(from, &error))?.path();
        let Some(name) = path.file_name().filter(|name| !read.contains(name)) else { continue };
        let name = name.to_string_lossy().into_owned();
        let is_made = name == CONFIG || name == INDEX || QUANTIZATION_FILES.contains(&&*name);
        if name.starts_with('.') || is_made {
            continue;
        }
        // Of a link, what it leads to: a snapshot in Hugging Face's cache has nothing else.
        if WEIGHTS.iter().any(|end| name.ends_with(end)) || !path.is_file() {
            left.push(name);
            continue;
        }
        let new = to.join(&name);
        let bytes = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        fs::write(&new, bytes).map_err(|error| io_error(&new, &error))?;
    }
    left.sort();
    Ok((!left.is_empty()).then(|| format!("not copied: {}", left.join(", "))))
}
