//! What goes to stderr: notes, at the loudness that the user chose, and errors. A closed stderr ends nothing.
use std::io::{Write, stderr};

use crate::error::Error;
use crate::session::Note;

/// How much is said beside the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loudness {
    /// Errors alone.
    Quiet,
    /// What everybody wants to know.
    Normal,
    /// All there is.
    Verbose,
}

impl Loudness {
    /// Prints a note if it is meant for this loudness.
    pub fn note(self, note: &Note) {
        let line = match note {
            Note::Info(text) if self >= Loudness::Normal => format!("[INFO] {text}\n"),
            Note::Detail(text) if self >= Loudness::Verbose => format!("[VERBOSE] {text}\n"),
            _ => return,
        };
        let _ = stderr().write_all(line.as_bytes());
    }
}

/// Prints an error.
pub fn complain(error: &Error) {
    let _ = stderr().write_all(format!("{error}\n").as_bytes());
}
