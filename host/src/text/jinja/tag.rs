//! `Tag`: the tokens inside `{{ }}` and `{% %}`.
use super::fault::{Fault, Kind, Result};
use super::token::{Token, TokenKind, blanks, is_blank, stripped_end};

/// Operators, longer ones first.
const OPERATORS: [&str; 25] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",",
];

/// A tag that is being read.
pub(super) struct Tag<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    end: TokenKind,
    open: Vec<&'static str>,
}

impl<'a> Tag<'a> {
    pub fn new(text: &'a str, line: usize, end: TokenKind) -> Tag<'a> {
        Tag { text, at: 0, line, end, open: Vec::new() }
    }

    /// Appends the tag's tokens and its end, and gives the length of all that.
    pub fn read(&mut self, tokens: &mut Vec<Token>) -> Result<usize> {
        loop {
            let length = blanks(self.rest());
            self.line += self.rest()[..length].matches('\n').count();
            self.at += length;
            if self.open.is_empty()
                && let Some(length) = self.end_length()
            {
                tokens.push(Token { line: self.line, kind: self.end.clone() });
                return Ok(self.at + length);
            }
            let line = self.line;
            let kind = self.token(tokens.last().is_some_and(|token| token.kind == TokenKind::Operator(".")))?;
            tokens.push(Token { line, kind });
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(Kind::Syntax, message).at(self.line)
    }

    fn end_length(&self) -> Option<usize> {
        let rest = self.rest();
        let sign = rest.chars().next().filter(|sign| *sign == '-' || (*sign == '+' && self.end == TokenKind::BlockEnd));
        let closer = if self.end == TokenKind::BlockEnd { "%}" } else { "}}" };
        let signed = usize::from(sign.is_some());
        let after = rest[signed..].strip_prefix(closer)?;
        let stripped = match self.end {
            TokenKind::BlockEnd => stripped_end(sign, after),
            _ if sign.is_some() => blanks(after),
            _ => 0,
        };
        Some(signed + closer.len() + stripped)
    }

    fn take(&mut self, length: usize) -> &'a str {
        let text = &self.rest()[..length];
        self.line += text.matches('\n').count();
        self.at += length;
        text
    }

    fn token(&mut self, after_dot: bool) -> Result<TokenKind> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Err(self.fault("unexpected end of template")) };
        if first.is_ascii_digit() {
            return self.number(after_dot);
        }
        if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            return Ok(TokenKind::Name(self.take(length).into()));
        }
        if matches!(first, '\'' | '"') {
            return self.string(first);
        }
        let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
        let operator = *operator.ok_or_else(|| self.fault(format!("unexpected char {first:?}")))?;
        match operator {
            "(" | "[" | "{" => self.open.push(operator),
            ")" | "]" | "}" if self.open.pop().and_then(closing) != Some(operator) => {
                return Err(self.fault(format!("unexpected '{operator}'")));
            }
            _ => (),
        }
        self.take(operator.len());
        Ok(TokenKind::Operator(operator))
    }

    fn number(&mut self, after_dot: bool) -> Result<TokenKind> {
        let rest = self.rest();
        let length = float_length(rest).filter(|_| !after_dot);
        if let Some(length) = length {
            let digits = self.take(length).replace('_', "");
            return digits.parse().map(TokenKind::Float).map_err(|_| self.fault("no number"));
        }
        let radix = match rest.get(..2).unwrap_or("").to_ascii_lowercase().as_str() {
            "0b" => 2,
            "0o" => 8,
            "0x" => 16,
            _ => 10,
        };
        let prefix = if radix == 10 { 0 } else { 2 };
        let length = prefix + digits_length(&rest[prefix..], |c| c.is_digit(radix));
        let length = if radix == 10 && rest.starts_with('0') { digits_length(rest, |c| c == '0') } else { length };
        let digits = self.take(length)[prefix..].replace('_', "");
        let parsed = i128::from_str_radix(&digits, radix);
        parsed.map(TokenKind::Int).map_err(|_| self.fault(format!("{digits} is beyond 128 bits, or no number")))
    }

    fn string(&mut self, quote: char) -> Result<TokenKind> {
        let rest = self.rest();
        let mut escaped = false;
        for (at, character) in rest.char_indices().skip(1) {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if character == quote => {
                    let text = unescaped(&rest[1..at]).map_err(|message| self.fault(message))?;
                    self.take(at + 1);
                    return Ok(TokenKind::Text(text.into()));
                }
                _ => (),
            }
        }
        Err(self.fault("a text has no end"))
    }
}

fn closing(opening: &'static str) -> Option<&'static str> {
    match opening {
        "(" => Some(")"),
        "[" => Some("]"),
        "{" => Some("}"),
        _ => None,
    }
}

/// Digits with single underscores between them.
fn digits_length(text: &str, is_digit: impl Fn(char) -> bool) -> usize {
    let mut length = 0;
    let mut after_underscore = false;
    for (at, character) in text.char_indices() {
        match character {
            '_' if at > 0 && !after_underscore => after_underscore = true,
            _ if is_digit(character) => (length, after_underscore) = (at + 1, false),
            _ => break,
        }
    }
    length
}

/// The length of a number with a fraction or an exponent.
fn float_length(text: &str) -> Option<usize> {
    let decimal = |text: &str| Some(digits_length(text, |c| c.is_ascii_digit())).filter(|length| *length > 0);
    let whole = decimal(text)?;
    let fraction = text[whole..].strip_prefix('.').and_then(decimal).map_or(0, |length| length + 1);
    let mantissa = whole + fraction;
    let exponent = text[mantissa..].strip_prefix(['e', 'E']).and_then(|rest| {
        let sign = usize::from(rest.starts_with(['+', '-']));
        Some(1 + sign + decimal(&rest[sign..])?)
    });
    let length = mantissa + exponent.unwrap_or(0);
    (length > whole).then_some(length)
}

/// Python's escapes; an unknown one stays as it stands.
fn unescaped(text: &str) -> std::result::Result<String, String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain += &rest[..at];
        let after = &rest[at + 1..];
        let Some(letter) = after.chars().next() else { break };
        rest = &after[letter.len_utf8()..];
        let simple = ["\n", "\\\\", "''", "\"\"", "a\x07", "b\x08", "f\x0c", "n\n", "r\r", "t\t", "v\x0b"];
        if let Some(pair) = simple.iter().find(|pair| pair.starts_with(letter)) {
            plain += &pair[1..];
            continue;
        }
        let (radix, most, least) = match letter {
            'x' => (16, 2, 2),
            'u' => (16, 4, 4),
            'U' => (16, 8, 8),
            '0'..='7' => (8, 3, 1),
            'N' => return Err("\\N{…} is not supported by this program".to_owned()),
            _ => {
                plain.push('\\');
                plain.push(letter);
                continue;
            }
        };
        let digits = if radix == 8 { after } else { rest };
        let length = digits.chars().take(most).take_while(|c| c.is_digit(radix)).count();
        let code = u32::from_str_radix(&digits[..length], radix).ok().filter(|_| length >= least);
        let character = code.and_then(char::from_u32);
        plain.push(character.ok_or_else(|| format!("\\{letter} names no character"))?);
        rest = &digits[length..];
    }
    Ok(plain + rest)
}

/// Whether a name may be one.
pub(super) fn is_name(name: &str) -> bool {
    name.chars().next().is_some_and(|first| !first.is_numeric() && !is_blank(first))
}
