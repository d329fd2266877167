//! `Lines`: what the user types, edited with a history on a terminal, or read from a pipe.
use std::io::{IsTerminal, stdin};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::error::{Category, Error, Result};

/// Where lines come from.
pub enum Lines {
    /// A terminal.
    Terminal(Box<DefaultEditor>),
    /// A pipe or a file.
    Pipe,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the pipe's end.
    End,
}

impl Lines {
    /// The lines of stdin.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn of_stdin() -> Result<Lines> {
        if !stdin().is_terminal() {
            return Ok(Lines::Pipe);
        }
        let editor = DefaultEditor::new().map_err(unreadable)?;
        Ok(Lines::Terminal(Box::new(editor)))
    }

    /// Whether somebody sits in front of it.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Lines::Terminal(_))
    }

    /// The next line; `prompt` asks for it on a terminal.
    ///
    /// # Errors
    /// Reading failed, or a piped line is not UTF-8.
    pub fn next(&mut self, prompt: &str) -> Result<Input> {
        match self {
            Lines::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => {
                    editor.add_history_entry(line.as_str()).map_err(unreadable)?;
                    Ok(Input::Line(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Input::Interrupt),
                Err(ReadlineError::Eof) => Ok(Input::End),
                Err(error) => Err(unreadable(error)),
            },
            Lines::Pipe => {
                let mut line = String::new();
                if stdin().read_line(&mut line).map_err(unreadable)? == 0 {
                    return Ok(Input::End);
                }
                Ok(Input::Line(line.trim_end_matches(['\n', '\r']).to_owned()))
            }
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> Error {
    Error::new(Category::Io, "The next line cannot be read")
        .details(format!("stdin: {error}"))
        .hint("type a line of UTF-8 text; Ctrl-D ends the conversation")
}
