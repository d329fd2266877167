//! `StopTexts`: texts that end a generation; what may yet become one is held back.
use std::ops::Range;

use serde_json::Value;

use crate::error::{Category, Error, Result};
use crate::text::Tokenizer;

/// `stop_strings` of generation_config.json: a text, or a list of texts.
///
/// # Errors
/// It is something else, or one of the texts is empty.
pub fn of_checkpoint(generation_config: Option<&Value>) -> Result<Vec<String>> {
    let value = generation_config.and_then(|file| file.get("stop_strings")).unwrap_or(&Value::Null);
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let texts = match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    };
    texts.ok_or_else(|| {
        Error::new(Category::Model, "Unexpected value in config")
            .details(format_args!(
                "generation_config.json: stop_strings: expected texts that are not empty, found {value}"
            ))
            .hint("correct the file, or download it again")
    })
}

/// Refuses a stop text with a character that no token of the vocabulary writes.
///
/// # Errors
/// There is such a character.
pub fn check(tokenizer: &Tokenizer, stop: &str) -> Result<()> {
    match stop.chars().find(|character| !tokenizer.writes(*character)) {
        None => Ok(()),
        Some(character) => Err(Error::new(Category::Input, "A stop text can never come")
            .details(format_args!("{stop:?} has {character:?}, which no token of the model writes"))
            .hint("stop at another text, or leave this one out")),
    }
}

/// Watches a stream of text for the first of several texts.
///
/// Special tokens add no text to the stream. A stop text may name them all the same: it is looked for in a text that has
/// their names too, and nothing of these is ever shown.
#[derive(Clone)]
pub struct StopTexts {
    stops: Vec<String>,
    /// Text that was not shown because a stop may begin in it, with the names of special tokens that a stop names.
    held: String,
    /// Where in `held` those names are.
    hidden: Vec<Range<usize>>,
    /// Whether the stop that came is shown.
    include: bool,
    /// The stop that came, where it is a text of visible characters.
    came: Option<String>,
}

