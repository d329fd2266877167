//! How the parser goes through the tokens, and how deep it lets them nest.
use std::sync::Arc;

use super::fault::{Fault, Kind, Result};
use super::parser::Parser;
use super::token::TokenKind;

/// Blocks and bracketed expressions inside one another.
const DEPTH: usize = 200;

/// Operators, filters, attributes and calls of one tag.
const LINKS: usize = 5_000;

impl Parser {
    pub fn kind(&self) -> &TokenKind {
        &self.tokens[self.at].kind
    }

    pub fn ahead(&self) -> &TokenKind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    pub fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    pub fn line(&self) -> usize {
        self.tokens[self.at].line
    }

    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(Kind::Syntax, message).at(self.line())
    }

    pub fn unexpected<T>(&self) -> Result<T> {
        Err(self.fault(match self.kind() {
            TokenKind::Name(name) => format!("unexpected '{name}'"),
            TokenKind::Operator(operator) => format!("unexpected '{operator}'"),
            TokenKind::End => "unexpected end of template".to_owned(),
            TokenKind::BlockEnd | TokenKind::OutputEnd => "unexpected end of tag".to_owned(),
            _ => "unexpected value".to_owned(),
        }))
    }

    pub fn is(&self, operator: &str) -> bool {
        matches!(self.kind(), TokenKind::Operator(found) if *found == operator)
    }

    pub fn is_word(&self, word: &str) -> bool {
        matches!(self.kind(), TokenKind::Name(name) if **name == *word)
    }

    pub fn skip(&mut self, operator: &str) -> bool {
        let found = self.is(operator);
        if found {
            self.advance();
        }
        found
    }

    pub fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub fn expect(&mut self, operator: &str) -> Result<()> {
        if self.skip(operator) { Ok(()) } else { self.unexpected() }
    }

    pub fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.skip_word(word) { Ok(()) } else { self.unexpected() }
    }

    pub fn expect_kind(&mut self, kind: &TokenKind) -> Result<()> {
        if self.kind() != kind {
            return self.unexpected();
        }
        self.advance();
        Ok(())
    }

    pub fn name(&mut self) -> Result<Arc<str>> {
        let TokenKind::Name(name) = self.kind().clone() else { return self.unexpected() };
        self.advance();
        Ok(name)
    }

    /// Parses one level deeper.
    pub fn deeper<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(
                Fault::limit(format!("tags or brackets lie more than {DEPTH} deep in one another")).at(self.line())
            );
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Counts an operator, filter, test, attribute or call: each nests an expression deeper, to the left.
    pub fn link(&mut self) -> Result<()> {
        self.links += 1;
        if self.links > LINKS {
            return Err(Fault::limit(format!("a tag has more than {LINKS} operators")).at(self.line()));
        }
        Ok(())
    }
}
