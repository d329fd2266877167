//! `Token`: what a template is made of, and what counts as blank between tokens.
use std::sync::Arc;

/// A token and its line.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub line: usize,
    pub kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Data(Arc<str>),
    BlockBegin,
    BlockEnd,
    OutputBegin,
    OutputEnd,
    Name(Arc<str>),
    Text(Arc<str>),
    Int(i128),
    Float(f64),
    Operator(&'static str),
    End,
}

/// What Python's `str.isspace` and `\s` call blank.
pub(super) fn is_blank(character: char) -> bool {
    character.is_whitespace() || ('\x1c'..='\x1f').contains(&character)
}

/// How many bytes of blanks a text begins with.
pub(super) fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_blank).len()
}

/// How much of what follows the end of a block goes with it.
pub(super) fn stripped_end(sign: Option<char>, after: &str) -> usize {
    match sign {
        Some('-') => blanks(after),
        Some('+') => 0,
        _ => usize::from(after.starts_with('\n')),
    }
}
