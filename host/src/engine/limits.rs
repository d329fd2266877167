//! `RequestLimits`: what a request may ask for, known without the engine.
use gpu_kernels::PAGE_TOKENS;

use super::{MOST_LOGPROBS, Request};
use crate::error::{Category, Error, Result};

/// The sizes of an engine that bound a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Tokens that one sequence may have.
    pub context: usize,
    /// Ids of the model.
    pub vocab: usize,
    /// KV pages that sequences may have.
    pub pages: usize,
    /// Sequences that run at the same time.
    pub sequences: usize,
}

impl RequestLimits {
    /// Whether the engine takes `request`.
    ///
    /// # Errors
    /// The prompt is refused as [`RequestLimits::check_prompt`] says; no token is wanted, a sampling parameter or the number of log-probabilities is out
    /// of range, or more pages may be needed than there are.
    pub fn check(&self, request: &Request) -> Result<()> {
        self.check_prompt(&request.prompt)?;
        request.sampling.check(self.vocab)?;
        request.sampling.check_room(&request.eos)?;
        if let Some(found) = request.logprobs.filter(|count| *count > MOST_LOGPROBS) {
            return Err(Error::new(Category::Input, "Too many log-probabilities are asked for")
                .details(format_args!("logprobs: expected 0 to {MOST_LOGPROBS}, found {found}"))
                .hint("choose a smaller --logprobs"));
        }
        if request.max_tokens == 0 {
            return Err(Error::new(Category::Input, "Nothing is to be generated")
                .details("expected at least 1 token, found 0")
                .hint("ask for 1 token or more with --max-tokens, or max_tokens in a batch line"));
        }
        let most = request.most_tokens();
        if most == 0 {
            return Err(Error::new(Category::Input, "The prompt leaves no room for an answer")
                .details(format!(
                    "the prompt has {} tokens, and max_length of generation_config.json lets prompt and answer have {}",
                    request.prompt.len(),
                    request.sampling.constraints.max_length
                ))
                .hint(
                    "shorten the prompt, or ask for a number of tokens with --max-tokens: it goes before max_length",
                ));
        }
        let longest = request.prompt.len().saturating_add(most).min(self.context);
        let (needed, pages) = (longest.div_ceil(PAGE_TOKENS as usize), self.pages);
        if needed > pages {
            return Err(Error::new(Category::Input, "The request needs more of the cache than there is")
                .details(format!(
                    "prompt and answer may need {needed} pages of {PAGE_TOKENS} tokens, there are {pages}"
                ))
                .hint("ask for fewer tokens with --max-tokens, or shorten the prompt"));
        }
        Ok(())
    }

    /// Whether the engine takes the prompt.
    ///
    /// # Errors
    /// It is empty, has an id that the model does not know, or leaves no room for a token in the context.
    pub fn check_prompt(&self, prompt: &[u32]) -> Result<()> {
        let context = self.context;
        if prompt.is_empty() {
            return Err(Error::new(Category::Input, "The prompt is empty")
                .details("expected at least one token, found none")
                .hint("give a text with --prompt or --prompt-file"));
        }
        if prompt.len() >= context {
            return Err(Error::new(Category::Input, "The prompt is longer than the context")
                .details(format!(
                    "the prompt has {} tokens, the context {context}, of which one is for an answer",
                    prompt.len()
                ))
                .hint("shorten the prompt, or raise --context, up to what `nemotron inspect` calls context"));
        }
        let vocab = self.vocab;
        match prompt.iter().find(|&&id| id as usize >= vocab) {
            None => Ok(()),
            Some(id) => Err(Error::new(Category::Input, "The prompt has a token that the model does not know")
                .details(format!("token id {id}, the model's vocabulary ends at {}", vocab - 1))
                .hint("take tokenizer.json and the weights from one revision of the checkpoint")),
        }
    }
}
