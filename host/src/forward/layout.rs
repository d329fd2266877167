//! `Layout`: every buffer of a model by number, laid out block by block before anything is read.
use gpu_kernels::{Element, Ptr};

use super::blocks::{self, Kind, PlacedBlock};
use super::builder::Builder;
use super::head::Head;
use super::inputs::InputBuffers;
use super::{Limits, MemoryPlan, StepInputs};
use crate::device::{BufferId, Format, Inputs};
use crate::models::spec::{ModelSpec, Tensor};

/// The embedding table.
pub(super) enum Embedding {
    /// In bf16.
    Table(BufferId),
    /// As codes, with the scales that stand beside them.
    Packed { format: Format, codes: BufferId, scales: Option<BufferId> },
}

impl Embedding {
    fn lay_out(table: &Tensor, builder: &mut Builder) -> Embedding {
        if table.format == Format::Bf16 {
            return Embedding::Table(builder.tensor(table));
        }
        let (codes, scales) = builder.codes(&table.name, std::slice::from_ref(table));
        Embedding::Packed { format: table.format, codes, scales }
    }
}

/// Numbers of a model's buffers, with the sizes that plans need.
pub struct Layout {
    pub(super) limits: Limits,
    pub(super) hidden: usize,
    pub(super) vocab: usize,
    pub(super) inputs: InputBuffers,
    /// `[rows, hidden]`: the residual stream.
    pub(super) x: BufferId,
    pub(super) embedding: Embedding,
    pub(super) blocks: Vec<Box<dyn PlacedBlock>>,
    pub(super) head: Head,
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
        let inputs = InputBuffers::lay_out(&mut builder);
        let x = builder.scratch("x", Element::Act, limits.rows * spec.hidden);
        let embedding = Embedding::lay_out(&spec.embedding, &mut builder);
        let place = |(index, kind): (usize, &dyn Kind)| {
            builder.begin_block(index);
            kind.lay_out(&mut builder)
        };
        let blocks = kinds.enumerate().map(place).collect();
        builder.end_blocks();
        let head = Head::lay_out(spec, &mut builder);
        let (hidden, vocab) = (spec.hidden, spec.vocab);
        let has_state = builder.memory.has_state();
        (Layout { limits, hidden, vocab, inputs, x, embedding, blocks, head, has_state }, builder.memory)
    }

    /// The sizes that the buffers were made for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The logits of the last step, `[logit_rows, vocab]`.
    pub fn logits(&self) -> Ptr<f32> {
        self.head.logits.ptr()
    }

    /// Whether a sequence keeps more than keys and values.
    pub fn has_state(&self) -> bool {
        self.has_state
    }

    /// Columns of the logits.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Pairs the values of `inputs` with the buffers that they are for, and passes them on.
    pub fn with_inputs<T>(&self, inputs: &StepInputs, run: impl FnOnce(&Inputs) -> T) -> T {
        let pairs: Vec<_> = self
            .inputs
            .all()
            .into_iter()
            .zip(inputs.values())
            .map(|(to, values)| (to.ptr(), values.as_slice()))
            .collect();
        run(&pairs)
    }
}
