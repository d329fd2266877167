//! What the decoder families share: the names and shapes of their tensors. A family adds norms, rope and activation.
use super::config::Config;
use super::sizes::Sizes;
use super::spec::{Activation, Attention, Block, InputChange, KvCache, Mlp, ModelSpec, Norm, Product, Rope, Tensor};
use crate::error::{Category, Error, Result};

/// Which products have biases.
#[derive(Clone, Copy, Debug)]
pub struct Biases {
    /// Those of the attention.
    pub attention: bool,
    /// Those of the MLP.
    pub mlp: bool,
}

/// The attention of layer `layer`.
pub fn attention(sizes: &Sizes, layer: usize, norm: Norm, biases: Biases, rope: Rope, window: Option<usize>) -> Block {
    let Sizes { hidden, heads, kv_heads, head_dim, .. } = *sizes;
    let name = |name: &str| format!("model.layers.{layer}.self_attn.{name}");
    let qkv = [("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)];
    let qkv = qkv.map(|(part, heads)| (name(part), heads * head_dim));
    let qkv = product(&qkv, hidden, biases.attention);
    let out = product(&[(name("o_proj"), hidden)], heads * head_dim, biases.attention);
    Block::Attention(Attention { norm, qkv, out, heads, kv_heads, head_dim, rope, window, cache: KvCache::default() })
}

/// The MLP of layer `layer`: with a gate if the activation has one.
pub fn mlp(sizes: &Sizes, layer: usize, norm: Norm, biases: Biases, activation: Activation) -> Block {
    let Sizes { hidden, intermediate, .. } = *sizes;
    let name = |name: &str| format!("model.layers.{layer}.mlp.{name}");
    let gate = (activation == Activation::SwiGlu).then(|| (name("gate_proj"), intermediate));
    let up: Vec<_> = gate.into_iter().chain([(name("up_proj"), intermediate)]).collect();
    let up = product(&up, hidden, biases.mlp);
    let down = product(&[(name("down_proj"), hidden)], intermediate, biases.mlp);
    Block::Mlp(Mlp { norm, up, down, intermediate, activation })
}

/// The product with the linear layers of these names and widths, one below the other; `columns` is their input's width.
pub fn product(layers: &[(String, usize)], columns: usize, biased: bool) -> Product {
    let parts = layers.iter().map(|(name, rows)| Tensor::matrix(format!("{name}.weight"), *rows, columns));
    let biases = layers.iter().filter(|_| biased).map(|(name, rows)| Tensor::vector(format!("{name}.bias"), *rows));
    Product { parts: parts.collect(), biases: biases.collect(), input: InputChange::default() }
}

/// The name of the norm in front of layer `layer`'s attention, without `.weight`.
pub fn attention_norm(layer: usize) -> String {
    format!("model.layers.{layer}.input_layernorm")
}

/// The name of the norm in front of layer `layer`'s MLP, without `.weight`.
pub fn mlp_norm(layer: usize) -> String {
    format!("model.layers.{layer}.post_attention_layernorm")
}

/// The name of the norm before the head, without `.weight`.
pub const FINAL_NORM: &str = "model.norm";

/// The name of the head where it is not the embedding.
pub const HEAD: &str = "lm_head.weight";

/// The model around its blocks; the head is the embedding where the file ties them. Stop ids are the caller's.
///
/// # Errors
/// `tie_word_embeddings` is no boolean.
pub fn model(
    family: &'static str,
    config: &Config,
    sizes: &Sizes,
    blocks: Vec<Block>,
    final_norm: Norm,
) -> Result<ModelSpec> {
    let embedding = Tensor::matrix("model.embed_tokens.weight", sizes.vocab, sizes.hidden);
    let tied = config.flag("tie_word_embeddings")?;
    let head = if tied { embedding.clone() } else { Tensor::matrix(HEAD, sizes.vocab, sizes.hidden) };
    Ok(ModelSpec {
        family,
        hidden: sizes.hidden,
        vocab: sizes.vocab,
        context_length: sizes.context_length,
        embedding,
        blocks,
        final_norm,
        head: Product::of(head),
        eos: Vec::new(),
    })
}

/// Reads which products have biases.
///
/// # Errors
/// A key is no boolean.
pub fn biases(config: &Config) -> Result<Biases> {
    Ok(Biases { attention: config.flag("attention_bias")?, mlp: config.flag("mlp_bias")? })
}

/// Keys of other architectures that transformers does not read here.
const OTHER_ACTIVATIONS: &[&str] = &["hidden_activation", "mlp_hidden_act", "activation_function"];

/// Refuses an activation that the family does not have; the first of `activations` is its default.
///
/// # Errors
/// `hidden_act` is given and none of `activations`.
pub fn check_activation(config: &Config, activations: &[&str]) -> Result<()> {
    let found = config.text("hidden_act")?.unwrap_or(activations[0]);
    config.note_ignored("hidden_act", &found.into(), OTHER_ACTIVATIONS);
    if activations.contains(&found) {
        return Ok(());
    }
    Err(Error::new(Category::Model, "Unsupported activation")
        .details(format_args!("config.json: hidden_act: expected {}, found {found}", activations.join(" or ")))
        .hint("correct the key if it is wrong: a model with another activation cannot run here"))
}
