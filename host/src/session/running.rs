//! `Running`: a generation that runs beside others; its caller brings it what the engine says.
use super::answer::Answer;
use super::generate::{GenerateOptions, Generation, Session};
use super::logprobs::TokenLogprob;
use crate::engine::{RequestTicket, Update};
use crate::error::Result;

/// A generation that was begun. It is cancelled when this is dropped.
pub struct Running<'a> {
    answer: Answer<'a>,
    _ticket: RequestTicket,
}

impl Session {
    /// Begins to continue `prompt`. `sink` takes what becomes of it, on the engine's thread, and must not wait; each update
    /// belongs into [`Running::take`].
    ///
    /// # Errors
    /// The engine does not take the prompt or the options, a stop text is empty, or the device failed.
    pub fn start(
        &self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
        sink: impl FnMut(Update) + Send + 'static,
    ) -> Result<Running<'_>> {
        let (request, answer) = self.prepare(prompt, options)?;
        let ticket = self.model().engine.submit_to(request, sink)?;
        Ok(Running { answer, _ticket: ticket })
    }
}

impl Running<'_> {
    /// Takes an update and returns the text that no later one can change.
    ///
    /// # Errors
    /// A token cannot be decoded, or the device failed.
    pub fn take(&mut self, update: Update) -> Result<String> {
        match update {
            Update::Prompt(_) => Ok(String::new()),
            Update::Token(event) => self.answer.push(&event),
        }
    }

    /// Whether nothing follows but what [`Running::end`] gives.
    pub fn ended(&self) -> bool {
        self.answer.ended()
    }

    /// The tokens so far.
    pub fn ids(&self) -> &[u32] {
        self.answer.ids()
    }

    /// One for each of [`Running::ids`], where they were asked for.
    pub fn logprobs(&self) -> &[TokenLogprob] {
        self.answer.logprobs()
    }

    /// The generation, and the rest of its text that was held back.
    ///
    /// # Errors
    /// The last tokens cannot be decoded.
    pub fn end(self) -> Result<(Generation, String)> {
        self.answer.end()
    }
}
