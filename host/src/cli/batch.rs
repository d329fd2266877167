//! `--batch`: a prompt per line, or an object per line with parameters of its own; a JSON object per line comes out.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write, stdin};
use std::path::Path;

use super::console::Loudness;
use super::failure::Failure;
use super::generate::FormArguments;
use super::line::Line;
use super::progress::Prompts;
use super::report::{error_object, numbered, result_object};
use crate::error::{Category, Error, Result};
use crate::session::{GenerateOptions, Session};

/// How a batch is read and written.
pub struct BatchOptions<'a> {
    /// How a prompt becomes ids where its line does not say.
    pub form: &'a FormArguments,
    /// Whether the prompt stands in front of each text.
    pub echo: bool,
    /// Whether each object has its times.
    pub timings: bool,
    /// Whether progress is shown.
    pub loudness: Loudness,
}

/// Continues every line and writes the results in the order of the lines.
pub fn run(
    session: &mut Session,
    mut lines: Lines,
    batch: &BatchOptions,
    defaults: &GenerateOptions,
    out: &mut impl Write,
) -> std::result::Result<(), Failure> {
    let echoes = RefCell::new(VecDeque::new());
    let requests = std::iter::from_fn(|| {
        let request = lines.next()?.and_then(|line| {
            let echo = if batch.echo { line.echo() } else { String::new() };
            Ok((echo, line.over(defaults, batch.form).map_err(|what| lines.bad(what))?))
        });
        let (echo, request) = match request {
            Ok((echo, request)) => (echo, Ok(request)),
            Err(error) => (String::new(), Err(error)),
        };
        echoes.borrow_mut().push_back(echo);
        Some(request)
    });
    let mut index = 0;
    let mut progress = Prompts::new(None, batch.loudness);
    session.generate_batch(requests, &defaults.interrupt, |result| {
        let echo = echoes.borrow_mut().pop_front().unwrap_or_default();
        let (tokens, object) = match result {
            Ok(generation) => (generation.ids.len(), result_object(&generation, &echo, batch.timings)),
            Err(error) => (0, error_object(&error)),
        };
        let line = numbered(index, object);
        index += 1;
        progress.done(tokens, || writeln!(out, "{line}").and_then(|()| out.flush())).map_err(Failure::from)
    })
}

/// The lines of a batch.
pub struct Lines {
    name: String,
    reader: Box<dyn BufRead>,
    number: u64,
    /// Whether they are JSON: the first line says so.
    json: Option<bool>,
}

impl Lines {
    /// The lines of a file, `-` for stdin.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Lines> {
        let stdin_wanted = path == Path::new("-");
        let name = if stdin_wanted { "stdin".to_owned() } else { path.display().to_string() };
        let reader: Box<dyn BufRead> = if stdin_wanted {
            Box::new(BufReader::new(stdin()))
        } else {
            Box::new(BufReader::new(File::open(path).map_err(|error| unreadable(&name, &error))?))
        };
        Ok(Lines { name, reader, number: 0, json: None })
    }

    fn next(&mut self) -> Option<Result<Line>> {
        let mut line = Vec::new();
        self.number += 1;
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(self.understand(line)),
            Err(error) => Some(Err(unreadable(&self.name, &error))),
        }
    }

    fn understand(&mut self, line: Vec<u8>) -> Result<Line> {
        let line = String::from_utf8(line).map_err(|error| {
            self.bad(format_args!("byte {} of the line starts no character", error.utf8_error().valid_up_to()))
        })?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if *self.json.get_or_insert(line.starts_with('{')) {
            serde_json::from_str(line).map_err(|error| self.bad(error))
        } else {
            Ok(Line::of_prompt(line))
        }
    }

    /// The error of the line that was read last.
    fn bad(&self, what: impl std::fmt::Display) -> Error {
        Error::new(Category::Input, "A line of the batch is not understood")
            .details(format_args!("{}, line {}: {what}", self.name, self.number))
            .hint("each line is a prompt, or each an object such as {\"prompt\": \"Hello\", \"temperature\": 0.7}")
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::new(Category::Io, "The batch cannot be read")
        .details(format_args!("{name}: {error}"))
        .hint("name a text file with --batch, or - for stdin")
}
