//! Streaming: pieces of text to an output at once, and Ctrl-C, which ends a generation.
use std::io::{IsTerminal, Write, stdout};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::console::Verbosity;
use super::failure::Failure;
use crate::error::{Category, Error, Result};
use crate::session::{Generation, Note};
use crate::text::{Parts, Reasoning};

/// The exit code of a program that SIGINT ended.
pub const INTERRUPTED: u8 = 130;

/// How long a generation may take to end before the user is told what else to do.
const PATIENCE: Duration = Duration::from_millis(300);

/// Writes each piece of what `generate` gives at once; where nobody reads any more, the generation ends too.
pub fn stream(
    out: &mut impl Write,
    interrupt: &AtomicBool,
    mut dimmed: Dimmed,
    generate: impl FnOnce(&mut dyn FnMut(&str)) -> Result<Generation>,
) -> std::result::Result<Generation, Failure> {
    let mut written = Ok(());
    let mut write = |text: &str| {
        if written.is_ok() {
            written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
        if written.is_err() {
            interrupt.store(true, Ordering::Relaxed);
        }
    };
    let generation = generate(&mut |piece| dimmed.piece(piece, &mut write))?;
    dimmed.end(&mut write);
    written?;
    Ok(generation)
}

/// What stands around reasoning on a terminal.
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Shows reasoning dimmed, and the answer in a paragraph of its own, where stdout is a terminal and NO_COLOR is not set;
/// elsewhere a text is written as it is.
pub struct Dimmed {
    reasoning: Option<Reasoning>,
    thought: bool,
    answered: bool,
}

impl Dimmed {
    /// A text whose parts `reasoning` tells apart.
    pub fn on_terminal(reasoning: Option<Reasoning>) -> Dimmed {
        let has_colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Dimmed { reasoning: reasoning.filter(|_| has_colour), thought: false, answered: false }
    }

    /// Calls `show` with a piece as it is to be seen.
    pub fn piece(&mut self, piece: &str, show: &mut dyn FnMut(&str)) {
        match self.reasoning.as_mut().map(|reasoning| reasoning.push(piece)) {
            None => show(piece),
            Some(parts) => self.parts(&parts, show),
        }
    }

    /// Calls `show` with the rest that was held back.
    pub fn end(mut self, show: &mut dyn FnMut(&str)) {
        if let Some(reasoning) = self.reasoning.take() {
            self.parts(&reasoning.finish(), show);
        }
    }

    fn parts(&mut self, Parts { reasoning, answer }: &Parts, show: &mut dyn FnMut(&str)) {
        if !reasoning.is_empty() {
            show(&format!("{DIM}{reasoning}{PLAIN}"));
            self.thought = true;
        }
        if !answer.is_empty() {
            if self.thought && !self.answered {
                show("\n\n");
            }
            show(answer);
            self.answered = true;
        }
    }
}

/// A flag that Ctrl-C sets; a second Ctrl-C while it is set ends the program at once.
pub fn interrupt(verbosity: Verbosity) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let handlers = flag.clone();
    let handler = move || {
        if handlers.swap(true, Ordering::Relaxed) {
            exit(INTERRUPTED.into());
        }
        let still = handlers.clone();
        let reminder = move || {
            thread::sleep(PATIENCE);
            if still.load(Ordering::Relaxed) {
                verbosity.note(&Note::Info("Interrupted; Ctrl-C again to quit at once".to_owned()));
            }
        };
        // Without a thread nobody is reminded, and Ctrl-C works all the same.
        let _ = thread::Builder::new().spawn(reminder);
    };
    ctrlc::set_handler(handler).map_err(|error| {
        Error::new(Category::Io, "Ctrl-C cannot be handled").details(error).hint("another handler is installed")
    })?;
    Ok(flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_dimmed_and_the_answer_stands_apart() {
        let mut dimmed = Dimmed { reasoning: Some(Reasoning::behind("<think>\n")), thought: false, answered: false };
        let mut seen = String::new();
        for piece in ["Why", " not?\n</thi", "nk>\n\nBlue", " sky"] {
            dimmed.piece(piece, &mut |text| seen += text);
        }
        dimmed.end(&mut |text| seen += text);
        assert_eq!(seen, "\x1b[2mWhy\x1b[0m\x1b[2m not?\x1b[0m\n\nBlue sky");
    }
}
