//! PTX text to tokens.

use super::ParseError;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token<'a> {
    /// Identifier, directive, or opcode with all its modifiers: `%r1`, `.reg`, `ld.global.L1::no_allocate.b32`.
    Word(&'a str),
    Int(u64),
    F32(u32),
    F64(u64),
    Text,
    Punct(char),
}

/// The tokens of `text`, each with its line (from 1).
pub fn lex(text: &str) -> Result<Vec<(Token<'_>, u32)>, ParseError> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut tokens) = (0, 1, Vec::new());
    while at < bytes.len() {
        let c = bytes[at];
        if c == b'\n' {
            line += 1;
            at += 1;
        } else if c.is_ascii_whitespace() || c == 0 {
            at += 1;
        } else if let Some(end) = comment_end(text, at) {
            line += text[at..end].matches('\n').count() as u32;
            at = end;
        } else {
            let (token, end) = token(text, at).ok_or_else(|| {
                let shown: String = text[at..].chars().take(20).collect();
                ParseError::new(line, format!("cannot read {shown:?}"))
            })?;
            tokens.push((token, line));
            line += text[at..end].matches('\n').count() as u32;
            at = end;
        }
    }
    Ok(tokens)
}

fn comment_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with("//") {
        return Some(at + rest.find('\n').unwrap_or(rest.len()));
    }
    rest.starts_with("/*").then(|| at + rest.find("*/").map_or(rest.len(), |end| end + 2))
}

fn token(text: &str, at: usize) -> Option<(Token<'_>, usize)> {
    let bytes = text.as_bytes();
    match bytes[at] {
        b'"' => {
            let end = at + 2 + text[at + 1..].find('"')?;
            Some((Token::Text, end))
        }
        b'0'..=b'9' => number(text, at),
        c if is_word_start(c) => {
            let end = word_end(bytes, at);
            Some((Token::Word(&text[at..end]), end))
        }
        c if c.is_ascii_punctuation() => Some((Token::Punct(c as char), at + 1)),
        _ => None,
    }
}

fn is_word_start(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

/// `::` continues a word (`L1::no_allocate`); a single colon ends it (a label).
fn word_end(bytes: &[u8], at: usize) -> usize {
    let part = |c: u8| is_word_start(c) || c.is_ascii_digit();
    let mut end = at + 1;
    while end < bytes.len() {
        if part(bytes[end]) {
            end += 1;
        } else if bytes[end..].starts_with(b"::") && bytes.get(end + 2).is_some_and(|&c| part(c)) {
            end += 2;
        } else {
            break;
        }
    }
    end
}

fn number(text: &str, at: usize) -> Option<(Token<'_>, usize)> {
    let bytes = text.as_bytes();
    let mut end = at;
    while end < bytes.len() && (bytes[end].is_ascii_alphanumeric() || bytes[end] == b'.') {
        end += 1;
    }
    let word = &text[at..end];
    let prefix = word.get(..2).map(str::to_ascii_lowercase);
    let token = match prefix.as_deref() {
        Some("0f") => Token::F32(u32::from_str_radix(&word[2..], 16).ok()?),
        Some("0d") => Token::F64(u64::from_str_radix(&word[2..], 16).ok()?),
        Some("0x") => Token::Int(u64::from_str_radix(word[2..].trim_end_matches(['U', 'u']), 16).ok()?),
        Some("0b") => Token::Int(u64::from_str_radix(word[2..].trim_end_matches(['U', 'u']), 2).ok()?),
        _ if word.contains('.') => Token::F64(word.parse::<f64>().ok()?.to_bits()),
        _ => {
            let digits = word.trim_end_matches(['U', 'u']);
            let radix = if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 };
            Token::Int(u64::from_str_radix(digits, radix).ok()?)
        }
    };
    Some((token, end))
}
