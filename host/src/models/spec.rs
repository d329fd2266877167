//! `ModelSpec`: a model as blocks, sizes and tensor names; closed enums, no maths, no device.

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

/// One residual block: `x + block(norm(x))`.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Grouped-query attention.
    Attention(Attention),
    /// A dense feed-forward.
    Mlp(Mlp),
    /// A single product.
    Linear(Linear),
}

/// Attention with grouped queries.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// The norm in front.
    pub norm: Norm,
    /// Queries, keys, values: `[(heads + 2·kv_heads)·head_dim, hidden]`.
    pub qkv: Product,
    /// Output: `[hidden, heads·head_dim]`.
    pub out: Product,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rotary embedding.
    pub rope: Rope,
    /// Keys that a query sees, itself included; none for all.
    pub window: Option<usize>,
}

/// A dense feed-forward.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// The norm in front.
    pub norm: Norm,
    /// `[intermediate, hidden]`, or gate and up `[2·intermediate, hidden]`.
    pub up: Product,
    /// `[hidden, intermediate]`.
    pub down: Product,
    /// Width between the products.
    pub intermediate: usize,
    /// What stands between the products.
    pub activation: Activation,
}

/// A single product in place of an attention or a feed-forward.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The norm in front.
    pub norm: Norm,
    /// `[hidden, hidden]`.
    pub product: Product,
}

/// What stands between the products of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)²`.
    Relu2,
    /// `silu(gate)·up`.
    SwiGlu,
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
    /// Root-mean-square norm that rounds before the weight.
    Rms {
        /// `[hidden]`.
        weight: Tensor,
        /// Added to the mean square.
        eps: f32,
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
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// A vector.
    pub fn vector(name: impl Into<String>, elements: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![elements] }
    }

    /// A matrix, `[out, in]`.
    pub fn matrix(name: impl Into<String>, rows: usize, columns: usize) -> Tensor {
        Tensor { name: name.into(), shape: vec![rows, columns] }
    }
}

/// The weight of one product: matrices of equal width, one below the other, and what is added to the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// The matrices, top to bottom.
    pub parts: Vec<Tensor>,
    /// The vectors that are added, one for each matrix; or none.
    pub biases: Vec<Tensor>,
}

impl Product {
    /// A product of one matrix.
    pub fn of(matrix: Tensor) -> Product {
        Product { parts: vec![matrix], biases: Vec::new() }
    }

    /// Rows of all matrices: the width of the result.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.shape[0]).sum()
    }

    /// Columns: the width of the input.
    pub fn columns(&self) -> usize {
        self.parts[0].shape[1]
    }

    /// The matrices, then the biases.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().chain(&self.biases)
    }
}

impl ModelSpec {
    /// Every tensor that the model asks for, in the order of use; tied ones appear twice.
    pub fn tensors(&self) -> Vec<&Tensor> {
        let mut tensors = vec![&self.embedding];
        for block in &self.blocks {
            tensors.extend(block.norm().tensors());
            tensors.extend(block.products().into_iter().flat_map(Product::tensors));
        }
        tensors.extend(self.final_norm.tensors());
        tensors.extend(&self.head.parts);
        tensors
    }
}

impl Block {
    /// The norm in front.
    pub fn norm(&self) -> &Norm {
        match self {
            Block::Attention(attention) => &attention.norm,
            Block::Mlp(mlp) => &mlp.norm,
            Block::Linear(linear) => &linear.norm,
        }
    }

    /// The products in the order of use.
    pub fn products(&self) -> Vec<&Product> {
        match self {
            Block::Attention(attention) => vec![&attention.qkv, &attention.out],
            Block::Mlp(mlp) => vec![&mlp.up, &mlp.down],
            Block::Linear(linear) => vec![&linear.product],
        }
    }
}

impl Norm {
    /// The norm's tensors.
    pub fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Norm::LayerNorm1p { weight, bias, .. } => vec![weight, bias],
            Norm::Rms { weight, .. } => vec![weight],
        }
    }
}
