//! `Span`: one sequence's share of a step.
use std::ops::Range;
use std::sync::Arc;

use gpu_kernels::{PAGE_TOKENS, sampling};

use crate::sample::RowParameters;

/// One sequence's share of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Which log-probabilities come with that token.
    pub logprobs: Logprobs,
    /// Whether a mask may say which tokens may come.
    pub masked: bool,
}

/// Which log-probability is told of a row of logits, beside those of the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logprobs {
    /// Nothing is told.
    #[default]
    None,
    /// That of the token that is chosen.
    Chosen,
    /// That of this one, which comes in its place.
    Of(u32),
}

impl Logprobs {
    /// As the kernels read it, see `gpu_kernels::sampling`.
    pub(super) fn word(self) -> i32 {
        match self {
            Logprobs::None => sampling::NOT_ASKED,
            Logprobs::Chosen => sampling::CHOSEN,
            Logprobs::Of(id) => id.cast_signed(),
        }
    }
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

    /// Positions of the new tokens.
    pub(super) fn positions(&self) -> Range<usize> {
        self.position..self.length()
    }

    /// The row of the KV pools that holds `position`.
    pub(super) fn cache_row(&self, position: usize) -> i32 {
        let page_tokens = PAGE_TOKENS as usize;
        (self.pages[position / page_tokens] * page_tokens + position % page_tokens) as i32
    }
}
