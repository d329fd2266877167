//! The Mamba-2 layers of Nemotron-H.
use gpu_kernels::ssm::TAPS;
use serde_json::Value;

use super::Family;
use crate::error::{Category, Error, Result};
use crate::models::config::Config;
use crate::models::decoder;
use crate::models::spec::{Mamba2, Tensor};

/// Keys of older files; where both stand, transformers lets the older one count.
const HEADS: [&str; 1] = ["mamba_num_heads"];
const HEAD_DIM: [&str; 1] = ["mamba_head_dim"];
const GROUPS: [&str; 3] = ["mamba_n_groups", "mamba_num_groups", "n_groups"];
const STATE_SIZE: [&str; 3] = ["mamba_d_state", "mamba_state_dim", "ssm_state_size"];
const TAP_COUNT: [&str; 2] = ["mamba_d_conv", "conv_kernel"];
const CONV_BIAS: [&str; 2] = ["mamba_conv_bias", "use_conv_bias"];
const BIAS: [&str; 2] = ["mamba_proj_bias", "use_bias"];
const LIMIT: [&str; 2] = ["mamba_dt_limit", "time_step_limit"];

/// From here on an upper limit of the step size limits nothing.
const NO_LIMIT: f64 = 1e9;

impl Family<'_> {
    /// Layer `layer`, a Mamba-2 mixer.
    ///
    /// # Errors
    /// A size is missing, or sizes do not go together.
    pub(super) fn mamba(&self, layer: usize) -> Result<Mamba2> {
        let config = self.layer_config(layer);
        let size = |keys: &[&str]| {
            let missing = || config.unexpected(keys[keys.len() - 1], "a whole number", "nothing");
            config.optional_size(keys)?.ok_or_else(missing)
        };
        let (heads, head_dim) = (size(&HEADS)?, size(&HEAD_DIM)?);
        let (groups, state_size) = (size(&GROUPS)?, size(&STATE_SIZE)?);
        check(&config, [heads, head_dim, groups, state_size])?;
        if let Some(taps) = config.optional_size(&TAP_COUNT)?.filter(|taps| *taps != TAPS as usize) {
            return Err(config.unexpected("conv_kernel", TAPS, taps));
        }
        if !flag(&config, &CONV_BIAS)?.unwrap_or(true) {
            return Err(config.unexpected("use_conv_bias", "true", false));
        }
        let biased = flag(&config, &BIAS)?.unwrap_or(false);
        let (hidden, inner) = (self.sizes.hidden, heads * head_dim);
        let channels = inner + 2 * groups * state_size;
        let name = |name: &str| self.mixer(layer, name);
        let of_heads = |part: &str| Tensor::vector(name(part), heads).exact();
        Ok(Mamba2 {
            norm: self.layer_norm(layer),
            in_proj: decoder::product(&[(name("in_proj"), inner + channels + heads)], hidden, biased),
            conv_weight: Tensor { shape: vec![channels, 1, TAPS as usize], ..Tensor::vector(name("conv1d.weight"), 0) },
            conv_bias: Tensor::vector(name("conv1d.bias"), channels),
            a_log: of_heads("A_log"),
            d: of_heads("D"),
            dt_bias: of_heads("dt_bias"),
            gate_norm: Tensor::vector(name("norm.weight"), inner),
            out_proj: decoder::product(&[(name("out_proj"), hidden)], inner, biased),
            heads,
            head_dim,
            groups,
            state_size,
            dt_min: dt_min(&config)?,
            eps: self.eps,
        })
    }
}

/// Refuses what the kernels of a mixer do not take.
fn check(config: &Config, [heads, head_dim, groups, state_size]: [usize; 4]) -> Result<()> {
    let refuse = |key: &str, expected: String, found: usize| Err(config.unexpected(key, expected, found));
    match () {
        () if !heads.is_multiple_of(groups) => {
            refuse("mamba_num_heads", format!("a multiple of {groups} groups"), heads)
        }
        () if !head_dim.is_multiple_of(16) || head_dim > 128 => {
            refuse("mamba_head_dim", "a multiple of 16, at most 128".into(), head_dim)
        }
        () if !state_size.is_multiple_of(16) || state_size > 256 => {
            refuse("ssm_state_size", "a multiple of 16, at most 256".into(), state_size)
        }
        () if head_dim * state_size > 16_384 => {
            refuse("ssm_state_size", format!("at most {}", 16_384 / head_dim), state_size)
        }
        () if !heads.is_multiple_of(8) => refuse("mamba_num_heads", "a multiple of 8".into(), heads),
        () => Ok(()),
    }
}

/// True or false of the first of `keys` that has a value.
fn flag(config: &Config, keys: &[&str]) -> Result<Option<bool>> {
    for key in keys {
        if config.value(key).is_some() {
            return config.flag(key).map(Some);
        }
    }
    Ok(None)
}

/// The least step size. The kernels know no largest one; no published model has one.
fn dt_min(config: &Config) -> Result<f32> {
    let Some((key, value)) = LIMIT.iter().find_map(|key| Some((*key, config.value(key)?))) else { return Ok(0.0) };
    let limits = value.as_array().map(|limits| limits.iter().map(number).collect::<Vec<_>>());
    match limits.as_deref() {
        Some([Some(least), Some(most)]) if *most >= NO_LIMIT && (0.0..NO_LIMIT).contains(least) => Ok(*least as f32),
        _ => Err(Error::new(Category::Model, "Unsupported limit of the step size")
            .details(format_args!("{}: {key}: expected [least, Infinity], found {value}", config.path()))
            .hint("no published model has another upper limit")),
    }
}

/// A number, which transformers writes as an object where it is infinite.
fn number(value: &Value) -> Option<f64> {
    let infinite = |word: &str| (word == "Infinity").then_some(f64::INFINITY);
    value.as_f64().or_else(|| infinite(value.as_str().or_else(|| value.get("__float__")?.as_str())?))
}
