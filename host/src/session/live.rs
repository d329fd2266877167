//! `Live`: an answer whose client takes its tokens as they come, on any thread; what a server is made of.
use serde_json::Value;

use super::answer::{Answer, Tags, TextOptions};
use super::constraint::AnswerForm;
use super::generate::Session;
use super::generation::Generation;
use super::logprobs::TokenLogprob;
use super::prompt::Rendering;
use super::prompt_logprobs::PromptLogprob;
use crate::engine::{Request, RequestTicket, Update};
use crate::error::Result;
use crate::sample::Sampling;
use crate::text::{GrammarSource, ToolForm};

/// One prompt to be continued.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveRequest {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate, at least 1.
    pub max_tokens: usize,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// Texts that end the generation.
    pub stop: Vec<String>,
    /// Ids that end it, beside the model's own.
    pub stop_ids: Vec<u32>,
    /// Whether the model's own ends do not count.
    pub ignore_eos: bool,
    /// How many of the best tokens' log-probabilities come with each token's own; none for no such numbers.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt but the first; none for no such numbers.
    pub prompt_logprobs: Option<usize>,
    /// How the text is made.
    pub text: TextOptions,
    /// Most tokens of the reasoning; it is ended there. None for as many as the model likes.
    pub thinking_budget: Option<usize>,
    /// What the answer must be, behind its reasoning; none for what the model likes.
    pub form: Option<AnswerForm>,
    /// As [`Session::turn_ends`].
    pub turn_ends: Vec<usize>,
    /// Names who shares cached prefixes: requests of another number never find what this one computed.
    pub cache_salt: u64,
}

/// What the engine has to tell; its sink must not wait for anything.
#[derive(Debug)]
pub struct LiveUpdate(Update);

/// What a token brings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Text that no later token changes.
    pub text: String,
    /// The token.
    pub id: Option<u32>,
    /// How likely it was, where that is asked for.
    pub logprob: Option<TokenLogprob>,
}

/// A request that waits or runs. It is cancelled when this is dropped.
pub struct Live<'a> {
    ticket: RequestTicket,
    answer: Answer<'a>,
}

impl Session {
    /// Whether the engine takes `request`, before anybody waits for it.
    ///
    /// # Errors
    /// A parameter is out of range, the prompt is longer than the context, a stop text is empty or can never come, there is a
    /// budget of reasoning and the model does not reason.
    pub fn check_live(&self, request: &LiveRequest) -> Result<()> {
        self.answer_of(request)?;
        self.model().engine.limits().check(&self.request_of(request)?)
    }

    /// Queues `request`; `sink` is given the updates on the engine's thread, for [`Live::push`].
    ///
    /// # Errors
    /// As [`Session::check_live`], or the engine has failed.
    pub fn live(&self, request: &LiveRequest, mut sink: impl FnMut(LiveUpdate) + Send + 'static) -> Result<Live<'_>> {
        let answer = self.answer_of(request)?;
        let ticket =
            self.model().engine.submit_to(self.request_of(request)?, move |update| sink(LiveUpdate(update)))?;
        Ok(Live { ticket, answer })
    }

    /// What `source` asks of an answer.
    ///
    /// # Errors
    /// It is no such schema, expression or grammar, has what is not supported, or would cost too much.
    pub fn form(&self, source: &GrammarSource) -> Result<AnswerForm> {
        self.texts().constraint(source, &self.model().spec.eos).map(AnswerForm)
    }

    /// The text that the chat template makes of a conversation.
    ///
    /// # Errors
    /// There is no template, or it refuses the conversation.
    pub fn render(&self, messages: Vec<Value>, rendering: Rendering) -> Result<String> {
        self.texts().render_with(messages, rendering)
    }

    /// How the model writes calls of tools; none where its checkpoint does not say.
    pub fn tool_form(&self) -> Option<ToolForm> {
        self.texts().tool_form()
    }

    /// Whether the model can continue `prompt`.
    ///
    /// # Errors
    /// It is empty, longer than the context, or has an id that the model does not know.
    pub fn check_prompt(&self, prompt: &[u32]) -> Result<()> {
        self.model().engine.limits().check_prompt(prompt)
    }

    /// `prompt` with the end of the reasoning that it begins, where a `budget` of no tokens is asked for.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub fn without_thinking(&self, prompt: Vec<u32>, budget: Option<usize>) -> Result<Vec<u32>> {
        self.texts().without_thinking(prompt, budget)
    }

