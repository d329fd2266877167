//! `ModelSpec`: a model as blocks, sizes and tensor names; closed enums, no maths, no device.
mod blocks;
mod cut;
mod mixers;

use gpu_kernels::Format;

pub(crate) use blocks::for_each_block;
pub use blocks::{Activation, Attention, Block, KvCache, Linear, Mlp};
pub use cut::{Cut, CutDimension, Segment};
pub use mixers::{Mamba2, Moe, Router, SharedExpert};

/// A model as its family file read it from config.json.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The word of the family, for example `nemotron`.
    pub family: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of the embedding table and of the head.
    pub vocab: usize,
    /// Longest sequence the model was made for, tokens.
    pub context_length: usize,
    /// `[vocab, hidden]`.
    pub embedding: Tensor,
    /// The blocks in order.
    pub blocks: Vec<Block>,
    /// The norm before the head.
    pub final_norm: Norm,
    /// The head, `[vocab, hidden]`.
    pub head: Product,
    /// Ids at which a generation stops, from config.json and generation_config.json.
    pub eos: Vec<u32>,
}

/// A norm over the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Norm {
    /// LayerNorm with a weight stored less one, and a bias.
    LayerNorm1p {
        /// `[hidden]`, stored less one.
        weight: Tensor,
        /// `[hidden]`.
        bias: Tensor,
        /// Added to the variance.
        eps: f32,
    },
    /// Root-mean-square norm.
    Rms {
        /// `[hidden]`.
        weight: Tensor,
        /// Added to the mean square.
        eps: f32,
        /// Whether the normalised value is not rounded before the weight.
        rounds_once: bool,
    },
}

/// Rotary position embedding of the first `dims` of each head.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated dims of a head; even.
    pub dims: usize,
    /// Base of the frequencies.
    pub theta: f64,
    /// How frequencies are stretched.
    pub scaling: RopeScaling,
}

impl Rope {
    /// No rotary embedding.
    pub fn none() -> Rope {
        Rope { dims: 0, theta: 1.0, scaling: RopeScaling::None }
    }
}

/// How rotary frequencies are stretched for long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by the factor, high ones kept, a ramp between.
    Llama3 {
        /// The divisor.
        factor: f64,
        /// `low_freq_factor`.
        low: f64,
        /// `high_freq_factor`.
        high: f64,
        /// `original_max_position_embeddings`.
        original_context: usize,
    },
}

/// A tensor of the checkpoint and the shape it must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape on a device: that of the file, but where ranks have a share each.
    pub shape: Vec<usize>,
    /// Which share, if each rank has its own.
    pub cut: Option<Box<Cut>>,
    /// How a device keeps it. In F32, what the file has is widened, never narrowed; other formats than that and Bf16 are
    /// those of a product's matrices that are stored quantized.
    pub format: Format,
}

impl Tensor {
    /// A vector.
    pub fn vector(name: impl Into<String>, elements: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![elements], cut: None, format: Format::Bf16 }
    }

    /// A matrix, `[out, in]`.
    pub fn matrix(name: impl Into<String>, rows: usize, columns: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![rows, columns], cut: None, format: Format::Bf16 }
    }

    /// The same tensor, kept in f32.
    pub fn exact(self) -> Tensor {
        Tensor { format: Format::F32, ..self }
    }

    /// The tensor as the file has it.
    pub fn whole(&self) -> Tensor {
        let shape = self.cut.as_ref().map_or(&self.shape, |cut| &cut.whole).clone();
        Tensor { shape, cut: None, ..self.clone() }
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// Rows and columns; a vector is one row.
    pub fn matrix_shape(&self) -> [usize; 2] {
        let columns = self.shape.last().copied().unwrap_or(1);
        [self.shape.iter().rev().skip(1).product(), columns]
    }

    /// Bytes on a device, with the scales of its format.
    pub fn bytes(&self) -> u64 {
        let [rows, columns] = self.matrix_shape().map(|size| size as u64);
        self.format.bytes(rows, columns)
    }
}

