//! Source → tokens outside of tags: text, comments, raw blocks, and the whitespace around them.
use super::fault::{Fault, Kind, Result};
use super::tag::Tag;
use super::token::{Token, TokenKind, blanks, is_blank, stripped_end};

/// The tokens of a template whose blocks trim as transformers sets it up: `trim_blocks`, `lstrip_blocks`.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>> {
    let source = with_line_feeds(source);
    let mut lexer = Lexer { source: &source, at: 0, line: 1, line_starting: true, tokens: Vec::new() };
    while lexer.next()? {}
    let line = lexer.line;
    lexer.tokens.push(Token { line, kind: TokenKind::End });
    Ok(lexer.tokens)
}

/// Every line end is `\n`, and the last one is dropped.
fn with_line_feeds(source: &str) -> String {
    let mut text = source.replace("\r\n", "\n").replace('\r', "\n");
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    /// Whether what was read last ends a line.
    line_starting: bool,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn fault(&self, message: &str) -> Fault {
        Fault::new(Kind::Syntax, message).at(self.line)
    }

    fn push(&mut self, kind: TokenKind) {
        self.tokens.push(Token { line: self.line, kind });
    }

    /// Moves on by `count` bytes.
    fn skip(&mut self, count: usize) {
        let passed = &self.rest()[..count];
        self.line += passed.matches('\n').count();
        self.line_starting = if count > 0 { passed.ends_with('\n') } else { self.line_starting };
        self.at += count;
    }

    /// Reads up to and with the next tag; false at the end.
    fn next(&mut self) -> Result<bool> {
        let rest = self.rest();
        let Some(start) = tag_start(rest) else {
            if !rest.is_empty() {
                self.push(TokenKind::Data(rest.into()));
            }
            return Ok(false);
        };
        let (text, tag) = rest.split_at(start);
        let sign = sign_of(&tag[2..]);
        self.data(text, sign, !tag.starts_with("{{"));
        self.skip(start);
        let opening = 2 + sign.map_or(0, char::len_utf8);
        match &tag[..2] {
            "{#" => self.comment(opening)?,
            "{%" if raw_length(&tag[opening..], "raw").is_some() => self.raw(opening)?,
            opener => {
                let (begin, end) = match opener {
                    "{%" => (TokenKind::BlockBegin, TokenKind::BlockEnd),
                    _ => (TokenKind::OutputBegin, TokenKind::OutputEnd),
                };
                self.push(begin);
                self.skip(opening);
                let mut tag = Tag::new(self.rest(), self.line, end);
                let length = tag.read(&mut self.tokens)?;
                self.skip(length);
            }
        }
        Ok(true)
    }

    /// Text in front of a tag, without what the tag strips from it.
    fn data(&mut self, text: &str, sign: Option<char>, is_block: bool) {
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let blank = &text[line..];
        let text = match sign {
            Some('-') => text.trim_end_matches(is_blank),
            None if is_block && (line > 0 || self.line_starting) && blank.chars().all(is_blank) => &text[..line],
            _ => text,
        };
        if !text.is_empty() {
            self.push(TokenKind::Data(text.into()));
        }
    }

    fn comment(&mut self, opening: usize) -> Result<()> {
        let rest = &self.rest()[opening..];
        let end = rest.find("#}").ok_or_else(|| self.fault("Missing end of comment tag"))?;
        let sign = rest[..end].chars().next_back();
        let after = stripped_end(sign, &rest[end + 2..]);
        self.skip(opening + end + 2 + after);
        Ok(())
    }

    fn raw(&mut self, opening: usize) -> Result<()> {
        let tag = &self.rest()[opening..];
        let length = raw_length(tag, "raw").unwrap_or(0);
        let strips = tag[..length].ends_with("-%}");
        let after = if strips { blanks(&tag[length..]) } else { 0 };
        self.skip(opening + length + after);
        let rest = self.rest();
        for (start, _) in rest.match_indices("{%") {
            let sign = sign_of(&rest[start + 2..]);
            let opening = start + 2 + sign.map_or(0, char::len_utf8);
            let Some(length) = raw_length(&rest[opening..], "endraw") else { continue };
            self.data(&rest[..start], sign, true);
            let end = opening + length;
            let closing = rest[opening..end - 2].chars().next_back();
            self.skip(end + stripped_end(closing, &rest[end..]));
            return Ok(());
        }
        Err(self.fault("Missing end of raw directive"))
    }
}

/// Where the next tag starts.
fn tag_start(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| matches!(text.as_bytes().get(at + 1), Some(b'%' | b'#' | b'{')))
}

fn sign_of(text: &str) -> Option<char> {
    text.chars().next().filter(|sign| matches!(sign, '-' | '+'))
}

/// The length of ` word %}` where the text begins with that.
fn raw_length(text: &str, word: &str) -> Option<usize> {
    let after = text.trim_start_matches(is_blank).strip_prefix(word)?.trim_start_matches(is_blank);
    let after =
        after.strip_prefix('-').or_else(|| after.strip_prefix('+').filter(|_| word == "endraw")).unwrap_or(after);
    let after = after.strip_prefix("%}")?;
    Some(text.len() - after.len())
}
