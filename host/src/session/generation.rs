//! `Generation`: how a prompt is to be continued, what it became, and why it ended.
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;

use super::prompt_logprobs::PromptLogprob;
use super::tools::AnswerCalls;
use super::{Progress, TokenLogprob};
use crate::engine;
use crate::sample::Sampling;
use crate::text::{GrammarSource, Parts, Reasoning};

/// How to continue a prompt.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How each token is chosen; greedy by default.
    pub sampling: Sampling,
    /// Texts that end the generation and are not part of it.
    pub stop: Vec<String>,
    /// How many of the best tokens' log-probabilities come with each token's own; none for no such numbers.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt, of which nothing that is cached is used then; none for no such numbers.
    pub prompt_logprobs: Option<usize>,
    /// Most tokens of the reasoning; it is ended there. None for as many as the model likes.
    pub thinking_budget: Option<usize>,
    /// What the answer must be, behind its reasoning; none for what the model likes.
    pub grammar: Option<GrammarSource>,
    /// Told how many tokens of a prompt are computed, and how many it has, until all are.
    pub progress: Option<Progress>,
    /// Once true, the generation ends after the step that runs. The caller sets it, for example on Ctrl-C.
    pub interrupt: Arc<AtomicBool>,
}

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions {
            max_tokens: 100,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: None,
            prompt_logprobs: None,
            thinking_budget: None,
            grammar: None,
            progress: None,
            interrupt: Arc::default(),
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model said that the text ends.
    Stop,
    /// One of [`GenerateOptions::stop`] came.
    StopText,
    /// [`GenerateOptions::max_tokens`] are there.
    Length,
    /// The context is full.
    Context,
    /// [`GenerateOptions::interrupt`] was set.
    Interrupted,
}

impl From<engine::Finish> for Finish {
    fn from(finish: engine::Finish) -> Finish {
        match finish {
            engine::Finish::Stop => Finish::Stop,
            engine::Finish::Length => Finish::Length,
            engine::Finish::Context => Finish::Context,
        }
    }
}

/// What a prompt became.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// decode(prompt + generated) less decode(prompt); the token that ended the generation is not shown.
    pub text: String,
    /// How the text begins, where the model's template knows reasoning.
    pub reasoning: Option<Reasoning>,
    /// Calls of functions, where the session offers some.
    pub calls: Option<AnswerCalls>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were computed; the others were there from a generation that begins alike.
    pub prefilled_tokens: usize,
    /// The generated ids, those that ended the generation included.
    pub ids: Vec<u32>,
    /// One for each of `ids` where [`GenerateOptions::logprobs`] asks for them, else none.
    pub logprobs: Vec<TokenLogprob>,
    /// Where [`GenerateOptions::prompt_logprobs`] asks for them: one for each token of the prompt but the first, which
    /// nothing stands in front of; fewer of one that was interrupted.
    pub prompt_logprobs: Option<Vec<PromptLogprob>>,
    /// Why it ended.
    pub finish: Finish,
    /// From the request to the first token.
    pub prompt_time: Duration,
    /// From the first token to the last.
    pub generation_time: Duration,
}

impl Generation {
    /// What the model thought, if it did, and what it answered beside calls.
    pub fn parts(&self) -> (Option<String>, String) {
        let (thought, answer) = self.thought_and_answer();
        (thought, self.calls.as_ref().map_or(answer, |calls| calls.text.clone()))
    }

    /// Calls of functions, as OpenAI's API has them.
    pub fn calls(&self) -> &[Value] {
        self.calls.as_ref().map_or(&[], |calls| &calls.list)
    }

    /// Whether calls are why it ended: not where something cut one off.
    pub fn ends_in_calls(&self) -> bool {
        matches!(self.finish, Finish::Stop | Finish::StopText)
            && self.calls.as_ref().is_some_and(|calls| calls.are_whole && !calls.list.is_empty())
    }

    fn thought_and_answer(&self) -> (Option<String>, String) {
        let Some(mut reasoning) = self.reasoning.clone() else { return (None, self.text.clone()) };
        let Parts { reasoning: mut thought, mut answer } = reasoning.push(&self.text);
        let reasons = reasoning.reasons();
        let rest = reasoning.finish();
        thought += &rest.reasoning;
        answer += &rest.answer;
        (reasons.then_some(thought), answer)
    }

    /// Tokens per second after the first, which comes with the prompt; none where there is no other.
    pub fn speed(&self) -> Option<f64> {
        (self.ids.len() > 1).then(|| (self.ids.len() - 1) as f64 / self.generation_time.as_secs_f64())
    }
}
