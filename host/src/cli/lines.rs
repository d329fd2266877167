//! `Lines`: what the user types, edited with a history on a terminal, or read from a pipe.
mod completer;
mod history;

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::PathBuf;
use std::str::Utf8Error;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

pub use completer::Vocabulary;

use super::console::Verbosity;
use crate::error::{Category, Error, Result};
use crate::session::Note;

/// Begins and ends a text of several lines.
const FENCE: &str = "\"\"\"";

/// What asks for the next line of such a text.
const WITHIN: &str = "... ";

/// Where lines come from.
pub struct Lines {
    source: Source,
    verbosity: Verbosity,
    /// What is wrong with a line of the text that is being read.
    fault: Option<Error>,
}

enum Source {
    Terminal(Box<Terminal>),
    /// A pipe or a file.
    Pipe,
}

struct Terminal {
    editor: Editor<Vocabulary, FileHistory>,
    /// The file that keeps the history, if one does.
    history: Option<PathBuf>,
    /// Lines that were pasted together with one that was taken.
    pasted: VecDeque<String>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A line, without its end.
    Line(String),
    /// A text that stood between fences: never a command.
    Block(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the pipe's end.
    End,
}

impl Lines {
    /// The lines of stdin; on a terminal the words of `vocabulary` are completed.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn of_stdin(vocabulary: Vocabulary, verbosity: Verbosity) -> Result<Lines> {
        if !stdin().is_terminal() {
            return Ok(Lines { source: Source::Pipe, verbosity, fault: None });
        }
        let config = Config::builder().completion_type(CompletionType::List).auto_add_history(false).build();
        let mut editor = Editor::with_config(config).map_err(unreadable)?;
        editor.set_helper(Some(vocabulary));
        let mut history = history::file(|name| std::env::var_os(name));
        if let Some(file) = &history
            && let Err(error) = history::load(&mut editor, file)
        {
            let file = file.display();
            verbosity.note(&Note::Info(format!(
                "What is typed is not kept in {file}: {error}; NEMOTRON_HISTORY names another file"
            )));
            history = None;
        }
        Ok(Lines {
            source: Source::Terminal(Box::new(Terminal { editor, history, pasted: VecDeque::new() })),
            verbosity,
            fault: None,
        })
    }

    /// Whether somebody sits in front of it.
    pub fn is_terminal(&self) -> bool {
        matches!(self.source, Source::Terminal(_))
    }

    /// The next line, or the next text between fences; `prompt` asks for it on a terminal.
    ///
    /// # Errors
    /// Reading failed; or, as an error of the input behind which the next line can be read, a piped line is not UTF-8.
    pub fn next(&mut self, prompt: &str) -> Result<Input> {
        let input = self.whole(prompt)?;
        self.fault.take().map_or(Ok(input), Err)
    }

    fn whole(&mut self, prompt: &str) -> Result<Input> {
        let first = match self.line(prompt)? {
            Input::Line(line) => line,
            other => return Ok(other),
        };
        let Some(first) = first.strip_prefix(FENCE) else { return Ok(Input::Line(first)) };
        let mut block = Block::new(first);
        while !block.ended() {
            match self.line(WITHIN)? {
                Input::Line(line) => block.push(&line),
                Input::End => break,
                other => return Ok(other),
            }
        }
        Ok(Input::Block(block.text))
    }

    fn line(&mut self, prompt: &str) -> Result<Input> {
        match &mut self.source {
            Source::Terminal(terminal) => terminal.line(prompt, self.verbosity),
            Source::Pipe => {
                let mut bytes = Vec::new();
                if stdin().lock().read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
                    return Ok(Input::End);
                }
                let line = String::from_utf8(bytes).unwrap_or_else(|error| {
                    self.fault = Some(broken(error.utf8_error()));
                    // The fences of a text are still seen in it.
                    String::from_utf8_lossy(error.as_bytes()).into_owned()
                });
                Ok(Input::Line(line.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}

impl Terminal {
    /// The next line. A paste is edited as a whole; where it has several lines, each is shown again when its turn comes.
    fn line(&mut self, prompt: &str, verbosity: Verbosity) -> Result<Input> {
        if let Some(line) = self.pasted.pop_front() {
            // Nobody misses the echo where stdout is closed: the answer's error says it.
            let _ = writeln!(stdout(), "{prompt}{line}");
            return self.take(line, verbosity);
        }
        match self.editor.readline(prompt) {
            Ok(typed) => {
                let mut lines = typed.split('\n').map(str::to_owned);
                let first = lines.next().unwrap_or_default();
                self.pasted.extend(lines);
                self.take(first, verbosity)
            }
            Err(ReadlineError::Interrupted) => Ok(Input::Interrupt),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// A line for the conversation and for the history.
    fn take(&mut self, line: String, verbosity: Verbosity) -> Result<Input> {
        let added = self.editor.add_history_entry(line.as_str()).map_err(unreadable)?;
        if let Some(file) = self.history.as_ref().filter(|_| added)
            && let Err(error) = self.editor.append_history(file)
        {
            verbosity.note(&Note::Info(format!("The history is not kept any more: {}: {error}", file.display())));
            self.history = None;
        }
        Ok(Input::Line(line))
    }
}

/// The text behind an opening fence, as far as it was read.
struct Block {
    text: String,
    ended: bool,
}

impl Block {
    fn new(first: &str) -> Block {
        let mut block = Block { text: String::new(), ended: false };
        match first.strip_suffix(FENCE) {
            Some(text) => block = Block { text: text.to_owned(), ended: true },
            None => block.text += first,
        }
        block
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn push(&mut self, line: &str) {
        let trimmed = line.trim_end();
        self.ended = trimmed.ends_with(FENCE);
        let line = if self.ended { &trimmed[..trimmed.len() - FENCE.len()] } else { line };
        // A fence alone in its line adds none.
        if !(self.ended && line.is_empty()) {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text += line;
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::new(Category::Io, "The next line cannot be read")
        .details(format!("stdin: {error}"))
        .hint("type a line of UTF-8 text; Ctrl-D ends the conversation")
}

fn broken(error: Utf8Error) -> Error {
    Error::new(Category::Input, "The line is not UTF-8")
        .details(format_args!("stdin: byte {} of the line starts no character", error.valid_up_to()))
        .hint("send it again as UTF-8; the conversation goes on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &[&str]) -> (String, bool) {
        let mut block = Block::new(lines[0]);
        lines[1..].iter().for_each(|line| block.push(line));
        (block.text.clone(), block.ended())
    }

    #[test]
    fn a_block_is_what_stands_between_the_fences() {
        assert_eq!(block(&["one\"\"\""]), ("one".into(), true));
        assert_eq!(block(&["", "one", "", "/two", "\"\"\" "]), ("one\n\n/two".into(), true));
        assert_eq!(block(&["one", "  two\"\"\""]), ("one\n  two".into(), true));
        assert_eq!(block(&["", "one"]), ("one".into(), false));
    }
}
