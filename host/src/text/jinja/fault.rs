//! `Fault`: why a template cannot be read, or why it stopped.
use std::fmt;

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The source is no Jinja, or uses what this program does not have.
    Syntax,
    /// An expression failed, as it does in Python.
    Failed,
    /// The template called `raise_exception`.
    Raised,
    /// The template needs more steps, memory or depth than any conversation does.
    Limit,
}

/// A fault with the line of the template where it happened, counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub kind: Kind,
    pub message: String,
    pub line: Option<usize>,
}

/// The result of everything in this folder that can fail.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub fn new(kind: Kind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into(), line: None }
    }

    /// An expression that Python refuses too.
    pub fn failed(message: impl Into<String>) -> Fault {
        Fault::new(Kind::Failed, message)
    }

    /// What Jinja has and this program has not: it must not print something else.
    pub fn unsupported(what: impl fmt::Display) -> Fault {
        Fault::failed(format!("{what} is not supported by this program"))
    }

    pub fn limit(message: impl Into<String>) -> Fault {
        Fault::new(Kind::Limit, message)
    }

    /// Names the line, unless an inner statement has.
    pub fn at(mut self, line: usize) -> Fault {
        self.line.get_or_insert(line);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.line {
            Some(line) if self.kind != Kind::Raised => write!(f, "line {line}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}
