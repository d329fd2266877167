//! The one error type: what went wrong, where, what was expected and found, and what to do about it.
use std::fmt;

/// What an error is about; the word after `[ERROR]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// The checkpoint's files, config or weights.
    Model,
    /// tokenizer.json, or text that it cannot take.
    Tokenizer,
    /// Prompts and parameters.
    Input,
    /// A GPU, its driver, its libraries or its memory.
    Device,
    /// Reading and writing files that are not the model's.
    Io,
    /// A result outside its bounds.
    Verification,
    /// A fault of this program.
    Internal,
}

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// An error, printed as `[ERROR] Category: message`, `Details: …`, `Hint: …`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    category: Category,
    message: String,
    details: String,
    hint: String,
}

impl Error {
    /// An error whose message is short and without a full stop; `details` names file, tensor, expected and found.
    pub fn new(category: Category, message: impl Into<String>) -> Error {
        Error { category, message: message.into(), details: String::new(), hint: String::new() }
    }

    /// Says which file, tensor or value, what was expected and what was found.
    pub fn details(mut self, details: impl fmt::Display) -> Error {
        self.details = one_line(details);
        self
    }

    /// Says what to do.
    pub fn hint(mut self, hint: impl fmt::Display) -> Error {
        self.hint = one_line(hint);
        self
    }

    /// What the error is about.
    pub fn category(&self) -> Category {
        self.category
    }

    /// Which file, tensor or value, what was expected and what was found.
    pub fn details_text(&self) -> &str {
        &self.details
    }

    /// What to do.
    pub fn hint_text(&self) -> &str {
        &self.hint
    }

    /// The short message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Names come from files: a control character in one must neither break the three lines nor reach the terminal.
fn one_line(text: impl fmt::Display) -> String {
    let mut line = String::new();
    for character in text.to_string().chars() {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "[ERROR] {:?}: {}", self.category, self.message)?;
        writeln!(f, "Details: {}", self.details)?;
        write!(f, "Hint: {}", self.hint)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
