//! `--batch`: a prompt per line, or an object per line with parameters of its own; a JSON object per line comes out.
mod arrivals;
mod results;
mod text;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::Ordering;

use super::console::Verbosity;
use super::failure::Failure;
use super::line::{Line, LineHead};
use super::numbers;
use super::progress::Prompts;
use super::prompt::FormArguments;
use crate::error::{Category, Error, Result};
use crate::session::{Arrival, Finish, GenerateOptions, Generation, Note, Session};
use arrivals::{Arrivals, Came, bad_line};
use results::Results;
pub use text::Text;

/// Bytes of a line, unless the context holds more: names and parameters stand in it beside the prompt.
const SHORT_LINE: usize = 1 << 20;

/// Most bytes of JSON for a byte of text: `\u0000`.
const ESCAPED: usize = 6;

/// Most bytes of a line, whatever the context.
const LONGEST_LINE: usize = 64 << 20;

/// How a batch is read and written.
pub struct BatchOptions<'a> {
    /// The model, as the command line names it.
    pub model: &'a str,
    /// How a prompt becomes ids where its line does not say.
    pub form: &'a FormArguments,
    /// Whether the prompt stands in front of each text.
    pub echo: bool,
    /// Whether each object has its times.
    pub timings: bool,
    /// Whether progress is shown.
    pub verbosity: Verbosity,
}

/// Continues every line and writes the results in the order of the lines, each as soon as it is there.
///
/// # Errors
/// The device failed, the results cannot be written, a line failed, or the batch was interrupted.
pub fn run(
    session: &mut Session,
    text: Text,
    batch: &BatchOptions,
    defaults: &GenerateOptions,
    out: &mut impl Write,
) -> std::result::Result<(), Failure> {
    let longest = session.longest_prompt().saturating_mul(ESCAPED).saturating_add(SHORT_LINE).min(LONGEST_LINE);
    let arrivals = Arrivals::of(text, longest)?;
    let heads = RefCell::new(VecDeque::new());
    let source = |wait| match arrivals.next(wait) {
        Came::Nothing => Arrival::Later,
        Came::End => Arrival::End,
        Came::Line(number, text) => {
            let (head, request) = match text.map(|text| Line::read(&text)) {
                Err(error) => (LineHead::default(), Err(error)),
                Ok(line) => (
                    line.head.clone(),
                    line.over(defaults, batch.form).map_err(|what| bad_line(arrivals.name(), number, what)),
                ),
            };
            heads.borrow_mut().push_back((number, head));
            Arrival::Request(Box::new(request))
        }
    };
    let BatchOptions { model, echo, timings, verbosity, .. } = *batch;
    let results = Results { model, batch: numbers::chance(), echo, timings };
    let mut count = Count::default();
    let mut progress = Prompts::new(None, verbosity);
    session.generate_arriving(source, &defaults.interrupt, |result| {
        let (number, head) = heads.borrow_mut().pop_front().unwrap_or_default();
        let object = results.object(count.all, &head, &result);
        let tokens = result.as_ref().map_or(0, |generation| generation.ids.len());
        count.add(arrivals.name(), number, result);
        progress.done(tokens, || writeln!(out, "{object}").and_then(|()| out.flush())).map_err(Failure::from)
    })?;
    drop(progress);
    if defaults.interrupt.load(Ordering::Relaxed) {
        verbosity.note(&Note::Info(count.interrupted()));
        return Err(Failure::Interrupted);
    }
    count.end().map_err(Failure::from)
}

/// What became of the lines.
#[derive(Default)]
struct Count {
    all: usize,
    cut: usize,
    failed: usize,
    /// What was wrong with the first that failed.
    first: String,
}

impl Count {
    fn add(&mut self, name: &str, number: u64, result: Result<Generation>) {
        self.all += 1;
        match result {
            Ok(generation) => self.cut += usize::from(generation.finish == Finish::Interrupted),
            Err(error) => {
                if self.failed == 0 {
                    let place = format!("{name}, line {number}");
                    let details = error.details_text();
                    let place = if details.starts_with(&place) { String::new() } else { format!("{place}: ") };
                    self.first = format!("{}: {place}{details}", error.message());
                }
                self.failed += 1;
            }
        }
    }

    fn interrupted(&self) -> String {
        let done = self.all - self.cut - self.failed;
        format!(
            "Interrupted: {done} of the {} that were begun are done, {} were cut, {} failed",
            lines(self.all),
            self.cut,
            self.failed
        )
    }

    /// An error if a line failed.
    fn end(self) -> Result<()> {
        match self.failed {
            0 => Ok(()),
            failed => Err(Error::new(Category::Input, format!("{failed} of {} failed", lines(self.all)))
                .details(format_args!("the first: {}", self.first))
                .hint("each has an error in its place among the results; the others are done")),
        }
    }
}

fn lines(count: usize) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}
