//! `StepInputs`: the integers that tell a plan which rows of which sequences it works on.
use std::sync::Arc;

use gpu_kernels::{PAGE_TOKENS, TILE_ROWS, sampling};

use super::limits::SCRAP_PAGE;
use super::{Bucket, Limits};
use crate::sample::{RowInputs, RowParameters};

/// One sequence's share of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Ids of the new tokens; `-1 - slot` stands for the token last sampled for that slot.
    pub ids: Vec<i32>,
    /// Position of the first of them.
    pub position: usize,
    /// The sequence's KV pages; they hold `position + ids.len()` tokens at least.
    pub pages: Vec<usize>,
    /// The sequence's slot.
    pub slot: usize,
    /// How many of the last rows reach the head.
    pub logit_rows: usize,
    /// Whether the token chosen from the last row is kept in the slot.
    pub samples: bool,
    /// How that token is chosen; none for the highest logit.
    pub sampling: Option<Arc<RowParameters>>,
}

impl Span {
    /// Token rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Tokens in the cache after the step.
    pub fn length(&self) -> usize {
        self.position + self.ids.len()
    }

    fn cache_row(&self, position: usize) -> i32 {
        let page_tokens = PAGE_TOKENS as usize;
        (self.pages[position / page_tokens] * page_tokens + position % page_tokens) as i32
    }
}

/// The integers of one step; each field is a device input of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepInputs {
    /// `[rows]`.
    pub ids: Vec<i32>,
    /// `[rows]`.
    pub positions: Vec<i32>,
    /// `[rows]`: row of the KV pools.
    pub slot_mapping: Vec<i32>,
    /// `[sequences + 1]`.
    pub row_start: Vec<i32>,
    /// `[sequences]`: 0 for pads.
    pub lengths: Vec<i32>,
    /// `[sequences, pages_per_sequence]`.
    pub block_table: Vec<i32>,
    /// `[tiles]`: −1 for pads.
    pub tile_sequence: Vec<i32>,
    /// `[tiles]`.
    pub tile_row: Vec<i32>,
    /// `[tiles]`.
    pub tile_rows: Vec<i32>,
    /// `[logit_rows]`: row of the step.
    pub logit_index: Vec<i32>,
    /// `[logit_rows]`: sequence slot.
    pub logit_slots: Vec<i32>,
    /// `[rows]`: sequence slot. This and all below are empty in a bucket that does not sample.
    pub row_slots: Vec<i32>,
    /// `[logit_rows]` rows of parameters, and what they refer to.
    pub choice: RowInputs,
    /// `[1]`: always 1.
    pub fresh: Vec<i32>,
}

impl StepInputs {
    /// The inputs of a step of `spans`, padded to `bucket`.
    pub fn new(spans: &[Span], bucket: &Bucket, limits: &Limits) -> StepInputs {
        let mut inputs = StepInputs { row_start: vec![0], fresh: vec![1], ..StepInputs::default() };
        for (sequence, span) in spans.iter().enumerate() {
            inputs.push_tiles(sequence, span);
            inputs.push_logits(span, bucket, limits);
            if bucket.sampling {
                inputs.row_slots.extend(std::iter::repeat_n(span.slot as i32, span.rows()));
            }
            inputs.push_span(span, limits);
        }
        inputs.pad(bucket, limits);
        inputs
    }

    fn push_span(&mut self, span: &Span, limits: &Limits) {
        let positions = span.position..span.length();
        self.ids.extend(&span.ids);
        self.slot_mapping.extend(positions.clone().map(|position| span.cache_row(position)));
        self.positions.extend(positions.map(|position| position as i32));
        self.row_start.push(self.ids.len() as i32);
        self.lengths.push(span.length() as i32);
        let pages = span.pages.iter().copied().chain(std::iter::repeat(SCRAP_PAGE));
        self.block_table.extend(pages.take(limits.pages_per_sequence()).map(|page| page as i32));
    }

    fn push_tiles(&mut self, sequence: usize, span: &Span) {
        if span.rows() > 1 {
            self.push_rows_as_tiles(sequence as i32, self.ids.len(), span.rows());
        }
    }

    fn push_rows_as_tiles(&mut self, sequence: i32, first: usize, rows: usize) {
        for start in (0..rows).step_by(TILE_ROWS as usize) {
            self.tile_sequence.push(sequence);
            self.tile_row.push((first + start) as i32);
            self.tile_rows.push((rows - start).min(TILE_ROWS as usize) as i32);
        }
    }

    /// In a decode bucket the head takes every row, so a row whose token is not wanted goes to the scrap slot.
    fn push_logits(&mut self, span: &Span, bucket: &Bucket, limits: &Limits) {
        let wanted = if bucket.is_decode() { 1 } else { span.logit_rows };
        let end = self.ids.len() + span.rows();
        for row in end - wanted..end {
            let kept = span.samples && row + 1 == end;
            self.logit_index.push(row as i32);
            self.logit_slots.push(if kept { span.slot } else { limits.scrap_slot() } as i32);
            if bucket.sampling {
                self.push_sampling(span.sampling.as_deref().filter(|_| kept));
            }
        }
    }

    /// Rows without parameters are greedy.
    fn push_sampling(&mut self, parameters: Option<&RowParameters>) {
        match parameters {
            Some(row) => row.push_to(&mut self.choice),
            None => self.choice.words.extend([0; sampling::WORDS as usize]),
        }
    }

    /// Pad rows hold token 0 at position 0, write the scrap page, and their attention is zeros: by a pad sequence each
    /// in a decode bucket, by pad tiles in others.
    fn pad(&mut self, bucket: &Bucket, limits: &Limits) {
        let (live, live_sequences) = (self.ids.len(), self.lengths.len());
        self.ids.resize(bucket.rows, 0);
        self.positions.resize(bucket.rows, 0);
        self.slot_mapping.resize(bucket.rows, (SCRAP_PAGE * PAGE_TOKENS as usize) as i32);
        self.lengths.resize(bucket.sequences, 0);
        self.block_table.resize(bucket.sequences * limits.pages_per_sequence(), SCRAP_PAGE as i32);
        self.logit_index.resize(bucket.logit_rows, 0);
        self.logit_slots.resize(bucket.logit_rows, limits.scrap_slot() as i32);
        if bucket.sampling {
            self.row_slots.resize(bucket.rows, limits.scrap_slot() as i32);
            self.choice.words.resize(bucket.logit_rows * sampling::WORDS as usize, 0);
        }
        for pad in 1..=bucket.sequences - live_sequences {
            self.row_start.push((live + if bucket.is_decode() { pad } else { 0 }) as i32);
        }
        if !bucket.is_decode() {
            self.push_rows_as_tiles(-1, live, bucket.rows - live);
            self.tile_sequence.resize(bucket.tiles, -1);
            self.tile_row.resize(bucket.tiles, 0);
            self.tile_rows.resize(bucket.tiles, 0);
        }
    }
}
