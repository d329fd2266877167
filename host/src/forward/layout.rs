//! `Layout`: every buffer of a model by number, laid out block by block before anything is read.
use std::ops::Range;

use gpu_kernels::{Ptr, mask_logits, top_logprobs};

use super::blocks::{self, Kind, PlacedBlock};
use super::builder::Builder;
use super::head::TOKEN_WORDS;
use super::shared::SharedBuffers;
use super::{Limits, MemoryPlan, StepInputs};
use crate::device::Inputs;
use crate::models::spec::ModelSpec;

/// Numbers of a model's buffers, with the sizes that plans need.
pub struct Layout {
    pub(super) shared: SharedBuffers,
    pub(super) blocks: Vec<Box<dyn PlacedBlock>>,
    has_state: bool,
}

impl Layout {
    /// Names and sizes the buffers of `spec`. No file is opened and no table computed: [`MemoryPlan::load`] does both.
    pub fn new(spec: &ModelSpec, limits: Limits) -> (Layout, MemoryPlan) {
        Layout::of(spec, spec.blocks.iter().map(blocks::kind), limits)
    }

    /// As [`Layout::new`], with other blocks than those of `spec`.
    pub(super) fn of<'a>(
        spec: &ModelSpec,
        kinds: impl Iterator<Item = &'a dyn Kind>,
        limits: Limits,
    ) -> (Layout, MemoryPlan) {
        let mut builder = Builder::new(limits, spec.hidden);
        let place = |(index, kind): (usize, &dyn Kind), builder: &mut Builder| {
            builder.begin_block(index);
            kind.lay_out(builder)
        };
        let mut blocks = Vec::new();
        let shared = SharedBuffers::lay_out(spec, &mut builder, |builder| {
            blocks = kinds.enumerate().map(|kind| place(kind, builder)).collect();
            builder.end_blocks();
        });
        let has_state = builder.memory.has_state();
        (Layout { shared, blocks, has_state }, builder.memory)
    }

    /// The sizes that the buffers were made for.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// The logits of the last step, `[logit_rows, vocab]`.
    pub fn logits(&self) -> Ptr<f32> {
        self.shared.head.logits.ptr()
    }

    /// Where the words that `top_logprobs` writes for a slot stand in what a step publishes.
    pub fn logprobs_of(&self, slot: usize) -> Range<usize> {
        let (first, words) = (TOKEN_WORDS * self.limits().slots(), top_logprobs::WORDS as usize);
        first + slot * words..first + (slot + 1) * words
    }

    /// Which slots [`copy_plan`](super::copy_plan) copies: how many copies, then from and to of each.
    pub fn copies(&self) -> Ptr<i32> {
        self.shared.inputs.copies.ptr()
    }

    /// Where the masks of a choice are written: the first word of the mask of each row of logits, −1 for none, and the words of
    /// all masks, see [`gpu_kernels::MaskLogits`].
    pub fn masks(&self) -> [Ptr<i32>; 2] {
        [self.shared.head.mask_index.ptr(), self.shared.head.masks.ptr()]
    }

    /// Words of a mask.
    pub fn mask_words(&self) -> usize {
        self.vocab().div_ceil(mask_logits::WORD_TOKENS as usize)
    }

    /// Whether a sequence keeps more than keys and values.
    pub fn has_state(&self) -> bool {
        self.has_state
    }

    /// Columns of the logits.
    pub fn vocab(&self) -> usize {
        self.shared.vocab
    }

    /// Pairs the values of `inputs` with the buffers that they are for, and passes them on.
    pub fn with_inputs<T>(&self, inputs: &StepInputs, run: impl FnOnce(&Inputs) -> T) -> T {
        let pairs: Vec<_> = self
            .shared
            .inputs
            .all()
            .into_iter()
            .zip(inputs.values())
            .map(|(to, values)| (to.ptr(), values.as_slice()))
            .collect();
        run(&pairs)
    }
}
