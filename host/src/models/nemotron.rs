//! `NemotronForCausalLM`: LayerNorm1P with bias, partial rotary embedding, squared ReLU.
use super::config::Config;
use super::sizes::{SizeDefaults, Sizes};
use super::spec::{Activation, ModelSpec, Norm, Tensor};
use super::{decoder, rope};
use crate::error::Result;

/// `norm_eps`, and what conversions by others write.
const EPS: [&str; 4] = ["norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"];

/// What `NemotronConfig` has for sizes and for eps that are missing.
const DEFAULTS: SizeDefaults = SizeDefaults { context: 4096, kv_heads: None };
const DEFAULT_EPS: f64 = 1e-5;

/// Share of a head that is rotated where the file does not say.
const ROTARY_SHARE: f64 = 0.5;

/// Translates config.json.
///
/// # Errors
/// A key is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    decoder::check_activation(config, &["relu2"])?;
    let (sizes, biases) = (Sizes::read(config, DEFAULTS)?, decoder::biases(config)?);
    let rope = rope::read(config, sizes.head_dim, sizes.context_length, Some(ROTARY_SHARE))?;
    let eps = config.positive_or(&EPS, DEFAULT_EPS)? as f32;
    let norm = |name: String| Norm::LayerNorm1p {
        weight: Tensor::vector(format!("{name}.weight"), sizes.hidden),
        bias: Tensor::vector(format!("{name}.bias"), sizes.hidden),
        eps,
    };
    let blocks = (0..sizes.layers).flat_map(|layer| {
        let (attention_norm, mlp_norm) = (norm(decoder::attention_norm(layer)), norm(decoder::mlp_norm(layer)));
        let attention = decoder::attention(&sizes, layer, attention_norm, biases, rope.clone(), None);
        [attention, decoder::mlp(&sizes, layer, mlp_norm, biases, Activation::Relu2)]
    });
    decoder::model("nemotron", config, &sizes, blocks.collect(), norm(decoder::FINAL_NORM.to_owned()))
}
