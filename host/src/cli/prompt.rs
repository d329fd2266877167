//! `--prompt`, `--prompt-file`, and how a text becomes a prompt.
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::stdin;
use crate::error::{Category, Error, Result};
use crate::session::Prompt;

/// How a prompt becomes ids.
#[derive(Args, Debug)]
pub struct FormArguments {
    /// Leave out what the tokenizer puts around a text, such as <s>
    #[arg(long, conflicts_with = "chat")]
    pub raw: bool,

    /// Ask as a user does: the model's chat template makes the prompt
    #[arg(long)]
    pub chat: bool,

    /// What the model is told before the question
    #[arg(long, value_name = "TEXT", requires = "chat", allow_hyphen_values = true)]
    pub system: Option<String>,
}

impl FormArguments {
    /// The prompt that a text is.
    pub fn prompt(&self, text: &str) -> Prompt {
        match (self.chat, self.raw) {
            (true, _) => Prompt::question(self.system.as_deref(), text),
            (false, true) => Prompt::Raw(text.to_owned()),
            (false, false) => Prompt::Text(text.to_owned()),
        }
    }
}

/// A text on the command line, in a file or on stdin.
#[derive(Args, Debug)]
pub struct TextArguments {
    /// The text [default: what stdin has]
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "prompt_file")]
    prompt: Option<String>,

    /// A UTF-8 file with the text, - for stdin; one line end at its end is not part of the text
    #[arg(long, short = 'f', value_name = "FILE")]
    prompt_file: Option<PathBuf>,
}

impl TextArguments {
    /// The text.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(&self) -> Result<String> {
        match &self.prompt {
            Some(text) => Ok(text.clone()),
            None => read(self.prompt_file.as_deref().unwrap_or(Path::new("-"))),
        }
    }
}

/// The text in a file, or on stdin for `-`: without a byte order mark, and without the line end at its end. Other line
/// ends stay what they are, CRLF too, for a tokenizer may know them.
///
/// # Errors
/// The file cannot be read, or is not UTF-8.
pub fn read(path: &Path) -> Result<String> {
    read_named(path, "prompt", "name a text file with --prompt-file, or - for stdin")
}

/// As [`read`], of a file that holds `what`; `hint` is for one that cannot be read.
///
/// # Errors
/// As [`read`]; stdin is something else already.
pub fn read_named(path: &Path, what: &'static str, hint: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let read = if path == Path::new("-") {
        stdin::take(what)?;
        std::io::stdin().read_to_end(&mut bytes).map(|_| ())
    } else {
        std::fs::read(path).map(|content| bytes = content)
    };
    read.map_err(|error| {
        Error::new(Category::Io, format!("The {what} cannot be read")).details(format!("{name}: {error}")).hint(hint)
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Error::new(Category::Input, format!("The {what} is not UTF-8"))
            .details(format!("{name}: byte {} starts no character", error.utf8_error().valid_up_to()))
            .hint("save the file as UTF-8")
    })?;
    Ok(plain(&text).to_owned())
}

/// A file's text as a prompt.
fn plain(text: &str) -> &str {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editors_marks_are_not_part_of_a_prompt() {
        assert_eq!(plain("\u{feff}one\r\ntwo\r\n"), "one\r\ntwo");
        assert_eq!(plain("one\n\n"), "one\n");
        assert_eq!(plain("\r\n"), "");
        assert_eq!(plain("a\u{feff}b\r"), "a\u{feff}b\r");
    }
}
