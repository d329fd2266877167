//! Budgets of reasoning: where it begins and ends among a model's tokens, and with which it is ended.
use std::sync::Arc;

use super::answer::Tags;
use super::prompt::Texts;
use super::think_marks::search;
use crate::engine::{ThinkingBudget, TokenMarks};
use crate::error::{Category, Error, Result};
use crate::text::{Reasoning, THINK_TAGS};

impl Texts {
    /// What bounds the reasoning behind `prompt` to so many tokens; nothing where no number is asked for.
    ///
    /// # Errors
    /// The template knows no reasoning.
    fn thinking_budget(&self, prompt: &[u32], tokens: Option<usize>, tags: Tags) -> Result<Option<ThinkingBudget>> {
        let Some(tokens) = tokens else { return Ok(None) };
        let close = THINK_TAGS[1];
        let reasoning = self.reasoning(prompt)?.ok_or_else(|| {
            Error::new(Category::Input, "The model does not reason")
                .details(format_args!("thinking-budget: expected a chat template with {close}, found one without"))
                .hint("leave --thinking-budget out; in a chat, /set thinking_budget -1")
        })?;
        self.bounded(&reasoning, tokens, tags).map(Some)
    }

    /// As [`Texts::thinking_budget`]; where an answer is `constrained` also without a bound.
    ///
    /// # Errors
    /// As [`Texts::thinking_budget`].
    pub(super) fn thinking(
        &self,
        prompt: &[u32],
        tokens: Option<usize>,
        constrained: bool,
        tags: Tags,
    ) -> Result<Option<ThinkingBudget>> {
        match tokens {
            None if constrained => self.reasoning_in_front(prompt, tags),
            _ => self.thinking_budget(prompt, tokens, tags),
        }
    }