    /// How many of the tokens `ids` behind `prompt` are reasoning, without its tags.
    ///
    /// # Errors
    /// Tokens cannot be decoded.
    pub fn reasoning_tokens(&self, prompt: &[u32], ids: &[u32], tags: Tags) -> Result<usize> {
        self.texts().reasoning_tokens(prompt, ids, tags)
    }

    /// Sequences that run at the same time.
    pub fn sequences(&self) -> usize {
        self.model().engine.limits().sequences
    }

    fn answer_of(&self, request: &LiveRequest) -> Result<Answer<'_>> {
        let LiveRequest { prompt, stop, ignore_eos, logprobs, prompt_logprobs, text, .. } = request;
        let answer = self.texts().answer_until(prompt, stop, *ignore_eos, *logprobs)?;
        answer.scored(*prompt_logprobs)?.with(prompt, *text, self.texts().shown(*text))
    }

    fn request_of(&self, request: &LiveRequest) -> Result<Request> {
        // A form ends where it ends.
        let ignores = request.ignore_eos && request.form.is_none();
        let own = if ignores { &[][..] } else { &self.model().spec.eos };
        let (budget, constrained) = (request.thinking_budget, request.form.is_some());
        let thinking = self.texts().thinking(&request.prompt, budget, constrained, request.text.tags)?;
        Ok(Request {
            prompt: request.prompt.clone(),
            max_tokens: request.max_tokens,
            eos: [own, &request.stop_ids].concat(),
            sampling: request.sampling.clone(),
            logprobs: request.logprobs,
            prompt_logprobs: request.prompt_logprobs,
            turn_ends: request.turn_ends.clone(),
            thinking,
            constraint: request.form.as_ref().map(|form| form.0.clone()),
            cache_salt: request.cache_salt,
        })
    }
}

impl Live<'_> {
    /// Takes an update; what comes behind the end brings nothing.
    ///
    /// # Errors
    /// The engine failed, or the token cannot be decoded.
    pub fn push(&mut self, update: LiveUpdate) -> Result<Option<Piece>> {
        let event = match update.0 {
            Update::Prompt(_) => return Ok(None),
            Update::Scores(scores) => return self.answer.score(&scores).map(|()| None),
            Update::Token(event) => event,
        };
        if self.answer.ended() {
            return Ok(None);
        }
        let text = self.answer.push(&event)?;
        let generation = self.answer.generation();
        if self.answer.ended() {
            self.ticket.end_behind(generation.ids.len());
        }
        Ok(Some(Piece { text, id: generation.ids.last().copied(), logprob: generation.logprobs.last().cloned() }))
    }

    /// How likely the prompt's tokens are, as soon as that is known of all but the first.
    pub fn scores(&self) -> Option<&[PromptLogprob]> {
        let generation = self.answer.generation();
        generation.prompt_logprobs.as_deref().filter(|scores| scores.len() + 1 >= generation.prompt_tokens)
    }

    /// Whether nothing more comes.
    pub fn ended(&self) -> bool {
        self.answer.ended()
    }

    /// What is known so far.
    pub fn generation(&self) -> &Generation {
        self.answer.generation()
    }

    /// The stop text that came, where no special token is part of it.
    pub fn stopped_by(&self) -> Option<&str> {
        self.answer.stopped_by()
    }

    /// The generation, and the rest of its text that was held back.
    ///
    /// # Errors
    /// The last tokens cannot be decoded.
    pub fn end(self) -> Result<(Generation, String)> {
        self.answer.end()
    }
}
