//! Perplexity: how well a model foresees the tokens of a text.
//!
//! As llama.cpp does it: the text is cut into windows of the context's length, each computed by itself. Scored are the tokens
//! that have enough in front of them: the second half of a window or, with a stride, as many of its last tokens.
use std::ops::ControlFlow;

use rayon::prelude::*;

use super::logprobs::log_probability;
use super::{Model, Texts};
use crate::error::{Category, Error, Result};

/// How a text is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerplexityOptions {
    /// Tokens from one window's start to the next; as many are scored in each. By default windows follow each other and
    /// the second half of each is scored.
    pub stride: Option<usize>,
    /// The id that stands in the place of each window's first token, such as `<s>`.
    pub first: Option<u32>,
}

/// What was found so far, or in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Windows that were computed.
    pub windows: usize,
    /// Tokens that were scored.
    pub scored: usize,
    sum: f64,
    squares: f64,
}

impl Perplexity {
    /// The mean of the negative log-likelihoods, natural logarithm.
    pub fn mean(&self) -> f64 {
        self.sum / self.scored as f64
    }

    /// The perplexity, e to the mean.
    pub fn value(&self) -> f64 {
        self.mean().exp()
    }

    /// The standard error of the perplexity, by that of the mean; none where a single token was scored.
    pub fn error(&self) -> Option<f64> {
        let variance = self.squares / self.scored as f64 - self.mean().powi(2);
        (self.scored > 1).then(|| (variance.max(0.0) / (self.scored - 1) as f64).sqrt() * self.value())
    }

    fn add(&mut self, negative: &[f64]) {
        self.windows += 1;
        self.scored += negative.len();
        self.sum += negative.iter().sum::<f64>();
        self.squares += negative.iter().map(|value| value * value).sum::<f64>();
    }
}

/// The ids of a text to be scored, as the tokenizer gives them, and what it puts in front of a text, which then begins
/// every window.
///
/// # Errors
/// The tokenizer cannot take the text.
pub fn scored_ids(texts: &Texts, text: &str) -> Result<(Vec<u32>, Option<u32>)> {
    let plain = texts.tokenizer().encode(text, false)?;
    let whole = texts.tokenizer().encode(text, true)?;
    match whole.first() {
        Some(&first) if whole.len() > plain.len() && plain.first() != Some(&first) => {
            Ok((std::iter::once(first).chain(plain).collect(), Some(first)))
        }
        _ => Ok((plain, None)),
    }
}

/// Scores `ids` window by window; `tell` is given what is known after each, and how many windows there are.
///
/// # Errors
/// The text has fewer tokens than a window, the stride is longer than a window, or the device failed.
pub fn perplexity(
    model: &Model,
    ids: &[u32],
    options: PerplexityOptions,
    tell: &mut dyn FnMut(&Perplexity, usize),
) -> Result<Perplexity> {
    let window = model.engine.limits().context;
    let (starts, scored) = windows(ids.len(), window, options.stride)?;
    let (mut found, vocab) = (Perplexity::default(), model.spec.vocab);
    for &start in &starts {
        // A row of logits scores the token behind its own, so the last token of a window has no use for a row.
        let mut tokens = ids[start..start + window - 1].to_vec();
        if let Some(first) = options.first {
            tokens[0] = first;
        }
        let mut behind = ids[start + window - scored..start + window].iter();
        let mut negative = Vec::with_capacity(scored);
        model.engine.logits_in_pieces(&tokens, scored, &mut |rows| {
            let rows: Vec<(&[f32], u32)> = rows.chunks(vocab).zip(behind.by_ref().copied()).collect();
            negative.par_extend(rows.into_par_iter().map(|(row, id)| -log_probability(row, id)));
            ControlFlow::Continue(())
        })?;
        found.add(&negative);
        tell(&found, starts.len());
    }
    Ok(found)
}

/// Where windows start, and how many of the last tokens of each are scored.
fn windows(tokens: usize, window: usize, stride: Option<usize>) -> Result<(Vec<usize>, usize)> {
    let scored = stride.unwrap_or(window.saturating_sub(1 + window / 2));
    if scored == 0 || scored >= window {
        return Err(Error::new(Category::Input, "The stride does not fit the context")
            .details(format!(
                "a stride of {scored} tokens, windows of {window}; the first token of a window is not scored"
            ))
            .hint("choose a smaller --stride, or a larger --context"));
    }
    if tokens < window {
        // The fewest of which one is scored.
        let least = stride.map_or(3, |stride| stride + 1);
        return Err(Error::new(Category::Input, "The text is shorter than a window")
            .details(format!("the text has {tokens} tokens, a window {window}"))
            .hint(match tokens >= least {
                true => format!("take a longer text, or --context {tokens} or less"),
                false => "take a longer text".to_owned(),
            }));
    }
    Ok(((0..=tokens - window).step_by(stride.unwrap_or(window)).collect(), scored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_each_other_or_overlap_and_lie_within_the_text() {
        assert_eq!(windows(20, 8, None).unwrap(), (vec![0, 8], 3));
        assert_eq!(windows(8, 8, None).unwrap(), (vec![0], 3));
        assert_eq!(windows(9, 3, None).unwrap(), (vec![0, 3, 6], 1));
        assert_eq!(windows(14, 8, Some(3)).unwrap(), (vec![0, 3, 6], 3));
        assert_eq!(windows(8, 8, Some(7)).unwrap(), (vec![0], 7));
        assert!(windows(7, 8, None).is_err() && windows(20, 8, Some(8)).is_err() && windows(20, 2, None).is_err());
    }

    #[test]
    fn the_error_is_that_of_a_mean() {
        let mut found = Perplexity::default();
        found.add(&[1.0, 3.0]);
        found.add(&[2.0]);
        // Variance of 1, 3, 2 with n in the denominator: 2/3; of their mean, over n - 1: 1/3.
        assert_eq!((found.windows, found.scored, found.mean()), (2, 3, 2.0));
        assert!((found.error().unwrap() - (1.0f64 / 3.0).sqrt() * 2f64.exp()).abs() < 1e-12);
        found = Perplexity::default();
        found.add(&[1.0]);
        assert_eq!((found.value(), found.error()), (1f64.exp(), None));
    }
}
