//! `--tools`: the functions that a model may call.
use std::path::Path;

use serde_json::Value;

use super::prompt;
use crate::error::{Category, Error, Result};
use crate::session::messages::shown;

/// The functions in a file.
///
/// # Errors
/// The file cannot be read, or is no list.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let text = prompt::read_named(path, "tools", "name a JSON file with --tools, or - for stdin")?;
    let wrong = |what: String| {
        Error::new(Category::Input, "The tools cannot be read")
            .details(format_args!("{}: expected a JSON list of tools, found {what}", path.display()))
            .hint("write them as OpenAI's API has them: [{\"type\": \"function\", \"function\": {\"name\": …}}]")
    };
    match serde_json::from_str(&text) {
        Ok(Value::Array(list)) => Ok(list),
        Ok(other) => Err(wrong(shown(&other))),
        Err(error) => Err(wrong(format!("no JSON: {error}"))),
    }
}
