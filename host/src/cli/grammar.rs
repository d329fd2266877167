//! `--json-schema`, `--regex`, `--choice`, `--grammar`: what an answer must be.
use std::path::{Path, PathBuf};

use clap::Args;

use super::prompt;
use crate::error::{Category, Error, Result};
use crate::session::GrammarSource;

/// What the answer must be, one of these at most.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct GrammarArguments {
    /// The answer is JSON of the schema in this file, - for stdin
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,

    /// The answer matches this expression as a whole, in the syntax of Rust's regex
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    regex: Option<String>,

    /// The answer is this text, or another one where it is given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    choice: Vec<String>,

    /// The answer follows the grammar in this file, - for stdin, in llguidance's variant of Lark
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
}

impl GrammarArguments {
    /// What is asked for.
    ///
    /// # Errors
    /// A file cannot be read, or is no JSON.
    pub fn read(&self) -> Result<Option<GrammarSource>> {
        Ok(match self {
            GrammarArguments { json_schema: Some(file), .. } => Some(GrammarSource::JsonSchema(schema(file)?)),
            GrammarArguments { regex: Some(regex), .. } => Some(GrammarSource::Regex(regex.clone())),
            GrammarArguments { grammar: Some(file), .. } => {
                Some(GrammarSource::Lark(read(file, "grammar", "--grammar")?))
            }
            GrammarArguments { choice, .. } if !choice.is_empty() => Some(GrammarSource::Choice(choice.clone())),
            _ => None,
        })
    }
}

fn read(file: &Path, what: &'static str, option: &str) -> Result<String> {
    prompt::read_named(file, what, &format!("name a text file with {option}, or - for stdin"))
}

fn schema(file: &Path) -> Result<serde_json::Value> {
    serde_json::from_str(&read(file, "JSON schema", "--json-schema")?).map_err(|error| {
        Error::new(Category::Input, "The JSON schema cannot be read")
            .details(format_args!("{}: {error}", file.display()))
            .hint("the file is to hold one JSON object, such as {\"type\": \"object\"}")
    })
}
