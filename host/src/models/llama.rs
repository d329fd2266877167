//! `LlamaForCausalLM`: RMSNorm, rotary embedding of whole heads, SwiGLU.
use super::config::Config;
use super::sizes::Sizes;
use super::spec::{Activation, ModelSpec, Norm, Tensor};
use super::{decoder, rope};
use crate::error::Result;

/// Both names of the same function.
pub const ACTIVATIONS: &[&str] = &["silu", "swish"];

/// Translates config.json.
///
/// # Errors
/// A key is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    read_as("llama", config, None)
}

/// A family that differs from Llama in its name and its attention window alone.
///
/// # Errors
/// As [`read`].
pub fn read_as(family: &'static str, config: &Config, window: Option<usize>) -> Result<ModelSpec> {
    decoder::check_activation(config, ACTIVATIONS)?;
    let (sizes, biases) = (Sizes::read(config)?, decoder::biases(config)?);
    let rope = rope::read(config, sizes.head_dim, 1.0)?;
    let eps = config.positive(&["rms_norm_eps"])? as f32;
    let norm = |name: String| Norm::Rms { weight: Tensor::vector(format!("{name}.weight"), sizes.hidden), eps, rounds_once: false };
    let blocks = (0..sizes.layers).flat_map(|layer| {
        let (attention_norm, mlp_norm) = (norm(decoder::attention_norm(layer)), norm(decoder::mlp_norm(layer)));
        let attention = decoder::attention(&sizes, layer, attention_norm, biases, rope.clone(), window);
        [attention, decoder::mlp(&sizes, layer, mlp_norm, biases, Activation::SwiGlu)]
    });
    decoder::model(family, config, &sizes, blocks.collect(), norm(decoder::FINAL_NORM.to_owned()))
}
