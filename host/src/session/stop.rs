//! `StopTexts`: texts that end a generation; what may yet become one is held back.
use crate::error::{Category, Error, Result};

/// Watches a stream of text for the first of several texts.
pub struct StopTexts {
    stops: Vec<String>,
    /// Text that was not shown because a stop may begin in it.
    held: String,
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
        Ok(StopTexts { stops, held: String::new() })
    }

    /// Whether no text can end the generation.
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// Takes the next piece; returns what can be shown, and whether a stop text came, of which nothing is shown.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held += piece;
        // The stop that is whole first, however the text comes in pieces.
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at)));
        if let Some((_, start)) = found.min() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let waits = |start: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*start..]));
        let start = self.held.char_indices().map(|(start, _)| start).find(waits).unwrap_or(self.held.len());
        let held = self.held.split_off(start);
        (std::mem::replace(&mut self.held, held), false)
    }

    /// What was held back, once it is certain that no more text comes.
    pub fn finish(self) -> String {
        self.held
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

    #[test]
    fn an_empty_stop_is_refused() {
        let error = StopTexts::new(vec![String::new()]).err().unwrap();
        assert_eq!(error.message(), "A stop text is empty");
    }
}