impl StopTexts {
    /// A watch for `stops`.
    ///
    /// # Errors
    /// One of them is empty.
    pub fn new(stops: Vec<String>) -> Result<StopTexts> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::new(Category::Input, "A stop text is empty")
                .details("expected at least one character, found none")
                .hint("give a text with --stop, or leave the option out"));
        }
        Ok(StopTexts { stops, held: String::new(), hidden: Vec::new(), include: false, came: None })
    }

    /// Shows the stop that comes, if `include` says so.
    pub fn including(self, include: bool) -> StopTexts {
        StopTexts { include, ..self }
    }

    /// The stop that came, where no special token is part of it.
    pub fn came(&self) -> Option<&str> {
        self.came.as_deref()
    }

    /// Whether no text can end the generation.
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// Whether a stop text has the name of this special token in it.
    pub fn mention(&self, name: &str) -> bool {
        self.stops.iter().any(|stop| stop.contains(name))
    }

    /// Takes the next piece; returns what can be shown, and whether a stop text came, of which nothing is shown.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held += piece;
        let visible = self.visible();
        // The stop that is whole first, however the text comes in pieces.
        let first = self.found(&visible).min();
        if let Some((end, start)) = first {
            let text = &visible[start..end];
            self.came = self.stops.iter().find(|stop| *stop == text).cloned();
            self.held.clear();
            self.hidden.clear();
            return (visible[..if self.include { end } else { start }].to_owned(), true);
        }
        let start = self.starts().find(|start| self.waits(*start, &visible)).unwrap_or(self.held.len());
        let shown = visible[..self.shown_before(start)].to_owned();
        self.held.drain(..start);
        self.hidden.retain(|name| name.start >= start);
        self.hidden.iter_mut().for_each(|name| *name = name.start - start..name.end - start);
        (shown, false)
    }

    /// Takes a special token that a stop text names, as [`StopTexts::push`] does. `pending` is text in front of it that
    /// later tokens may still change: it counts where the token ends the generation.
    pub fn push_hidden(&mut self, pending: &str, name: &str) -> (String, bool) {
        let mut ahead = self.clone();
        ahead.held += pending;
        ahead.hide(name);
        let (shown, stopped) = ahead.push("");
        if stopped {
            *self = ahead;
            return (shown, true);
        }
        self.hide(name);
        self.push("")
    }

    /// What was held back, once it is certain that no more text comes.
    pub fn finish(&self) -> String {
        self.visible()
    }

    fn hide(&mut self, name: &str) {
        let start = self.held.len();
        self.held += name;
        self.hidden.push(start..self.held.len());
    }

    /// The held text without names of special tokens.
    fn visible(&self) -> String {
        let mut text = String::new();
        let mut end = 0;
        for name in &self.hidden {
            text += &self.held[end..name.start];
            end = name.end;
        }
        text + &self.held[end..]
    }

    /// Bytes of the visible text in front of a place in the held one.
    fn shown_before(&self, place: usize) -> usize {
        place - self.hidden.iter().map(|name| name.end.min(place) - name.start.min(place)).sum::<usize>()
    }

    /// Places at which a stop may begin: characters, and names as a whole.
    fn starts(&self) -> impl Iterator<Item = usize> {
        self.held.char_indices().map(|(start, _)| start).filter(|start| !self.is_inside(*start))
    }

    fn is_inside(&self, place: usize) -> bool {
        self.hidden.iter().any(|name| name.start < place && place < name.end)
    }

    /// Ends and starts in the visible text of the stops that are there: of it alone, or with names.
    fn found(&self, visible: &str) -> impl Iterator<Item = (usize, usize)> {
        let plain = |stop: &String| visible.find(stop.as_str()).map(|at| (at + stop.len(), at));
        let plain: Vec<_> = self.stops.iter().filter_map(plain).collect();
        let starts = if self.hidden.is_empty() { Vec::new() } else { self.starts().collect() };
        let named = starts.into_iter().flat_map(move |start| {
            let ends = self.stops.iter().filter(move |stop| self.held[start..].starts_with(stop.as_str()));
            let ends = ends.map(move |stop| start + stop.len()).filter(|end| !self.is_inside(*end));
            ends.map(move |end| (self.shown_before(end), self.shown_before(start)))
        });
        plain.into_iter().chain(named)
    }

    /// Whether what is held from `start` on may become a stop.
    fn waits(&self, start: usize, visible: &str) -> bool {
        let (named, plain) = (&self.held[start..], &visible[self.shown_before(start)..]);
        self.stops.iter().any(|stop| stop.starts_with(named) || (!plain.is_empty() && stop.starts_with(plain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each piece shows, and the rest; the pieces after a stop are not looked at.
    fn shown(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut watch = StopTexts::new(stops).unwrap();
        let mut all = Vec::new();
        for piece in pieces {
            let (text, stopped) = watch.push(piece);
            all.push(text);
            if stopped {
                return (all, None);
            }
        }
        (all, Some(watch.finish()))
    }

    #[test]
    fn what_may_become_a_stop_is_held_back_and_no_more() {
        let rest = Some(String::new());
        assert_eq!(shown(&["END"], &["a E", "N", "x"]), (vec!["a ".into(), String::new(), "ENx".into()], rest.clone()));
        assert_eq!(shown(&["END"], &["a E", "N", "D b"]).0, ["a ", "", ""]);
        assert_eq!(shown(&["aab"], &["aa", "ab"]), (vec![String::new(), "a".into()], None));
        assert_eq!(shown(&["\n\n"], &["x\n"]), (vec!["x".into()], Some("\n".into())));
        assert_eq!(
            shown(&["むか", "し!"], &["東む", "し", "!"]),
            (vec!["東".into(), "む".into(), String::new()], None)
        );
        assert_eq!(shown(&[], &["as it is"]), (vec!["as it is".into()], rest));
    }

    #[test]
    fn the_stop_that_is_whole_first_wins() {
        for pieces in [&["a curious fox"][..], &["a cur", "ious", " fox"]] {
            assert_eq!(shown(&["curious", "a curious fox"], pieces).0.concat(), "a ");
        }
        assert_eq!(shown(&["two", "one two"], &["zero one two"]), (vec!["zero ".into()], None));
    }

    /// What is shown of pieces, of which those in brackets are names of special tokens, and whether a stop came.
    fn with_names(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut watch = StopTexts::new(stops.iter().map(|stop| (*stop).to_owned()).collect()).unwrap();
        let mut shown = String::new();
        for piece in pieces {
            let (text, stopped) = match piece.starts_with('<') {
                true if !watch.mention(piece) => continue,
                true => watch.push_hidden("", piece),
                false => watch.push(piece),
            };
            shown += &text;
            if stopped {
                return (shown, true);
            }
        }
        (shown + &watch.finish(), false)
    }

    #[test]
    fn a_stop_text_may_name_special_tokens() {
        let came = |text: &str| (text.to_owned(), true);
        let stayed = |text: &str| (text.to_owned(), false);
        assert_eq!(with_names(&["<|user|>"], &["ab", "<|user|>", "cd"]), came("ab"));
        assert_eq!(with_names(&["<|end|>\n<|user|>"], &["ab", "<|end|>", "\n", "<|user|>", "c"]), came("ab"));
        assert_eq!(with_names(&["b<|end|>"], &["a", "b", "<|end|>"]), came("a"));
        assert_eq!(with_names(&["b<|end|>c"], &["a", "b", "<|end|>", "d", "bc"]), stayed("abdbc"));
        assert_eq!(with_names(&["<|end|><|end|>"], &["a", "<|end|>", "b", "<|end|>", "<|end|>"]), came("ab"));
        // A name is no text: neither a part of it stops, nor does it part a text.
        assert_eq!(with_names(&["user"], &["a", "<|user|>", "b"]), stayed("ab"));
        assert_eq!(with_names(&["ab", "x<|user|>"], &["za", "<|user|>", "bc"]), came("z"));
        assert_eq!(with_names(&["|><|", "<|a|><|b|>"], &["<|a|>", "x", "<|b|>", "<|a|>", "<|b|>"]), came("x"));
        // The same text in ordinary tokens stops too.
        assert_eq!(with_names(&["<|user|>"], &["ab", "x<|us", "er|>"]), came("abx"));
    }

    #[test]
    fn text_that_may_change_counts_where_a_special_token_ends_it() {
        let mut watch = StopTexts::new(vec!["\u{FFFD}<|end|>".into(), "<|stop|>".into()]).unwrap();
        assert_eq!(watch.push_hidden("\u{FFFD}", "<|other|>"), (String::new(), false));
        assert_eq!(watch.clone().push_hidden("\u{FFFD}", "<|stop|>"), ("\u{FFFD}".into(), true));
        assert_eq!(watch.push_hidden("\u{FFFD}", "<|end|>"), (String::new(), true));
    }

    #[test]
    fn stop_strings_of_a_checkpoint_are_a_text_or_a_list() {
        let read = |value: Value| of_checkpoint(Some(&serde_json::json!({ "stop_strings": value })));
        assert_eq!(of_checkpoint(None).unwrap(), Vec::<String>::new());
        assert_eq!(read(Value::Null).unwrap(), Vec::<String>::new());
        assert_eq!(read("END".into()).unwrap(), ["END"]);
        assert_eq!(read(vec!["a", "b"].into()).unwrap(), ["a", "b"]);
        for wrong in [Value::from(""), 3.into(), vec![1].into(), vec![""].into()] {
            assert_eq!(read(wrong).unwrap_err().message(), "Unexpected value in config");
        }
    }

    #[test]
    fn an_empty_stop_is_refused() {
        let error = StopTexts::new(vec![String::new()]).err().unwrap();
        assert_eq!(error.message(), "A stop text is empty");
    }
}
