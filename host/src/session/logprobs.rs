//! Log-probabilities of generated tokens and of those that could have stood in their place.
use crate::error::{Category, Error, Result};
use crate::text::Tokenizer;

/// Most tokens beside the chosen one.
pub const MOST_LOGPROBS: usize = 20;

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

/// A generated token, and those that could have stood in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The generated one.
    pub chosen: LikelyToken,
    /// The best ones, the best first, of equals the lowest id; the generated one is among them if it is one of the best.
    pub best: Vec<LikelyToken>,
}

impl TokenLogprob {
    /// The generated token `id` and its `count` best alternatives, from the row of logits that it was chosen from.
    ///
    /// # Errors
    /// A token cannot be decoded.
    pub(super) fn new(tokenizer: &Tokenizer, logits: &[f32], id: u32, count: usize) -> Result<TokenLogprob> {
        let (chosen, best) = log_softmax(logits, id, count);
        let likely = |(id, logprob): (u32, f64)| Ok(LikelyToken { id, text: tokenizer.token_text(id)?, logprob });
        Ok(TokenLogprob { chosen: likely((id, chosen))?, best: best.into_iter().map(likely).collect::<Result<_>>()? })
    }
}

/// The log-softmax of `logits` at `id`, and its `count` highest with their ids; summed in f64.
fn log_softmax(logits: &[f32], id: u32, count: usize) -> (f64, Vec<(u32, f64)>) {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - highest).exp()).sum();
    let logprob = |id: u32| f64::from(logits[id as usize]) - highest - sum.ln();
    if count == 0 {
        return (logprob(id), Vec::new());
    }
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
    }
    ids.truncate(count);
    ids.sort_unstable_by(order);
    (logprob(id), ids.into_iter().map(|id| (id, logprob(id))).collect())
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
    fn they_are_the_log_softmax_and_the_best_come_first() {
        let (chosen, best) = log_softmax(&[1.0, 3.0, 2.0, 3.0], 2, 3);
        let sum: f64 = [1.0, 3.0, 2.0, 3.0].map(f64::exp).iter().sum();
        let [high, middle] = [3.0, 2.0].map(|logit: f64| logit - sum.ln());
        assert_eq!(best.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 3, 2]);
        assert!((chosen - middle).abs() < 1e-12 && (best[0].1 - high).abs() < 1e-12);
        assert_eq!(best[2], (2, chosen));
        let (chosen, best) = log_softmax(&[0.0; 4], 0, 20);
        assert_eq!(best.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!((chosen + 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn large_logits_and_impossible_tokens_are_numbers_in_order() {
        assert_eq!(log_softmax(&[1e30, f32::NEG_INFINITY, -1e30], 0, 1), (0.0, vec![(0, 0.0)]));
        assert_eq!(log_softmax(&[0.0, f32::NEG_INFINITY], 1, 0), (f64::NEG_INFINITY, vec![]));
    }

    #[test]
    fn there_are_at_most_twenty() {
        assert!(check(None).is_ok() && check(Some(20)).is_ok());
        assert!(check(Some(21)).unwrap_err().to_string().contains("expected 0 to 20, found 21"));
    }
}
