//! Upper, lower, title and other case, and what kinds of letters a text has.
use super::fault::{Fault, Result};
use super::print::is_printable;
use super::token::is_blank;

/// The text in another case, where `method` asks for one.
pub(super) fn changed(text: &str, method: &str) -> Option<String> {
    Some(match method {
        "upper" => text.to_uppercase(),
        "lower" => text.to_lowercase(),
        "capitalize" => capitalized(text),
        "title" => titled(text),
        "casefold" => text.chars().map(folded).collect(),
        "swapcase" => swapped(text),
        _ => return None,
    })
}

/// First character in title case, the others in lower case.
pub(super) fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next();
    // The whole text decides how a final sigma is written.
    let rest = first.map_or(String::new(), |first| {
        let lower = text.to_lowercase();
        let skipped: usize = first.to_lowercase().map(char::len_utf8).sum();
        lower.get(skipped..).unwrap_or("").to_owned()
    });
    first.map_or(String::new(), title) + &rest
}

/// The title case of a character; of most it is the upper case.
fn title(character: char) -> String {
    match character {
        'Ǆ'..='ǆ' => "ǅ".to_owned(),
        'Ǉ'..='ǉ' => "ǈ".to_owned(),
        'Ǌ'..='ǌ' => "ǋ".to_owned(),
        'Ǳ'..='ǳ' => "ǲ".to_owned(),
        // Georgian letters have an upper case and are their own title case.
        '\u{10d0}'..='\u{10fa}' | '\u{10fd}'..='\u{10ff}' => character.to_string(),
        // Greek with an iota below keeps it.
        '\u{1f80}'..='\u{1faf}' | 'ᾳ' | 'ῃ' | 'ῳ' => with_iota(character).to_string(),
        'ŉ' => "ʼN".to_owned(),
        _ => {
            let mut upper = character.to_uppercase();
            upper.next().map_or(String::new(), |first| first.to_string() + &upper.collect::<String>().to_lowercase())
        }
    }
}

fn with_iota(character: char) -> char {
    match character {
        'ᾳ' => 'ᾼ',
        'ῃ' => 'ῌ',
        'ῳ' => 'ῼ',
        _ => char::from_u32(u32::from(character) | 8).unwrap_or(character),
    }
}

fn titled(text: &str) -> String {
    let lower_whole = |part: &str| part.to_lowercase();
    let mut titled = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, titled: &mut String| {
        let mut characters = word.chars();
        if let Some(first) = characters.next() {
            *titled += &title(first);
            let lower = lower_whole(word);
            let skipped: usize = first.to_lowercase().map(char::len_utf8).sum();
            *titled += lower.get(skipped..).unwrap_or("");
        }
        word.clear();
    };
    for character in text.chars() {
        if is_cased(character) {
            word.push(character);
        } else {
            flush(&mut word, &mut titled);
            titled.push(character);
        }
    }
    flush(&mut word, &mut titled);
    titled
}

fn folded(character: char) -> String {
    match character {
        'ı' => character.to_string(),
        'ς' => "σ".to_owned(),
        'ẞ' => "ss".to_owned(),
        _ if character.is_ascii() => character.to_ascii_lowercase().to_string(),
        _ => character.to_uppercase().flat_map(char::to_lowercase).collect(),
    }
}

fn swapped(text: &str) -> String {
    let mut swapped = String::new();
    for (at, character) in text.char_indices() {
        if character == 'Σ' {
            let after_letter = text[..at].chars().next_back().is_some_and(is_cased);
            let before_letter = text[at..].chars().nth(1).is_some_and(is_cased);
            swapped.push(if after_letter && !before_letter { 'ς' } else { 'σ' });
        } else if character.is_uppercase() {
            swapped.extend(character.to_lowercase());
        } else {
            swapped.extend(character.to_uppercase());
        }
    }
    swapped
}

fn is_title(character: char) -> bool {
    matches!(character, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}' | '\u{1fa8}'..='\u{1faf}' | 'ᾼ' | 'ῌ' | 'ῼ')
}

fn is_cased(character: char) -> bool {
    character.is_uppercase() || character.is_lowercase() || is_title(character)
}

/// Whether the text is what `method` asks for.
pub(super) fn is(text: &str, method: &str) -> Result<bool> {
    let all = |is_one: &dyn Fn(char) -> bool| !text.is_empty() && text.chars().all(is_one);
    Ok(match method {
        "isascii" => text.is_ascii(),
        "isspace" => all(&is_blank),
        "isprintable" => text.chars().all(is_printable),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || is_title(c)),
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || is_title(c)),
        "istitle" => is_titled(text),
        _ => {
            // Rust's categories are wider than Python's for marks and numbers of other scripts.
            let doubtful = |c: char| !c.is_ascii() && (c.is_numeric() || (c.is_alphabetic() && !is_plain_letter(c)));
            if text.chars().any(doubtful) {
                return Err(Fault::unsupported(format!("{method} of these characters")));
            }
            match method {
                "isalpha" => all(&char::is_alphabetic),
                "isalnum" => all(&char::is_alphanumeric),
                "isdecimal" | "isdigit" | "isnumeric" => all(&|c| c.is_ascii_digit()),
                "isidentifier" => {
                    let first = text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic());
                    first && text.chars().all(|c| c == '_' || c.is_alphanumeric())
                }
                _ => return Err(Fault::unsupported(format!("str.{method}"))),
            }
        }
    })
}

/// Letters of the scripts whose alphabetic characters are all letters.
fn is_plain_letter(character: char) -> bool {
    matches!(character, '\u{aa}'..='\u{2af}' | '\u{370}'..='\u{481}' | '\u{48a}'..='\u{556}' | '\u{1e00}'..='\u{1fff}'
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{5d0}'..='\u{5ea}' | '\u{620}'..='\u{64a}' | '\u{fb00}'..='\u{fb06}')
}

fn is_titled(text: &str) -> bool {
    let (mut any, mut after_cased) = (false, false);
    for character in text.chars() {
        if character.is_uppercase() || is_title(character) {
            if after_cased {
                return false;
            }
            (any, after_cased) = (true, true);
        } else if character.is_lowercase() {
            if !after_cased {
                return false;
            }
            any = true;
        } else {
            after_cased = false;
        }
    }
    any
}
