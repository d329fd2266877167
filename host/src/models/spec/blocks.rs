//! The block kinds as a family describes them: sizes and tensor names, one struct per kind.
use gpu_kernels::KvFormat;

use super::{Mamba2, Moe, Norm, Product, Rope, TensorUse};

/// Calls `$callback!` with every block kind as `file Struct`: the one list that the enum and the walk are made from.
macro_rules! for_each_block {
    ($callback:ident) => {
        $callback! {
            /// Grouped-query attention.
            attention Attention,
            /// A dense feed-forward.
            mlp Mlp,
            /// A single product.
            linear Linear,
            /// A state space model.
            mamba2 Mamba2,
            /// Experts.
            moe Moe,
        }
    };
}
pub(crate) use for_each_block;

macro_rules! block {
    ($($(#[$doc:meta])* $file:ident $kind:ident,)*) => {
        /// One residual block: `x + block(norm(x))`.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Block {
            $($(#[$doc])* $kind($kind),)*
        }

        impl Block {
            /// The tensors of the block in the order of use.
            pub fn tensors(&self) -> Vec<TensorUse<'_>> {
                match self {
                    $(Block::$kind(block) => block.tensors(),)*
                }
            }

            /// The products of the block in the order of use.
            pub fn products_mut(&mut self) -> Vec<&mut Product> {
                match self {
                    $(Block::$kind(block) => block.products_mut(),)*
                }
            }
        }
    };
}
for_each_block!(block);

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
    /// How keys and values are kept.
    pub cache: KvCache,
}

/// How an attention keeps keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KvCache {
    /// What is kept.
    pub format: KvFormat,
    /// What the file wants keys and values to be divided by where they become codes.
    pub stored: Option<[f32; 2]>,
}

impl KvCache {
    /// What keys and values are divided by: 1 where they are kept as they are, or the file has no scales.
    pub fn scales(&self) -> [f32; 2] {
        match self.format {
            KvFormat::Act => [1.0; 2],
            KvFormat::Fp8 => self.stored.unwrap_or([1.0; 2]),
        }
    }
}

impl Attention {
    /// The tensors in the order of use.
    pub fn tensors(&self) -> Vec<TensorUse<'_>> {
        let products = [&self.qkv, &self.out].map(|product| product.uses("attention"));
        self.norm.uses().chain(products.into_iter().flatten()).collect()
    }

    fn products_mut(&mut self) -> Vec<&mut Product> {
        vec![&mut self.qkv, &mut self.out]
    }
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

impl Mlp {
    /// The tensors in the order of use.
    pub fn tensors(&self) -> Vec<TensorUse<'_>> {
        self.norm.uses().chain(self.up.uses("mlp")).chain(self.down.uses("mlp")).collect()
    }

    fn products_mut(&mut self) -> Vec<&mut Product> {
        vec![&mut self.up, &mut self.down]
    }
}

/// A single product in place of an attention or a feed-forward.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The norm in front.
    pub norm: Norm,
    /// `[hidden, hidden]`.
    pub product: Product,
}

impl Linear {
    /// The tensors in the order of use.
    pub fn tensors(&self) -> Vec<TensorUse<'_>> {
        self.norm.uses().chain(self.product.uses("linear")).collect()
    }

    fn products_mut(&mut self) -> Vec<&mut Product> {
        vec![&mut self.product]
    }
}

/// What stands between the products of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)²`.
    Relu2,
    /// `silu(gate)·up`.
    SwiGlu,
}
