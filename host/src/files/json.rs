//! JSON as Python writes and reads it: with the bare words `NaN`, `Infinity` and `-Infinity`.
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The words, longest first where one is part of another.
const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Parses JSON. The three words of Python become texts, which no reader takes for a number by mistake; a text that a
/// number is expected in is an error which shows it. A number beyond f64's range is Python's infinity.
///
/// # Errors
/// It is not JSON, with the place in the original.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|error| {
        let Some(quoted) = quote_words(bytes, "") else { return Err(error) };
        serde_json::from_slice(&quoted)
    })
}

/// Stands in front of the three words where they are to be written again; no configuration has this character.
const MARK: &str = "\u{F0000}";

/// As [`parse`], for a value that is changed and written again with [`text`].
///
/// # Errors
/// As [`parse`].
pub fn parse_to_write(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| {
        let Some(quoted) = quote_words(bytes, MARK) else { return Err(error) };
        serde_json::from_slice(&quoted)
    })
}

/// The text of a value, with the bare words that it was read with.
pub fn text(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("a JSON value has a text") + "\n";
    let word = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    WORDS.iter().fold(text, |text, bytes| text.replace(&format!("\"{MARK}{}\"", word(bytes)), &word(bytes)))
}

/// What kind of value it is.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The text with its bare words and endless numbers between quotes, `mark` in front of each; none where there are none.
fn quote_words(bytes: &[u8], mark: &str) -> Option<Vec<u8>> {
    let mut quoted = Vec::with_capacity(bytes.len() + 16);
    let (mut at, mut found) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let length = match byte {
            b'"' => string_length(rest),
            b'-' | b'I' | b'N' | b'0'..=b'9' => rest.iter().position(|byte| is_end(*byte)).unwrap_or(rest.len()),
            _ => 1,
        };
        let token = &rest[..length];
        match word(token).filter(|_| !is_key(&rest[length..])) {
            Some(word) => {
                found = true;
                quoted.push(b'"');
                quoted.extend(mark.as_bytes());
                quoted.extend(word);
                quoted.push(b'"');
            }
            None => quoted.extend(token),
        }
        at += length;
    }
    found.then_some(quoted)
}

/// The length of the string that `text` begins with.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b':' | b'"' | b'[' | b'{') || byte.is_ascii_whitespace()
}

/// The word that a token is, or that Python makes of it.
fn word(token: &[u8]) -> Option<&'static [u8]> {
    if let Some(word) = WORDS.into_iter().find(|word| *word == token) {
        return Some(word);
    }
    let is_number = token.first()?.is_ascii_digit() || token.get(1).is_some_and(u8::is_ascii_digit);
    let number: f64 = str::from_utf8(token).ok().filter(|_| is_number)?.parse().ok()?;
    number.is_infinite().then_some(if number > 0.0 { WORDS[1] } else { WORDS[0] })
}

/// Whether what stands in front of `rest` is a key: a bare word is none in Python either.
fn is_key(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests;
