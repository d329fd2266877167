//! Log-probabilities of a prompt's own tokens.
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::Model;
use super::logprobs::{self, TokenLogprob};
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
    fn new(tokenizer: &Tokenizer, logits: &[f32], id: u32, count: usize) -> Result<PromptLogprob> {
        let own = logits[id as usize];
        let rank = logits.iter().filter(|logit| **logit >= own).count();
        Ok(PromptLogprob { token: TokenLogprob::new(tokenizer, logits, id, count)?, rank })
    }
}

/// One for each token of `prompt` but the first, which nothing stands in front of, with the `count` best in its place; fewer
/// once `interrupt` is set. The engine must be idle.
///
/// # Errors
/// The prompt is longer than the context, too many tokens are asked for, or the device failed.
pub(super) fn of_prompt(
    model: &Model,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    count: usize,
    interrupt: &AtomicBool,
) -> Result<Vec<PromptLogprob>> {
    logprobs::check(Some(count))?;
    let foreseen = prompt.get(1..).unwrap_or_default();
    if foreseen.is_empty() || interrupt.load(Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let (vocab, mut ids, mut found) = (model.spec.vocab, foreseen.iter().copied(), Vec::new());
    model.engine.logits_in_pieces(&prompt[..foreseen.len()], foreseen.len(), &mut |rows| {
        let rows: Vec<(&[f32], u32)> = rows.chunks(vocab).zip(ids.by_ref()).collect();
        found.par_extend(rows.into_par_iter().map(|(row, id)| PromptLogprob::new(tokenizer, row, id, count)));
        if interrupt.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    found.into_iter().collect()
}
