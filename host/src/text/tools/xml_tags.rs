//! The tags around calls, and where one of them ends a value that may have tags in it.
use super::super::reasoning::CLOSE as THINK_END;
use super::output::may_become;

pub(super) const OPEN: &str = "<tool_call>";
pub(super) const CLOSE: &str = "</tool_call>";
pub(super) const FUNCTION: &str = "<function=";
pub(super) const FUNCTION_END: &str = "</function>";
pub(super) const PARAMETER: &str = "<parameter=";
pub(super) const PARAMETER_END: &str = "</parameter>";

/// Tags that may be tokens of their own.
pub(super) const MARKS: [&str; 2] = [OPEN, CLOSE];

/// Tags that stand inside a function or show that it has ended.
const INSIDE: [&str; 6] = [PARAMETER, FUNCTION_END, CLOSE, OPEN, FUNCTION, THINK_END];

/// Those of them that there may be; the end of reasoning if `late` says so.
pub(super) fn inside(late: Option<&str>) -> &'static [&'static str] {
    if late.is_some() { &INSIDE } else { &INSIDE[..5] }
}

/// Tags that may be cut off at the end of a text.
pub(super) const ENDS: [&str; 3] = [PARAMETER_END, FUNCTION_END, CLOSE];

/// Most bytes of the tags in front of a call and of its name, and of white space that a decision waits for.
pub(super) const MOST_HEAD: usize = 512;

/// What a tag or a place may be.
pub(super) enum Found<T> {
    Waits,
    Nothing,
    Is(T),
}

impl<T> Found<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Found::Waits => Found::Waits,
            Found::Nothing => Found::Nothing,
            Found::Is(found) => Found::Is(change(found)),
        }
    }
}

/// The name in a tag at the start of `text`, such as `<function=NAME>`, and the bytes of the tag.
pub(super) fn named<'a>(text: &'a str, tag: &str) -> Found<(usize, &'a str)> {
    let Some(rest) = text.strip_prefix(tag) else {
        return if !text.is_empty() && may_become(text, &[tag]) { Found::Waits } else { Found::Nothing };
    };
    let end = rest.find(['>', '<', '\n']);
    match end.map(|end| (rest[end..].starts_with('>'), end)) {
        Some((true, end)) if end < MOST_HEAD && !rest[..end].trim().is_empty() => {
            Found::Is((tag.len() + end + 1, rest[..end].trim()))
        }
        None if rest.len() < MOST_HEAD => Found::Waits,
        _ => Found::Nothing,
    }
}

/// Whether a value ends at a `<`. A value may have tags in it: an end counts where the form goes on behind it, and a tag
/// that does not end a value only at the start of a line.
pub(super) fn ends(held: &str, at: usize, ended: bool, inside: &[&str]) -> Found<()> {
    let text = &held[at..];
    let begins_line = at == 0 || held[..at].ends_with('\n');
    let then = |tag: &str, next: &[&str]| {
        let behind = text[tag.len()..].trim_start();
        let space = text.len() - tag.len() - behind.len();
        match () {
            () if space > MOST_HEAD || next.iter().any(|next| behind.starts_with(next)) => Found::Is(()),
            () if !behind.is_empty() && !may_become(behind, next) => Found::Nothing,
            () if ended => Found::Is(()),
            () => Found::Waits,
        }
    };
    if text.starts_with(PARAMETER_END) {
        return then(PARAMETER_END, inside);
    }
    if text.starts_with(FUNCTION_END) {
        // What stands behind a function: all that may be in one but arguments and its own end.
        return then(FUNCTION_END, if begins_line { &inside[2..] } else { &inside[2..3] });
    }
    if text.starts_with(CLOSE) {
        return if begins_line { Found::Is(()) } else { then(CLOSE, &[OPEN]) };
    }
    if begins_line && let found @ (Found::Is(_) | Found::Waits) = named(text, PARAMETER) {
        return match found {
            Found::Waits if ended => Found::Nothing,
            found => found.map(|_| ()),
        };
    }
    if text.len() > 1 || !ended {
        let waits = may_become(text, &ENDS);
        if waits {
            return Found::Waits;
        }
    }
    Found::Nothing
}
