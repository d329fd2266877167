//! `NemotronHForCausalLM`: layers of one mixer each, Mamba-2, attention, an MLP or experts; no rotary embedding.
mod layers;
mod mamba;
mod moe;
mod wrapper;

use super::config::Config;
use super::decoder;
use super::sizes::{self, Sizes};
use super::spec::{Activation, Attention, Block, KvCache, Mlp, ModelSpec, Norm, Product, Rope, Tensor};
use crate::error::{Category, Error, Result};
use layers::Kind;

pub use wrapper::read as read_wrapped;

/// What transformers calls the norms' epsilon, and what other conversions do.
const EPS: [&str; 3] = ["layer_norm_epsilon", "norm_eps", "rms_norm_eps"];

/// Translates config.json.
///
/// # Errors
/// A key is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    read_at(config, "")
}

/// As [`read`], of a model whose tensors have `prefix` in front of their names.
fn read_at(config: &Config, prefix: &str) -> Result<ModelSpec> {
    refuse_other("mlp_hidden_act", "relu2", config)?;
    refuse_other("mamba_hidden_act", "silu", config)?;
    let kinds = layers::kinds(config)?;
    let family = Family {
        config,
        sizes: Sizes::of_mixers(config, kinds.len())?,
        biases: decoder::biases(config)?,
        prefix: format!("{prefix}backbone."),
        eps: config.positive(&EPS)? as f32,
    };
    let mut mlps = layers::widths(config, &kinds)?.into_iter();
    let mut blocks = Vec::with_capacity(kinds.len());
    for (layer, kind) in kinds.into_iter().enumerate() {
        blocks.push(match kind {
            Kind::Mamba => Block::Mamba2(family.mamba(layer)?),
            Kind::Attention => Block::Attention(family.attention(layer)),
            Kind::Mlp => Block::Mlp(family.mlp(layer, mlps.next().expect("a width for each MLP"))?),
            Kind::Moe => Block::Moe(family.moe(layer)?),
        });
    }
    family.model(prefix, blocks)
}

/// What all layers share.
struct Family<'a> {
    config: &'a Config<'a>,
    sizes: Sizes,
    biases: decoder::Biases,
    /// In front of the names of all tensors but the head's.
    prefix: String,
    eps: f32,
}

impl Family<'_> {
    /// A name of layer `layer`'s mixer.
    fn mixer(&self, layer: usize, name: &str) -> String {
        format!("{}layers.{layer}.mixer.{name}", self.prefix)
    }

    fn norm(&self, name: &str) -> Norm {
        let weight = Tensor::vector(format!("{}{name}.weight", self.prefix), self.sizes.hidden);
        Norm::Rms { weight, eps: self.eps, rounds_once: true }
    }

    /// The norm in front of layer `layer`.
    fn layer_norm(&self, layer: usize) -> Norm {
        self.norm(&format!("layers.{layer}.norm"))
    }

    fn attention(&self, layer: usize) -> Attention {
        let Sizes { hidden, heads, kv_heads, head_dim, .. } = self.sizes;
        let parts = [("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)];
        let qkv = parts.map(|(part, heads)| (self.mixer(layer, part), heads * head_dim));
        let out = [(self.mixer(layer, "o_proj"), hidden)];
        Attention {
            norm: self.layer_norm(layer),
            qkv: decoder::product(&qkv, hidden, self.biases.attention),
            out: decoder::product(&out, heads * head_dim, self.biases.attention),
            heads,
            kv_heads,
            head_dim,
            rope: Rope::none(),
            window: None,
            cache: KvCache::default(),
        }
    }

    fn mlp(&self, layer: usize, intermediate: usize) -> Result<Mlp> {
        sizes::divisible_by_8("intermediate_size", intermediate)?;
        let hidden = self.sizes.hidden;
        let up = [(self.mixer(layer, "up_proj"), intermediate)];
        let down = [(self.mixer(layer, "down_proj"), hidden)];
        Ok(Mlp {
            norm: self.layer_norm(layer),
            up: decoder::product(&up, hidden, self.biases.mlp),
            down: decoder::product(&down, intermediate, self.biases.mlp),
            intermediate,
            activation: Activation::Relu2,
        })
    }

    fn model(&self, prefix: &str, blocks: Vec<Block>) -> Result<ModelSpec> {
        let (vocab, hidden) = (self.sizes.vocab, self.sizes.hidden);
        let embedding = Tensor::matrix(format!("{}embeddings.weight", self.prefix), vocab, hidden);
        let head = Tensor::matrix(format!("{prefix}lm_head.weight"), vocab, hidden);
        let tied = self.config.flag("tie_word_embeddings")?;
        Ok(ModelSpec {
            family: "nemotron_h",
            hidden,
            vocab,
            context_length: self.sizes.context_length,
            head: Product::of(if tied { embedding.clone() } else { head }),
            embedding,
            blocks,
            final_norm: self.norm("norm_f"),
            eos: Vec::new(),
        })
    }
}

/// Refuses another activation than the kernels have.
fn refuse_other(key: &str, known: &str, config: &Config) -> Result<()> {
    match config.text(key)? {
        Some(found) if found != known => Err(Error::new(Category::Model, "Unsupported activation")
            .details(format_args!("{}: {key}: expected {known}, found {found}", config.path()))
            .hint("no published model of this architecture has another activation")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
