//! `Prompt`: what is to be continued, and `Texts`, which turn it into ids and ids into text.
use std::path::Path;

use serde_json::{Map, Value, json};

use super::answer::Answer;
use crate::error::Result;
use crate::text::{ChatTemplate, Tokenizer};

/// What is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text, with what the tokenizer's post-processor puts around it, such as `<s>`.
    Text(String),
    /// A text as it is.
    Raw(String),
    /// Messages that the model is to answer, as its chat template writes them.
    Chat(Vec<Value>),
}

impl Prompt {
    /// A question of a user, after a system turn if there is a text for it: an empty one changes answers.
    pub fn question(system: Option<&str>, text: &str) -> Prompt {
        let system = system.map(|text| json!({ "role": "system", "content": text }));
        Prompt::Chat(system.into_iter().chain([json!({ "role": "user", "content": text })]).collect())
    }
}

/// The tokenizer, the chat template, and the texts that end every answer.
pub struct Texts {
    pub(super) tokenizer: Tokenizer,
    pub(super) template: Result<ChatTemplate>,
    /// Turn ends of the template that are no tokens.
    pub(super) stops: Vec<String>,
}

impl Texts {
    /// Reads a checkpoint's tokenizer and template; a template that cannot be used is an error where it is needed.
    /// A file that the user names replaces it.
    ///
    /// # Errors
    /// There is no tokenizer that can be used, or the user's template cannot be.
    pub fn open(directory: &Path, template: Option<&Path>) -> Result<Texts> {
        let tokenizer = Tokenizer::open(directory)?;
        let template = match template {
            None => ChatTemplate::open(directory),
            Some(file) => Ok(ChatTemplate::open_file(directory, file)?),
        };
        Ok(Texts { tokenizer, template, stops: Vec::new() })
    }

    /// As [`Texts::open`], of a model: a directory, or `org/name` of Hugging Face's cache. Weights are not looked at.
    ///
    /// # Errors
    /// There is no such model, and those of [`Texts::open`].
    pub fn of_model(model: &str, template: Option<&Path>) -> Result<Texts> {
        Texts::open(&crate::checkpoint::directory(model)?, template)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Ids of a prompt; none for no text, of which the post-processor would make one too.
    ///
    /// # Errors
    /// There is no template, it refuses the messages, or the tokenizer cannot take the text.
    pub fn encode(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        match prompt {
            Prompt::Text(text) | Prompt::Raw(text) if text.is_empty() => Ok(Vec::new()),
            Prompt::Text(text) => self.tokenizer.encode(text, true),
            Prompt::Raw(text) => self.tokenizer.encode(text, false),
            Prompt::Chat(messages) => {
                let mut context = Map::new();
                context.insert("messages".into(), json!(messages));
                context.insert("add_generation_prompt".into(), true.into());
                let rendered = self.template.as_ref().map_err(Clone::clone)?.render(&context)?;
                self.tokenizer.encode(&rendered, false)
            }
        }
    }

    /// The text of what follows `prompt`, until one of `stop` comes or one that ends every answer.
    ///
    /// # Errors
    /// A stop text is empty, too many log-probabilities are asked for, or the prompt cannot be decoded.
    pub(super) fn answer(&self, prompt: &[u32], stop: &[String], logprobs: Option<usize>) -> Result<Answer<'_>> {
        Answer::new(&self.tokenizer, prompt, [&self.stops[..], stop].concat(), logprobs)
    }
}
