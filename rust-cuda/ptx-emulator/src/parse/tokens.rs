//! A cursor over the tokens, with the questions that the parsers ask.

use super::{ParseError, lexer::Token};

pub struct Tokens<'a> {
    tokens: Vec<(Token<'a>, u32)>,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub fn new(tokens: Vec<(Token<'a>, u32)>) -> Tokens<'a> {
        Tokens { tokens, at: 0 }
    }

    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|t| t.0)
    }

    pub fn peek_second(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at + 1).map(|t| t.0)
    }

    /// Line of the next token, or of the last one at the end.
    pub fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.1)
    }

    pub fn next(&mut self) -> Option<Token<'a>> {
        self.at += 1;
        self.tokens.get(self.at - 1).map(|t| t.0)
    }

    pub fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.line(), message))
    }

    /// Takes `c` if it is next.
    pub fn accept(&mut self, c: char) -> bool {
        let found = self.peek() == Some(Token::Punct(c));
        self.at += usize::from(found);
        found
    }

    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(Token::Word(word));
        self.at += usize::from(found);
        found
    }

    pub fn expect(&mut self, c: char) -> Result<(), ParseError> {
        if self.accept(c) {
            return Ok(());
        }
        self.error(format!("expected `{c}`, found {}", self.shown()))
    }

    pub fn word(&mut self) -> Result<&'a str, ParseError> {
        match self.peek() {
            Some(Token::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.error(format!("expected a name, found {}", self.shown())),
        }
    }

    pub fn int(&mut self) -> Result<u64, ParseError> {
        match self.peek() {
            Some(Token::Int(value)) => {
                self.at += 1;
                Ok(value)
            }
            _ => self.error(format!("expected an integer, found {}", self.shown())),
        }
    }

    /// The next token as a reader of the message knows it.
    pub fn shown(&self) -> String {
        match self.peek() {
            None => "the end of the text".to_string(),
            Some(Token::Word(word)) => format!("`{word}`"),
            Some(Token::Punct(c)) => format!("`{c}`"),
            Some(Token::Int(value)) => format!("`{value}`"),
            Some(Token::F32(_) | Token::F64(_)) => "a floating-point number".to_string(),
            Some(Token::Text) => "a string".to_string(),
        }
    }

    /// Skips what is left of the current line: `.loc` and `.file` have no other end.
    pub fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.tokens[self.at].1 == line {
            self.at += 1;
        }
    }

    /// Skips through the next `c`.
    pub fn skip_through(&mut self, c: char) {
        while let Some(token) = self.next() {
            if token == Token::Punct(c) {
                return;
            }
        }
    }
}
