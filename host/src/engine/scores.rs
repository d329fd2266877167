//! How likely a prompt's tokens are: a log-softmax of the rows of logits in front of them, taken as the prompt is computed.
use std::ops::Range;

use rayon::prelude::*;

use super::log_softmax::TokenScore;
use super::numbers::check_row;
use super::scheduler::Share;
use super::{Engine, Event, SequenceId};
use crate::error::{Error, Result};
use crate::forward::Span;

impl Engine {
    /// What the last steps found of prompts whose requests ask for [`Request::prompt_logprobs`](super::Request): the next
    /// scores of each. Whoever steps takes them behind each step.
    pub fn take_scores(&mut self) -> Vec<(SequenceId, Vec<TokenScore>)> {
        std::mem::take(&mut self.scores)
    }

    /// Reads the rows of logits of a step that has just run, and notes how likely the next tokens of prompts are. Comes back
    /// with the prompts whose logits are no numbers.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn score(&mut self, shares: &[Share], spans: &[Span]) -> Result<Vec<(SequenceId, Error)>> {
        let mut failed = Vec::new();
        for (index, share) in shares.iter().enumerate() {
            let sequence = &self.running[share.sequence];
            let Some(count) = sequence.scores() else { continue };
            let positions = sequence.scored_rows(share.tokens);
            if positions.is_empty() {
                continue;
            }
            let id = sequence.id;
            match self.read_scores(share, rows_of(spans, index).start, count)? {
                Ok(scores) => {
                    self.running[share.sequence].note_scores(positions.end);
                    self.scores.push((id, scores));
                }
                Err(error) => failed.push((id, error)),
            }
        }
        Ok(failed)
    }

    /// Ends prompts whose logits are no numbers.
    pub(super) fn end_unscorable(&mut self, failed: Vec<(SequenceId, Error)>, events: &mut Vec<Event>) {
        for (id, error) in failed {
            events.push(Event { sequence: id, token: Err(error), finish: None, cached_tokens: 0, logprobs: None });
            self.give_up(id);
        }
    }

    /// Scores of the tokens behind the rows of a share, which begin at row `first` of the step's logits.
    fn read_scores(&mut self, share: &Share, first: usize, count: usize) -> Result<Result<Vec<TokenScore>>> {
        let (vocab, sequence) = (self.layout.vocab(), &self.running[share.sequence]);
        let positions = sequence.scored_rows(share.tokens);
        let source = self.layout.logits().offset((first * vocab) as u64);
        let rows = self.device.read_f32(source, positions.len() * vocab)?;
        let (prompt, tokens) = (sequence.prompt_tokens(), sequence.tokens());
        let score = |(row, position): (&[f32], usize)| {
            check_row(row, format_args!("a prompt of {prompt} tokens, position {position}"))?;
            Ok(TokenScore::new(row, tokens[position + 1], count))
        };
        // Rayon would collect any of several errors; the first is wanted.
        let scores: Vec<Result<TokenScore>> = rows.par_chunks(vocab).zip(positions).map(score).collect();
        Ok(scores.into_iter().collect())
    }
}

/// The rows of logits of a span: where every sequence adds one token the head takes all of them.
fn rows_of(spans: &[Span], index: usize) -> Range<usize> {
    if spans.iter().all(|span| span.rows() == 1) {
        return index..index + 1;
    }
    let first = spans[..index].iter().map(|span| span.logit_rows).sum();
    first..first + spans[index].logit_rows
}
