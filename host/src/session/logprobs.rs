//! Log-probabilities of generated tokens and of those that could have stood in their place.
pub use crate::engine::MOST_LOGPROBS;
use crate::engine::{TokenLogprobs, log_softmax};
use crate::error::{Category, Error, Result};
use crate::text::Tokenizer;

/// A token and its natural log-probability as the model gives it: before penalties, biases, temperature and the like.
#[derive(Clone, Debug, PartialEq)]
pub struct LikelyToken {
    /// The token.
    pub id: u32,
    /// What it adds to a text that it does not begin; a special token's name, and U+FFFD for a part of a character.
    pub text: String,
    /// ln of its probability.
    pub logprob: f64,
}

impl LikelyToken {
    /// A token with its text.
    ///
    /// # Errors
    /// It cannot be decoded.
    pub(super) fn new(tokenizer: &Tokenizer, id: u32, logprob: f64) -> Result<LikelyToken> {
        Ok(LikelyToken { id, text: tokenizer.token_text(id)?, logprob })
    }
}

/// A generated token, and those that could have stood in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The generated one.
    pub chosen: LikelyToken,
    /// The best ones, the best first, of equals the lowest id; the generated one is among them if it is one of the best.
    pub best: Vec<LikelyToken>,
}

impl TokenLogprob {
    /// The generated token `id` and the best ones, as the device tells of them.
    ///
    /// # Errors
    /// A token cannot be decoded.
    pub(super) fn new(tokenizer: &Tokenizer, id: u32, told: &TokenLogprobs) -> Result<TokenLogprob> {
        let best = told.best.iter().map(|(id, logprob)| LikelyToken::new(tokenizer, *id, *logprob));
        Ok(TokenLogprob { chosen: LikelyToken::new(tokenizer, id, told.logprob)?, best: best.collect::<Result<_>>()? })
    }
}

/// The log-softmax of `logits` at `id`, summed in f64.
pub fn log_probability(logits: &[f32], id: u32) -> f64 {
    log_softmax(logits, id, 0).0
}

/// Whether so many tokens can be asked for.
///
/// # Errors
/// They are more than [`MOST_LOGPROBS`].
pub fn check(logprobs: Option<usize>) -> Result<()> {
    match logprobs.filter(|count| *count > MOST_LOGPROBS) {
        None => Ok(()),
        Some(found) => Err(Error::new(Category::Input, "Too many log-probabilities are asked for")
            .details(format_args!("logprobs: expected 0 to {MOST_LOGPROBS}, found {found}"))
            .hint("choose a smaller --logprobs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_most_twenty() {
        assert!(check(None).is_ok() && check(Some(20)).is_ok());
        assert!(check(Some(21)).unwrap_err().to_string().contains("expected 0 to 20, found 21"));
    }
}
