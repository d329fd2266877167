//! What the decoder families share: the names and shapes of their tensors. A family adds norms, rope and activation.
use super::config::Config;
use super::sizes::Sizes;
use super::spec::{Activation, Attention, Block, Mlp, ModelSpec, Norm, Product, Rope, Tensor};
use crate::error::{Category, Error, Result};

/// The attention of layer `layer`.
pub fn attention(sizes: &Sizes, layer: usize, norm: Norm, rope: Rope, window: Option<usize>) -> Block {
    let Sizes { hidden, heads, kv_heads, head_dim, .. } = *sizes;
    let matrix = |name: &str, rows, columns| {
        Tensor::matrix(format!("model.layers.{layer}.self_attn.{name}.weight"), rows, columns)
    };
    let qkv = vec![
        matrix("q_proj", heads * head_dim, hidden),
        matrix("k_proj", kv_heads * head_dim, hidden),
        matrix("v_proj", kv_heads * head_dim, hidden),
    ];
    let out = Product::of(matrix("o_proj", hidden, heads * head_dim));
    Block::Attention(Attention { norm, qkv: Product { parts: qkv }, out, heads, kv_heads, head_dim, rope, window })
}

/// The MLP of layer `layer`: with a gate if the activation has one.
pub fn mlp(sizes: &Sizes, layer: usize, norm: Norm, activation: Activation) -> Block {
    let Sizes { hidden, intermediate, .. } = *sizes;
    let matrix =
        |name: &str, rows, columns| Tensor::matrix(format!("model.layers.{layer}.mlp.{name}.weight"), rows, columns);
    let gate = (activation == Activation::SwiGlu).then(|| matrix("gate_proj", intermediate, hidden));
    let parts = gate.into_iter().chain([matrix("up_proj", intermediate, hidden)]).collect();
    let down = Product::of(matrix("down_proj", hidden, intermediate));
    Block::Mlp(Mlp { norm, up: Product { parts }, down, intermediate, activation })
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
    let head = if tied { embedding.clone() } else { Tensor::matrix("lm_head.weight", sizes.vocab, sizes.hidden) };
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

/// Refuses what no block can express yet.
///
/// # Errors
/// A product has a bias, or `hidden_act` is given and none of `activations`.
pub fn check_layers(config: &Config, activations: &[&str]) -> Result<()> {
    for (key, products) in [("attention_bias", "Attention"), ("mlp_bias", "MLP")] {
        if config.flag(key)? {
            return Err(Error::new(Category::Model, format!("{products} biases are not yet supported"))
                .details(format_args!("config.json: {key}: expected false, found true"))
                .hint("use a model without biases"));
        }
    }
    let Some(found) = config.text("hidden_act")? else { return Ok(()) };
    if activations.contains(&found) {
        return Ok(());
    }
    Err(Error::new(Category::Model, "Unsupported activation")
        .details(format_args!("config.json: hidden_act: expected {}, found {found}", activations.join(" or ")))
        .hint("no published model of this architecture has another activation"))
}
