//! Log-probabilities of a prompt's own tokens.
use super::logprobs::{LikelyToken, TokenLogprob};
use crate::engine::TokenScore;
use crate::error::Result;
use crate::text::Tokenizer;

/// A token of a prompt, as likely as the model finds it behind those in front of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptLogprob {
    /// The token, and the best ones in its place.
    pub token: TokenLogprob,
    /// How many tokens are at least as likely, itself included: 1 for the best.
    pub rank: usize,
}

impl PromptLogprob {
    /// What the engine has found, with texts.
    ///
    /// # Errors
    /// A token cannot be decoded.
    pub(super) fn new(tokenizer: &Tokenizer, score: &TokenScore) -> Result<PromptLogprob> {
        let chosen = LikelyToken::new(tokenizer, score.id, score.logprob)?;
        let best = score.best.iter().map(|&(id, logprob)| LikelyToken::new(tokenizer, id, logprob));
        let token = TokenLogprob { chosen, best: best.collect::<Result<_>>()? };
        Ok(PromptLogprob { token, rank: score.rank })
    }
}