    /// Where the reasoning behind `prompt` ends, which has no bound: a constraint holds from there on. Nothing where none may
    /// come.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    fn reasoning_in_front(&self, prompt: &[u32], tags: Tags) -> Result<Option<ThinkingBudget>> {
        match self.reasoning(prompt)?.filter(|reasoning| tags != Tags::None && !reasoning.is_closed()) {
            Some(reasoning) => self.bounded(&reasoning, usize::MAX, tags).map(Some),
            None => Ok(None),
        }
    }

    fn bounded(&self, reasoning: &Reasoning, tokens: usize, tags: Tags) -> Result<ThinkingBudget> {
        Ok(ThinkingBudget {
            tokens,
            end: self.tokenizer.encode_behind_text(THINK_TAGS[1])?.into(),
            opens: if reasoning.reasons() { None } else { Some(self.opens()?) },
            closes: self.closes(tags)?,
        })
    }

    /// What begins reasoning.
    fn opens(&self) -> Result<Arc<TokenMarks>> {
        self.think_marks.opens.get_or_init(|| search(&self.tokenizer, &THINK_TAGS[..1])).clone()
    }

    /// What ends reasoning, where those tags are told apart.
    fn closes(&self, tags: Tags) -> Result<Arc<TokenMarks>> {
        let (marks, close) = (&self.think_marks, THINK_TAGS[1]);
        match self.tool_form().filter(|_| tags == Tags::Calls).and_then(|form| form.ends_reasoning()) {
            Some(call) => marks.closes_or_calls.get_or_init(|| search(&self.tokenizer, &[close, call])).clone(),
            None => marks.closes.get_or_init(|| search(&self.tokenizer, &[close])).clone(),
        }
    }

    /// How many of the tokens `ids` behind `prompt` are reasoning, without its tags.
    ///
    /// # Errors
    /// Tokens cannot be decoded.
    pub(super) fn reasoning_tokens(&self, prompt: &[u32], ids: &[u32], tags: Tags) -> Result<usize> {
        let Some(reasoning) = self.reasoning(prompt)?.filter(|_| !ids.is_empty()) else { return Ok(0) };
        let mut behind = ids;
        if !reasoning.reasons() {
            let (opens, mut seen) = (self.opens()?, Vec::new());
            let begins = |(at, id): (usize, &u32)| opens.begins(&mut seen, *id).map(|begins| (at, begins));
            let Some((at, true)) = ids.iter().enumerate().find_map(begins) else { return Ok(0) };
            behind = &ids[at + 1..];
        }
        let (closes, mut begun, mut count) = (self.closes(tags)?, Vec::new(), 0);
        for (at, id) in behind.iter().enumerate() {
            if closes.follow(&mut begun, *id) {
                return Ok(count);
            }
            if begun.is_empty() {
                count = at + 1;
            }
        }
        Ok(behind.len())
    }

    /// `prompt` with the end of the reasoning that it begins, where there is to be none.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub(super) fn without_thinking(&self, mut prompt: Vec<u32>, budget: Option<usize>) -> Result<Vec<u32>> {
        if budget == Some(0) && self.reasoning(&prompt)?.is_some_and(|reasoning| reasoning.reasons()) {
            prompt.extend(self.tokenizer.encode_behind_text(THINK_TAGS[1])?);
        }
        Ok(prompt)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::text::Tokenizer;

    fn texts(template: &str) -> Texts {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let template = root.join(format!("tests/text/templates/{template}.jinja"));
        Texts::open(&root.join("models/storyteller"), Some(&template)).unwrap()
    }

    /// The tag is no token of this vocabulary, and is found in the ids of texts all the same.
    #[test]
    fn the_tags_are_found_in_what_the_tokenizer_makes_of_texts() {
        let texts = texts("nemotron_3_nano");
        let encode = |text: &str| texts.tokenizer.encode(text, false).unwrap();
        let budget = |prompt: &str, tags| texts.thinking_budget(&encode(prompt), Some(9), tags).unwrap().unwrap();
        let inside = budget("<think>\n", Tags::Reasoning);
        assert!(inside.opens.is_none() && inside.tokens == 9);
        // Behind a text, without the space that the tokenizer puts in front of one.
        assert_eq!([&encode("It is.\n"), &inside.end[..]].concat(), encode("It is.\n</think>"));
        assert_eq!(texts.tokenizer.decode(&[&encode("blue"), &inside.end[..]].concat()).unwrap(), "blue</think>");
        let found = |marks: &TokenMarks, text: &str| {
            let mut begun = Vec::new();
            encode(text).into_iter().any(|id| marks.follow(&mut begun, id))
        };
        for (text, closes, calls) in [
            ("It is.\n</think>\n\nBlue", true, true),
            ("blue</think>Blue", true, true),
            ("a </thin b <think> <tool_call", false, false),
            ("I ask.\n<tool_call>\n<function=", false, true),
        ] {
            assert_eq!(found(&inside.closes, text), closes, "{text}");
            assert_eq!(found(&budget("<think>\n", Tags::Calls).closes, text), calls, "{text}");
        }
        let opens = budget("Hello", Tags::Reasoning).opens.unwrap();
        let begins = |text: &str| {
            let mut seen = Vec::new();
            encode(text).into_iter().find_map(|id| opens.begins(&mut seen, id))
        };
        assert_eq!(
            (begins("\n <think>\nIt"), begins("So <think>"), begins("\n <thin")),
            (Some(true), Some(false), None)
        );
    }

    /// Right values: what the tokenizer's decoder makes of the tokens so far ends with half a character, or does not.
    #[test]
    fn tokens_that_are_parts_of_characters_are_known_as_such() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut open = 0;
        for name in ["models/storyteller", "tests/text/llama3", "tests/text/tekken"] {
            let tokenizer = Tokenizer::open(&root.join(name)).unwrap();
            let marks = search(&tokenizer, &["</think>"]).unwrap();
            let (ids, mut tail) =
                (tokenizer.encode("So: \u{1F98A}\u{1F98A}! caf\u{e9} 日本 ☃ end", false).unwrap(), Vec::new());
            for end in 1..=ids.len() {
                let text = tokenizer.decode(&ids[..end]).unwrap();
                let is_open = marks.follow_character(&mut tail, ids[end - 1]);
                assert_eq!(is_open, text.ends_with(char::REPLACEMENT_CHARACTER), "{name}: {text}");
                open += usize::from(is_open);
            }
        }
        assert!(open > 10, "{open}");
    }

    #[test]
    fn no_budget_is_an_end_in_the_prompt() {
        let texts = texts("nemotron_3_nano");
        let encode = |text: &str| texts.tokenizer.encode(text, false).unwrap();
        let prompt = encode("assistant\n<think>\n");
        let ended = texts.without_thinking(prompt.clone(), Some(0)).unwrap();
        assert_eq!(ended, encode("assistant\n<think>\n</think>"));
        assert!(!texts.reasoning(&ended).unwrap().unwrap().reasons());
        assert_eq!(texts.without_thinking(prompt.clone(), Some(1)).unwrap(), prompt);
        assert_eq!(texts.without_thinking(encode("Hello"), Some(0)).unwrap(), encode("Hello"));
    }

    #[test]
    fn a_model_that_does_not_reason_has_no_budget() {
        let texts = texts("nemotron_mini");
        let error = texts.thinking_budget(&[1], Some(3), Tags::None).unwrap_err();
        assert_eq!(error.message(), "The model does not reason");
        assert!(error.details_text().starts_with("thinking-budget: expected"), "{error}");
        assert_eq!(texts.thinking_budget(&[1], None, Tags::None).unwrap(), None);
    }
}
