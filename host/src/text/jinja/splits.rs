//! How Python cuts a text: at blanks, at line ends, at tabs, at indices.
use super::arguments::whole;
use super::fault::Result;
use super::token::is_blank;
use super::value::Value;

pub(super) fn by_blanks(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let end = if parts.len() < most { rest.find(is_blank) } else { None };
        let end = end.unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_blank);
    }
    parts
}

pub(super) fn by_blanks_from_the_end(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_blank);
    while !rest.is_empty() {
        let start = match rest.char_indices().rev().find(|(_, character)| is_blank(*character)) {
            Some((at, blank)) if parts.len() < most => at + blank.len_utf8(),
            _ => 0,
        };
        parts.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_blank);
    }
    parts.reverse();
    parts
}

/// The lines of a text, by Python's idea of line ends.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end =
        |c: char| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(is_end).unwrap_or(rest.len());
        let end = rest[at..].chars().next().map_or(0, char::len_utf8);
        let end = if rest[at..].starts_with("\r\n") { 2 } else { end };
        lines.push(&rest[..if keep_ends { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    lines
}

pub(super) fn without_tabs(text: &str, size: usize) -> String {
    let mut plain = String::new();
    let mut column = 0;
    for character in text.chars() {
        match character {
            '\t' => {
                let blanks = if size > 0 { size - column % size } else { 0 };
                plain.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            _ => {
                plain.push(character);
                column = if matches!(character, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    plain
}

/// `text[start:stop]` and the number of characters in front; none where the start lies behind the end.
pub(super) fn window<'a>(
    text: &'a str,
    start: Option<&Value>,
    stop: Option<&Value>,
) -> Result<Option<(usize, &'a str)>> {
    let length = text.chars().count() as i128;
    let place = |value: Option<&Value>, default: i128| -> Result<i128> {
        let value = match value {
            None | Some(Value::None) => return Ok(default),
            Some(value) => whole(value)?,
        };
        Ok(if value < 0 { (value + length).max(0) } else { value })
    };
    let (start, stop) = (place(start, 0)?, place(stop, length)?.min(length));
    if start > stop {
        return Ok(None);
    }
    let byte = |index: i128| text.char_indices().nth(index as usize).map_or(text.len(), |(at, _)| at);
    Ok(Some((start as usize, &text[byte(start)..byte(stop)])))
}
