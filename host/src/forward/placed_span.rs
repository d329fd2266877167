//! `PlacedSpan`: a span in its place in a step, and the rows and tiles that it has there.
use std::ops::Range;

use gpu_kernels::TILE_ROWS;

use super::{Bucket, Limits, Logprobs, Span};
use crate::sample::RowParameters;

/// A span in its place in a step.
pub(super) struct PlacedSpan<'a> {
    pub span: &'a Span,
    /// Its number among the step's sequences.
    pub sequence: usize,
    /// Its first row in the step.
    pub first_row: usize,
    /// How many biases the spans in front have.
    pub first_bias: usize,
    /// Where the span's phrases start: behind a word that is nobody's, and those of the spans in front.
    pub first_phrase: usize,
    pub bucket: &'a Bucket,
    pub limits: &'a Limits,
}

impl PlacedSpan<'_> {
    /// Rows of the step that reach the head. In a decode bucket the head takes every row.
    pub fn logit_rows(&self) -> Range<usize> {
        let wanted = if self.bucket.is_decode() { 1 } else { self.span.logit_rows };
        let end = self.first_row + self.span.rows();
        end - wanted..end
    }

    /// Whether the token chosen from `row` of the step is kept; where it is not, it goes to the scrap slot.
    pub fn keeps(&self, row: usize) -> bool {
        self.span.samples && row + 1 == self.first_row + self.span.rows()
    }

    /// How the token of `row` is chosen; rows without parameters are greedy.
    pub fn parameters(&self, row: usize) -> Option<&RowParameters> {
        self.span.sampling.as_deref().filter(|_| self.keeps(row))
    }

    /// Which log-probability is told of `row`.
    pub fn logprobs(&self, row: usize) -> Logprobs {
        if self.keeps(row) { self.span.logprobs } else { Logprobs::None }
    }

    /// The parameters by which the span's token is chosen.
    pub fn own_parameters(&self) -> Option<&RowParameters> {
        self.logit_rows().next_back().and_then(|row| self.parameters(row))
    }

    /// Tiles of a sequence that adds several tokens.
    pub fn tiles(&self) -> impl Iterator<Item = [i32; 2]> + use<> {
        tiles(self.first_row, if self.span.rows() > 1 { self.span.rows() } else { 0 })
    }
}

/// First row and number of rows of each tile of the `rows` rows from `first` on.
pub(super) fn tiles(first: usize, rows: usize) -> impl Iterator<Item = [i32; 2]> {
    let tile = TILE_ROWS as usize;
    (0..rows).step_by(tile).map(move |start| [(first + start) as i32, (rows - start).min(tile) as i32])
}
