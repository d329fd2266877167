//! What goes to stderr: notes, at the loudness that the user chose, and errors. A closed stderr ends nothing.
use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::session::{Note, Progress};

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

    /// What shows how far a load is, where somebody can watch it.
    pub fn progress(self) -> Option<Progress> {
        (self >= Loudness::Normal && stderr().is_terminal()).then_some(show_progress)
    }
}

/// Rewrites one line of the terminal at every further percent, and clears it at the end.
fn show_progress(done: u64, total: u64) {
    static SHOWN: AtomicU64 = AtomicU64::new(u64::MAX);
    let percent = done * 100 / total.max(1);
    if SHOWN.swap(percent, Ordering::Relaxed) == percent {
        return;
    }
    let line = if done < total { format!("\r[INFO] Copying weights: {percent} %") } else { "\r\x1b[K".to_owned() };
    let _ = stderr().write_all(line.as_bytes());
}

/// Prints an error.
pub fn complain(error: &Error) {
    let _ = stderr().write_all(format!("{error}\n").as_bytes());
}
