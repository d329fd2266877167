//! What goes into the engine and what comes out.
use super::constraint::Constraint;
use super::log_softmax::TokenScore;
use super::thinking::ThinkingBudget;
use super::token_logprobs::TokenLogprobs;
use crate::error::Result;
use crate::sample::Sampling;

/// A prompt to be continued.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Ids that end the generation.
    pub eos: Vec<u32>,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// How many of the best tokens come with each token and its log-probability, at most
    /// [`MOST_LOGPROBS`](super::MOST_LOGPROBS); none for no such numbers.
    pub logprobs: Option<usize>,
    /// How many of the best tokens come with the log-probability of each of the prompt's tokens but the first; none for no
    /// such numbers. The whole prompt is computed then, in steps that have room for its rows of logits.
    pub prompt_logprobs: Option<usize>,
    /// Where in the prompt later ones may part from it, in tokens, such as the ends of turns: a model that keeps a state leaves
    /// snapshots of it there. None for the prompt's end.
    pub turn_ends: Vec<usize>,
    /// How long it may reason; none for as long as it likes.
    pub thinking: Option<ThinkingBudget>,
    /// What its tokens must be; none for what the model likes.
    pub constraint: Option<Constraint>,
    /// Names who shares cached prefixes: requests of another number never find what this one computed.
    pub cache_salt: u64,
}

impl Request {
    /// Most tokens to generate, behind this prompt.
    pub fn most_tokens(&self) -> usize {
        match self.sampling.constraints.max_length {
            0 => self.max_tokens,
            length => self.max_tokens.min(length.saturating_sub(self.prompt.len())),
        }
    }
}

/// Names a sequence; ids count up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// A token of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Which sequence.
    pub sequence: SequenceId,
    /// Its next token; an id of [`Request::eos`] is told too, and so are those of [`ThinkingBudget::end`]. An error where the
    /// logits that it was to be chosen from are no numbers: the sequence has ended, and other sequences go on.
    pub token: Result<u32>,
    /// Why the sequence ended with this token, if it did.
    pub finish: Option<Finish>,
    /// Tokens of its prompt that another sequence had computed before.
    pub cached_tokens: usize,
    /// How likely it is, where [`Request::logprobs`] asks for that.
    pub logprobs: Option<TokenLogprobs>,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The token is one of [`Request::eos`].
    Stop,
    /// [`Request::max_tokens`] are there.
    Length,
    /// The context is full.
    Context,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// So many tokens of the prompt are computed.
    Prompt(usize),
    /// How likely the next tokens of the prompt are, from its second on.
    Scores(Vec<TokenScore>),
    /// A token, or why there is none.
    Token(Event),
}

impl Update {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        matches!(self, Update::Token(event) if event.finish.is_some() || event.token.is_err())
    }
}
