//! `DeciLMForCausalLM`: Llama whose layers differ; each part of a layer may be missing or a single product.
use serde_json::Value;

use super::config::Config;
use super::decoder::{self, Biases};
use super::sizes::{self, Sizes};
use super::spec::{Activation, Block, Linear, ModelSpec, Norm, Rope, Tensor};
use super::{llama, rope};
use crate::error::{Category, Error, Result};

/// Keys of an attention that this file reads.
const ATTENTION: &[&str] = &["no_op", "replace_with_linear", "n_heads_in_group"];

/// Keys of a feed-forward that this file reads; `gated` is checked to be true.
const FFN: &[&str] = &["no_op", "replace_with_linear", "ffn_mult", "intermediate_size", "hidden_act", "gated"];

/// What `ffn_mult` is rounded up to.
const INTERMEDIATE_STEP: usize = 256;

/// Translates config.json.
///
/// # Errors
/// A key is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    decoder::check_activation(config, llama::ACTIVATIONS)?;
    let sizes = Sizes::read_outer(config, llama::DEFAULTS)?;
    let family = Family {
        sizes,
        biases: decoder::biases(config)?,
        rope: rope::read(config, sizes.head_dim, sizes.context_length, None)?,
        eps: llama::eps(config)?,
    };
    let layers = config.value("block_configs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if layers.len() != sizes.layers {
        let expected = format_args!("a list of {} layers", sizes.layers);
        return Err(config.unexpected("block_configs", expected, format_args!("{} layers", layers.len())));
    }
    let mut blocks = Vec::new();
    for (layer, value) in layers.iter().enumerate() {
        blocks.extend(family.layer(layer, value)?);
    }
    decoder::model("deci", config, &sizes, blocks, family.norm(decoder::FINAL_NORM.to_owned()))
}

/// What all layers share.
struct Family {
    sizes: Sizes,
    biases: Biases,
    rope: Rope,
    eps: f32,
}

impl Family {
    fn layer(&self, layer: usize, value: &Value) -> Result<Vec<Block>> {
        let path = format!("config.json: block_configs[{layer}]");
        let (attention_path, ffn_path) = (format!("{path}.attention"), format!("{path}.ffn"));
        let block = Config::new(&path, value);
        check_keys(&block, &["attention", "ffn"])?;
        let attention = self.attention(layer, &part(&block, "attention", &attention_path)?)?;
        let ffn = self.ffn(layer, &part(&block, "ffn", &ffn_path)?)?;
        Ok(attention.into_iter().chain(ffn).collect())
    }

    fn attention(&self, layer: usize, config: &Config) -> Result<Option<Block>> {
        check_keys(config, ATTENTION)?;
        if config.flag("no_op")? {
            return Ok(None);
        }
        let norm = self.norm(decoder::attention_norm(layer));
        if config.flag("replace_with_linear")? {
            return Ok(Some(self.linear(norm, layer, "self_attn.linear_attn", self.biases.attention)));
        }
        let (heads, group) = (self.sizes.heads, config.size("n_heads_in_group")?);
        if !heads.is_multiple_of(group) {
            return Err(config.unexpected("n_heads_in_group", format_args!("a divisor of {heads} heads"), group));
        }
        let sizes = Sizes { kv_heads: heads / group, ..self.sizes };
        Ok(Some(decoder::attention(&sizes, layer, norm, self.biases, self.rope.clone(), None)))
    }

    fn ffn(&self, layer: usize, config: &Config) -> Result<Option<Block>> {
        check_keys(config, FFN)?;
        decoder::check_activation(config, llama::ACTIVATIONS)?;
        if config.flag("no_op")? {
            return Ok(None);
        }
        let norm = self.norm(decoder::mlp_norm(layer));
        if config.flag("replace_with_linear")? {
            return Ok(Some(self.linear(norm, layer, "mlp.linear_mlp", self.biases.mlp)));
        }
        if config.value("gated").is_some() && !config.flag("gated")? {
            return Err(config.unexpected("gated", "true", false));
        }
        let intermediate = match config.optional_size(&["intermediate_size"])? {
            Some(intermediate) => intermediate,
            None => intermediate(config.positive(&["ffn_mult"])?, self.sizes.hidden)
                .ok_or_else(|| config.unexpected("ffn_mult", "a factor of the hidden size", "one too large"))?,
        };
        sizes::divisible_by_8("intermediate_size", intermediate)?;
        let sizes = Sizes { intermediate, ..self.sizes };
        Ok(Some(decoder::mlp(&sizes, layer, norm, self.biases, Activation::SwiGlu)))
    }

    fn linear(&self, norm: Norm, layer: usize, name: &str, biased: bool) -> Block {
        let hidden = self.sizes.hidden;
        let product = decoder::product(&[(format!("model.layers.{layer}.{name}"), hidden)], hidden, biased);
        Block::Linear(Linear { norm, product })
    }

    fn norm(&self, name: String) -> Norm {
        Norm::Rms {
            weight: Tensor::vector(format!("{name}.weight"), self.sizes.hidden),
            eps: self.eps,
            rounds_once: false,
        }
    }
}

/// The width that `ffn_mult` stands for: two thirds of the multiple, rounded down and then up.
fn intermediate(mult: f64, hidden: usize) -> Option<usize> {
    let width = 2.0 * mult * hidden as f64 / 3.0;
    (width < super::config::MAX_SIZE as f64).then(|| (width as usize).max(1).next_multiple_of(INTERMEDIATE_STEP))
}

/// An object of a layer, called `path` in errors.
fn part<'a>(block: &Config<'a>, key: &'a str, path: &'a str) -> Result<Config<'a>> {
    match block.object(key)? {
        Some(part) => Ok(part.called(path)),
        None => Err(block.unexpected(key, "an object", "nothing")),
    }
}

/// Refuses what is set and not known: attention sinks, windows, experts. Null, false and an empty list are not set.
fn check_keys(config: &Config, known: &[&str]) -> Result<()> {
    let unset = |value: &Value| {
        value.is_null() || *value == Value::Bool(false) || value.as_array().is_some_and(|list| list.is_empty())
    };
    let keys = config.object_value().as_object().into_iter().flatten();
    let mut unknown = keys.filter(|(key, value)| !known.contains(&key.as_str()) && !unset(value));
    match unknown.next() {
        None => Ok(()),
        Some((key, found)) => Err(Error::new(Category::Model, "Unsupported part of a layer")
            .details(format_args!("{}: {key}: expected null or false, found {found}", config.path()))
            .hint(
                "remove the key if it is a mistake: no published checkpoint sets it, and such a model cannot run here",
            )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_stands_for_two_thirds_of_its_multiple_rounded_up() {
        for (mult, hidden, width) in [(2.625, 8192, 14_336), (5.25, 8192, 28_672), (0.4875, 16_384, 5376)] {
            assert_eq!(intermediate(mult, hidden), Some(width));
        }
        assert_eq!(intermediate(1e9, 8192), None);
    }
}
