//! `Bucket`: a step's shape, rounded up so that few plans serve all steps.
use gpu_kernels::{SPLIT_TOKENS, TILE_ROWS};

use super::{Limits, Logprobs, Span};

/// The shape that a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// Token rows.
    pub rows: usize,
    /// Sequences.
    pub sequences: usize,
    /// Rows that reach the head; 0 when no token is wanted.
    pub logit_rows: usize,
    /// Splits of the deepest sequence that adds one token; 0 when there is none.
    pub splits: usize,
    /// Sequences that add several tokens, which come first; 0 when every sequence adds one.
    pub prompts: usize,
    /// Tiles of the sequences that add several tokens; 0 when every sequence adds one.
    pub tiles: usize,
    /// Whether a sequence is not plainly greedy.
    pub sampling: bool,
    /// Whether a sequence asks for log-probabilities.
    pub logprobs: bool,
    /// Whether a mask may say of a sequence which tokens may come: then these are chosen by a plan of their own.
    pub masked: bool,
    /// Whether the host reads rows of logits: then all of them are there, also where each of several ranks has some columns.
    pub reads_logits: bool,
}

impl Bucket {
    /// The bucket of `rows` sequences that add one token each, chosen greedily, the deepest of so many splits.
    pub fn decode(rows: usize, splits: usize) -> Bucket {
        let (sequences, logit_rows) = (rows, rows);
        let (prompts, tiles) = (0, 0);
        let (sampling, logprobs, masked, reads_logits) = (false, false, false, false);
        Bucket { rows, sequences, logit_rows, splits, prompts, tiles, sampling, logprobs, masked, reads_logits }
    }

    /// The buckets of one token that is generated early, and of a short prompt.
    pub fn first(limits: &Limits) -> [Bucket; 2] {
        let token = Bucket::decode(1, 1);
        [token, Bucket { rows: limits.rows.min(8), splits: 0, prompts: 1, tiles: 3, ..token }]
    }

    /// Every bucket of steps in which each sequence adds one token and no mask forbids any, the deepest last.
    pub fn decodes(limits: &Limits) -> Vec<Bucket> {
        let mut rows: Vec<usize> = (1..=limits.sequences).map(|n| round_up_decode(n).min(limits.sequences)).collect();
        rows.dedup();
        let mut splits: Vec<usize> =
            (0..).map(|n| (1 << n).min(limits.splits())).take_while(|s| *s < limits.splits()).collect();
        splits.push(limits.splits());
        let mut buckets = Vec::new();
        for splits in splits {
            for (sampling, logprobs) in [(false, false), (false, true), (true, false), (true, true)] {
                buckets.extend(rows.iter().map(|&rows| Bucket { sampling, logprobs, ..Bucket::decode(rows, splits) }));
            }
        }
        buckets
    }

    /// The smallest bucket that holds `spans`.
    pub fn of(spans: &[Span], limits: &Limits) -> Bucket {
        let deepest = spans.iter().filter(|s| s.rows() == 1).map(Span::length).max().unwrap_or(0);
        let splits = deepest.div_ceil(SPLIT_TOKENS as usize);
        let splits = if splits == 0 { 0 } else { splits.next_power_of_two().min(limits.splits()) };
        let sampling = spans.iter().any(|span| span.sampling.is_some());
        let logprobs = spans.iter().any(|span| span.samples && span.logprobs != Logprobs::None);
        let masked = spans.iter().any(|span| span.samples && span.masked);
        let reads_logits = spans.iter().any(|span| span.logit_rows > usize::from(span.samples));
        if spans.iter().all(|span| span.rows() == 1) {
            let rows = round_up_decode(spans.len()).min(limits.sequences);
            return Bucket { sampling, logprobs, masked, reads_logits, ..Bucket::decode(rows, splits) };
        }
        let rows = round_up(spans.iter().map(Span::rows).sum()).min(limits.rows);
        let sequences = spans.len().next_power_of_two().min(limits.sequences);
        let logit_rows = match spans.iter().map(|span| span.logit_rows).sum() {
            0 => 0,
            wanted => round_up(wanted).min(limits.logit_rows()),
        };
        let prompts = spans.iter().filter(|span| span.rows() > 1).count().next_power_of_two().min(sequences);
        let tiles = rows.div_ceil(TILE_ROWS as usize) + prompts + 1;
        Bucket { rows, sequences, logit_rows, splits, prompts, tiles, sampling, logprobs, masked, reads_logits }
    }

    /// Whether every sequence adds one token, so that rows, sequences and rows of logits are the same.
    pub fn is_decode(&self) -> bool {
        self.tiles == 0
    }
}

/// Up to 8 rows exactly, as `gemv` serves them; then in steps that waste an eighth at most, from multiples of 8 on.
fn round_up(count: usize) -> usize {
    if count <= 8 {
        return count;
    }
    count.next_multiple_of((count.next_power_of_two() / 16).max(8))
}

/// As [`round_up`], in steps twice as wide from 32 on: such products wait for the weights, a few rows more cost them
/// nothing, and fewer plans have to be made as the sequences of a batch end one by one.
fn round_up_decode(count: usize) -> usize {
    if count <= 32 { round_up(count) } else { count.next_multiple_of(count.next_power_of_two() / 4) }
}

#[cfg(test)]
mod tests;