/// A tensor, and what is known of it beside name and shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorUse<'a> {
    /// The tensor.
    pub tensor: &'a Tensor,
    /// What it is for: `embedding`, a block kind's word, `norms` or `head`.
    pub group: &'static str,
    /// Where its values lie in a trained model.
    pub values: Values,
}

/// Where the values of a tensor lie in a trained model, so that random ones can stand for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Around zero.
    AroundZero,
    /// Around one: a factor.
    AroundOne,
}

/// The weight of one product: matrices of equal width, one below the other, and what is added to the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// The matrices, top to bottom.
    pub parts: Vec<Tensor>,
    /// The vectors that are added, one for each matrix; or none.
    pub biases: Vec<Tensor>,
    /// What is done to the input first.
    pub input: InputChange,
}

/// What is done to the input of a product because its matrices are quantized; their tensors say the first two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputChange {
    /// Its columns are put into the matrices' order.
    pub ordered: bool,
    /// Each column is multiplied by a factor of its own.
    pub factored: bool,
    /// Where it has many rows, these become codes of e4m3: the user asks for that.
    pub quantized: bool,
}

impl Product {
    /// A product of one matrix.
    pub fn of(matrix: Tensor) -> Product {
        Product { parts: vec![matrix], biases: Vec::new(), input: InputChange::default() }
    }

    /// Rows of all matrices: the width of the result.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.shape[0]).sum()
    }

    /// The format of all matrices.
    pub fn format(&self) -> Format {
        self.parts[0].format
    }

    /// Whether a rank has some of the columns, and its result is a part of a sum.
    pub fn is_partial(&self) -> bool {
        self.parts[0].cut.as_ref().is_some_and(|cut| cut.dimension == CutDimension::Columns)
    }

    /// Columns: the width of the input.
    pub fn columns(&self) -> usize {
        self.parts[0].shape[1]
    }

    /// The matrices, then the biases.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().chain(&self.biases)
    }

    /// The tensors, which are for `group`.
    pub fn uses(&self, group: &'static str) -> impl Iterator<Item = TensorUse<'_>> {
        self.tensors().map(move |tensor| TensorUse { tensor, group, values: Values::AroundZero })
    }
}

impl ModelSpec {
    /// Whether a sequence keeps more than keys and values.
    pub fn keeps_state(&self) -> bool {
        self.blocks.iter().any(|block| matches!(block, Block::Mamba2(_)))
    }

    /// Every tensor that the model asks for and what it is for, in the order of use; tied ones appear twice.
    pub fn uses(&self) -> Vec<TensorUse<'_>> {
        let mut uses = vec![TensorUse { tensor: &self.embedding, group: "embedding", values: Values::AroundZero }];
        uses.extend(self.blocks.iter().flat_map(Block::tensors));
        uses.extend(self.final_norm.uses());
        uses.extend(self.head.uses("head"));
        uses
    }

    /// Every product, in the order of use.
    pub fn products_mut(&mut self) -> impl Iterator<Item = &mut Product> {
        self.blocks.iter_mut().flat_map(Block::products_mut).chain([&mut self.head])
    }

    /// Every tensor that the model asks for, in the order of use; tied ones appear twice.
    pub fn tensors(&self) -> Vec<&Tensor> {
        self.uses().into_iter().map(|used| used.tensor).collect()
    }
}

impl Norm {
    /// The norm's tensors.
    pub fn uses(&self) -> impl Iterator<Item = TensorUse<'_>> {
        let (weight, values, bias) = match self {
            Norm::LayerNorm1p { weight, bias, .. } => (weight, Values::AroundZero, Some(bias)),
            Norm::Rms { weight, .. } => (weight, Values::AroundOne, None),
        };
        let bias = bias.map(|bias| (bias, Values::AroundZero));
        let tensors = std::iter::once((weight, values)).chain(bias);
        tensors.map(|(tensor, values)| TensorUse { tensor, group: "norms", values })
    }
}
