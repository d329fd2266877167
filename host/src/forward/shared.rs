//! `SharedBuffers`: the buffers of a model that belong to no block, with the sizes that plans need.
use gpu_kernels::Element;

use super::Limits;
use super::builder::Builder;
use super::head::Head;
use super::inputs::InputBuffers;
use crate::device::{BufferId, Format};
use crate::models::spec::{ModelSpec, Tensor};

/// The embedding table.
pub(super) enum Embedding {
    /// In bf16.
    Table(BufferId),
    /// As codes, with the scales that stand beside them.
    Packed { format: Format, codes: BufferId, scales: Option<BufferId> },
}

impl Embedding {
    pub(super) fn lay_out(table: &Tensor, builder: &mut Builder) -> Embedding {
        if table.format == Format::Bf16 {
            return Embedding::Table(builder.tensor(table));
        }
        let (codes, scales) = builder.codes(&table.name, std::slice::from_ref(table));
        Embedding::Packed { format: table.format, codes, scales }
    }
}

/// The buffers that all blocks see, and those in front of them and behind.
pub(crate) struct SharedBuffers {
    pub limits: Limits,
    pub hidden: usize,
    pub vocab: usize,
    pub inputs: InputBuffers,
    /// `[rows, hidden]`: the residual stream.
    pub x: BufferId,
    pub embedding: Embedding,
    /// Columns of the embedding.
    pub columns: usize,
    /// `[rows, columns]`: this rank's columns of the stream, where each rank has some.
    pub own_embedded: Option<BufferId>,
    pub head: Head,
}

impl SharedBuffers {
    /// Names and sizes them, around those that `blocks` asks for.
    pub(super) fn lay_out(spec: &ModelSpec, builder: &mut Builder, blocks: impl FnOnce(&mut Builder)) -> SharedBuffers {
        let (limits, hidden, vocab) = (builder.limits, spec.hidden, spec.vocab);
        let inputs = InputBuffers::lay_out(builder);
        let x = builder.scratch("x", Element::Act, limits.rows * hidden);
        let embedding = Embedding::lay_out(&spec.embedding, builder);
        let [_, columns] = spec.embedding.matrix_shape();
        let own_embedded =
            (columns < hidden).then(|| builder.scratch("own_embedded", Element::Act, limits.rows * columns));
        blocks(builder);
        let head = Head::lay_out(spec, builder);
        SharedBuffers { limits, hidden, vocab, inputs, x, embedding, own_embedded, columns, head }
    }
}
