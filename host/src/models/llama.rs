//! `LlamaForCausalLM`: RMSNorm, rotary embedding of whole heads, SwiGLU.
use super::config::Config;
use super::sizes::{SizeDefaults, Sizes};
use super::spec::{Activation, ModelSpec, Norm, Tensor};
use super::{decoder, rope};
use crate::error::Result;

/// Both names of the same function.
pub const ACTIVATIONS: &[&str] = &["silu", "swish"];

/// What `LlamaConfig` has for sizes that are missing.
pub const DEFAULTS: SizeDefaults = SizeDefaults { context: 2048, kv_heads: None };

/// What `LlamaConfig` and `MistralConfig` have for `rms_norm_eps`.
const DEFAULT_EPS: f64 = 1e-6;

/// Translates config.json.
///
/// # Errors
/// A key is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    read_as("llama", config, DEFAULTS, None)
}

/// `rms_norm_eps`: the one key that transformers reads.
///
/// # Errors
/// It is no number above 0.
pub fn eps(config: &Config) -> Result<f32> {
    let key = "rms_norm_eps";
    let eps = config.positive_or(&[key], DEFAULT_EPS)?;
    config.note_ignored(key, &eps.into(), &["norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"]);
    Ok(eps as f32)
}

/// A family that differs from Llama in its name, its defaults and its attention window alone.
///
/// # Errors
/// As [`read`].
pub fn read_as(
    family: &'static str,
    config: &Config,
    defaults: SizeDefaults,
    window: Option<usize>,
) -> Result<ModelSpec> {
    decoder::check_activation(config, ACTIVATIONS)?;
    let (sizes, biases) = (Sizes::read(config, defaults)?, decoder::biases(config)?);
    let rope = rope::read(config, sizes.head_dim, sizes.context_length, None)?;
    let eps = eps(config)?;
    let norm = |name: String| {
        let weight = Tensor::vector(format!("{name}.weight"), sizes.hidden);
        Norm::Rms { weight, eps, rounds_once: false }
    };
    let blocks = (0..sizes.layers).flat_map(|layer| {
        let (attention_norm, mlp_norm) = (norm(decoder::attention_norm(layer)), norm(decoder::mlp_norm(layer)));
        let attention = decoder::attention(&sizes, layer, attention_norm, biases, rope.clone(), window);
        [attention, decoder::mlp(&sizes, layer, mlp_norm, biases, Activation::SwiGlu)]
    });
    decoder::model(family, config, &sizes, blocks.collect(), norm(decoder::FINAL_NORM.to_owned()))
}
