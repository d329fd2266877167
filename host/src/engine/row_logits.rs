//! Rows of logits as the model gives them, for sequences that ask for theirs: read behind each step that chooses a token.
use std::ops::Range;

use super::sequence::Sequence;
use super::{Engine, Resident, scheduler::Share};
use crate::device::Ticket;
use crate::error::Result;
use crate::forward::Span;

/// A row of logits for each span that gives one.
pub(super) type Rows = Vec<Option<Vec<f32>>>;

impl Engine {
    /// Runs `spans`, and reads a row of logits for each of `shares` that chooses a token and asks for it.
    ///
    /// Reading waits for the step. Penalties and biases change logits in
    /// place: where sequences have them, their share of the step runs first without a choice. It then writes what it wrote.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn run_with_logits(
        &mut self,
        shares: &[Share],
        spans: &[Span],
        residents: Option<Vec<Resident>>,
    ) -> Result<(Ticket, Rows)> {
        let of = |share: &Share| -> &Sequence { &self.running[share.sequence] };
        let wanted = |(share, span): (&Share, &Span)| span.samples && of(share).wants_logits();
        let wanted: Vec<bool> = shares.iter().zip(spans).map(wanted).collect();
        if !wanted.contains(&true) {
            return Ok((self.run(spans, residents)?, vec![None; spans.len()]));
        }
        if !shares.iter().zip(&wanted).any(|(share, wanted)| *wanted && of(share).changes_logits()) {
            let ticket = self.run(spans, residents)?;
            return Ok((ticket, self.read_rows(spans, &wanted)?));
        }
        // Only the rows that are written over: other spans of several tokens must not bring a state on twice.
        let first: Vec<usize> = (0..spans.len()).filter(|&i| wanted[i] && of(&shares[i]).changes_logits()).collect();
        let plain = |&index: &usize| Span { samples: false, sampling: None, ..spans[index].clone() };
        let plain: Vec<Span> = first.iter().map(plain).collect();
        self.run(&plain, None)?;
        let mut read = self.read_rows(&plain, &vec![true; plain.len()])?;
        let ticket = self.run(spans, residents)?;
        let left: Vec<bool> = (0..spans.len()).map(|index| wanted[index] && !first.contains(&index)).collect();
        let mut rows = self.read_rows(spans, &left)?;
        for (index, row) in first.into_iter().zip(read.drain(..)) {
            rows[index] = row;
        }
        Ok((ticket, rows))
    }

    fn read_rows(&mut self, spans: &[Span], wanted: &[bool]) -> Result<Rows> {
        let vocab = self.layout.vocab();
        let read = |(index, wanted): (usize, &bool)| -> Result<Option<Vec<f32>>> {
            let mut read = || {
                let first = (rows_of(spans, index).end - 1) * vocab;
                self.device.read_f32(self.layout.logits().offset(first as u64), vocab)
            };
            wanted.then(&mut read).transpose()
        };
        wanted.iter().enumerate().map(read).collect()
    }
}

/// The rows of logits of a span: where every sequence adds one token the head takes all of them.
pub(super) fn rows_of(spans: &[Span], index: usize) -> Range<usize> {
    if spans.iter().all(|span| span.rows() == 1) {
        return index..index + 1;
    }
    let first = spans[..index].iter().map(|span| span.logit_rows).sum();
    first..first + spans[index].logit_rows
}
