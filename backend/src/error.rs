//! The one error type: what went wrong, where, what was expected and found, and what to do about it.
mod words;

use std::fmt;

pub use words::plain as plain_words;

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
        self.details = one_line(words::plain(details.to_string()));
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

/// Bytes as messages say them: in the decimal unit that suits them, 1 GB being 10⁹ bytes.
pub fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut power = bytes.max(1).ilog10() as usize / 3;
    let mut value = bytes as f64 / 1000f64.powi(power as i32);
    // What would be rounded to 1000.0 is 1.0 of the next unit.
    if power > 0 && value >= 999.95 {
        (power, value) = (power + 1, value / 1000.0);
    }
    if power == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[power]) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_decimal_units() {
        for (bytes, said) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_450_496, "9.5 MB"),
            (999_949_999, "999.9 MB"),
            (999_950_000, "1.0 GB"),
            (8_400_000_000, "8.4 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), said);
        }
    }
}
