//! Reads the JSON files of a tokenizer; every fault names the file and the place.
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Category, Error, Result};

/// Most bytes of such a file. The largest that are published have 40 MB.
const MOST_BYTES: u64 = 512 << 20;

/// The bytes of `path`; none where there is no such file.
///
/// # Errors
/// It cannot be read, is no regular file, is too large, or is a pointer of Git LFS.
pub(super) fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    let cannot = |error: &dyn std::fmt::Display| {
        Error::new(Category::Tokenizer, format!("{} cannot be read", name(path)))
            .details(format_args!("{}: {error}", path.display()))
            .hint("check the file and its permissions")
    };
    let data = match std::fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(&error)),
    };
    if !data.is_file() {
        return Err(cannot(&"expected a file, found something else"));
    }
    if data.len() > MOST_BYTES {
        return Err(cannot(&format_args!("it has {} bytes, at most {MOST_BYTES} are read", data.len())));
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| cannot(&error))?;
    crate::files::refuse_pointer(path, &bytes)?;
    Ok(Some(bytes))
}

/// The JSON object in `path`; none where there is no such file.
///
/// # Errors
/// As [`bytes`], and where it is no JSON object.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    match parse::<Value>(&bytes).map_err(|found| invalid(path, "is not valid JSON", found))? {
        Value::Object(object) => Ok(Some(object)),
        other => Err(invalid(path, "is not a JSON object", format_args!("expected an object, found {}", kind(&other)))),
    }
}

/// The JSON value, with Python's words for numbers that JSON does not have; or what is wrong and where.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<T, String> {
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Err("it begins with a byte order mark, which JSON does not allow: save it as UTF-8 without one".into());
    }
    crate::files::parse(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof if bytes.is_empty() => "the file is empty".to_owned(),
        serde_json::error::Category::Eof => format!("the file ends in the middle of line {}", error.line()),
        _ => format!("{error}"),
    })
}

/// The error for a file that was read and cannot be used.
pub(super) fn invalid(path: &Path, what: &str, found: impl std::fmt::Display) -> Error {
    Error::new(Category::Tokenizer, format!("{} {what}", name(path)))
        .details(format_args!("{}: {found}", path.display()))
        .hint("the file may be damaged or incomplete; download it again")
}

/// What a JSON value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
