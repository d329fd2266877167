//! Where later prompts of a conversation may part from this one: a model that keeps a state leaves snapshots of it there.
use serde_json::Value;

use super::prompt::{Prompt, Rendering};
use super::{Session, prompt::Texts};
use crate::error::Result;

impl Session {
    /// Tokens of `text`, the rendering of `messages` with so many `tokens` in all, in front of its last question, and in front of
    /// the begin of the model's turn: where that question is edited later, or the history is written otherwise. Nothing for a
    /// model that keeps no state.
    pub fn turn_ends(&self, messages: &[Value], rendering: &Rendering, text: &str, tokens: usize) -> Vec<usize> {
        let ends = self.model().spec().keeps_state().then(|| self.texts().turn_ends(messages, rendering, text, tokens));
        // Nothing is lost by a conversation that cannot be rendered otherwise, but time.
        ends.and_then(Result::ok).unwrap_or_default()
    }
}

impl Texts {
    fn turn_ends(&self, messages: &[Value], rendering: &Rendering, text: &str, tokens: usize) -> Result<Vec<usize>> {
        let mut others = Vec::new();
        if let Some(last) = messages.iter().rposition(|message| message["role"] == "user") {
            let mut edited = messages.to_vec();
            let content = edited[last]["content"].as_str().unwrap_or_default();
            edited[last]["content"] = if content.starts_with('-') { "+" } else { "-" }.into();
            others.push(self.render_with(edited, rendering.clone())?);
        }
        if rendering.generation_prompt {
            let without = Rendering { generation_prompt: false, ..rendering.clone() };
            others.push(self.render_with(messages.to_vec(), without)?);
        }
        let ends = others.iter().map(|other| self.tokens_in_front(text, common(text, other), tokens));
        ends.collect()
    }

    /// How many of the tokens of `text` surely stand in front of byte `end`.
    fn tokens_in_front(&self, text: &str, end: usize, tokens: usize) -> Result<usize> {
        let behind = self.encode(&Prompt::Raw(text[end..].to_owned()))?.len();
        // A token may stand across.
        Ok(tokens.saturating_sub(behind + 1))
    }
}

/// Bytes of the characters that both texts begin with.
fn common(text: &str, other: &str) -> usize {
    let differs = text.char_indices().zip(other.chars()).find(|((_, a), b)| a != b);
    differs.map_or(text.len().min(other.len()), |((at, _), _)| at)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_turn_ends_in_front_of_the_question_and_of_the_answer() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let messages = [
            json!({ "role": "system", "content": "Be kind." }),
            json!({ "role": "user", "content": "Hello" }),
            json!({ "role": "assistant", "content": "Hi!" }),
            json!({ "role": "user", "content": "-5 or 7, which is larger?" }),
        ];
        for (template, begin) in
            [("nemotron_3_nano", "<|im_start|>assistant\n<think>\n"), ("nemotron_mini", "<extra_id_1>Assistant\n")]
        {
            let file = root.join(format!("tests/text/templates/{template}.jinja"));
            let texts = Texts::open(&root.join("models/storyteller"), Some(&file)).unwrap();
            let rendering = Rendering::default();
            let text = texts.render_with(messages.to_vec(), rendering.clone()).unwrap();
            let ids = texts.encode(&Prompt::Raw(text.clone())).unwrap();
            let ends = texts.turn_ends(&messages, &rendering, &text, ids.len()).unwrap();
            let wanted = [text.rfind("-5 or 7").unwrap(), text.rfind(begin).unwrap()];
            for (end, wanted) in ends.into_iter().zip(wanted) {
                let front = texts.encode(&Prompt::Raw(text[..wanted].to_owned())).unwrap();
                assert!((front.len() - 3..=front.len()).contains(&end), "{template}: {end} of {}", front.len());
                assert_eq!(ids[..end], front[..end], "{template}");
            }
        }
    }
}
