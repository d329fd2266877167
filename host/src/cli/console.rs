//! What goes to stderr: notes, at the verbosity that the user chose, and errors. A closed stderr ends nothing.
//! Labels have a colour where stderr is a terminal and NO_COLOR is not set.
use std::io::Write;

use anstyle::{AnsiColor, Effects, Style};

use crate::error::Error;
use crate::session::Note;

const ERROR: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const WARNING: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);
const INFO: Style = AnsiColor::Green.on_default();
const DETAIL: Style = Style::new().effects(Effects::DIMMED);
const LABEL: Style = Style::new().effects(Effects::BOLD);

/// How much is said beside the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors and warnings alone.
    Quiet,
    /// What everybody wants to know.
    Normal,
    /// All there is.
    Verbose,
}

impl Verbosity {
    /// Prints a note if it is meant for this verbosity.
    pub fn note(self, note: &Note) {
        let line = match note {
            Note::Warning(text) => format!("{WARNING}[WARNING]{WARNING:#} {text}\n"),
            Note::Info(text) if self >= Verbosity::Normal => format!("{INFO}[INFO]{INFO:#} {text}\n"),
            Note::Detail(text) if self >= Verbosity::Verbose => format!("{DETAIL}[VERBOSE]{DETAIL:#} {text}\n"),
            _ => return,
        };
        let _ = anstream::stderr().write_all(line.as_bytes());
    }
}

/// Prints an error.
pub fn complain(error: &Error) {
    let mut text = format!("\n{error}\n");
    // No part of an error has a line break, so each label is found at the start of its line.
    for (label, style) in [("[ERROR]", ERROR), ("Details:", LABEL), ("Hint:", LABEL)] {
        text = text.replacen(&format!("\n{label}"), &format!("\n{style}{label}{style:#}"), 1);
    }
    let _ = anstream::stderr().write_all(text.trim_start().as_bytes());
}
