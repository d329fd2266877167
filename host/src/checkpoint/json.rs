//! Reads the JSON objects of a checkpoint.
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::error::{Category, Error, Result};

/// The JSON object in `path`; none where there is no such file.
///
/// # Errors
/// The file cannot be read, is not JSON, or is not an object.
pub fn read(path: &Path) -> Result<Option<Value>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(Category::Model, format!("{name} is not valid JSON"))
            .details(format_args!("{}: {error}", path.display()))
            .hint("correct the file, or download it again")
    })?;
    if !value.is_object() {
        return Err(Error::new(Category::Model, format!("{name} is not a JSON object"))
            .details(format_args!("{}: expected an object, found {}", path.display(), kind(&value)))
            .hint("correct the file, or download it again"));
    }
    Ok(Some(value))
}

/// The error for a file of the checkpoint that the system does not let us read.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Category::Model, "Model file cannot be read")
        .details(format_args!("{}: {error}", path.display()))
        .hint("check that the file is complete and that you may read it")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
