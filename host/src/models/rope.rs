//! The rotary embedding's keys in all their spellings.
use super::config::Config;
use super::spec::{Rope, RopeScaling};
use crate::error::{Category, Error, Result};

/// The base that transformers takes where the file has none.
const DEFAULT_THETA: f64 = 10_000.0;

/// Reads the rotary embedding of heads of width `head_dim`, of which `default_share` is rotated unless the file says
/// otherwise.
///
/// transformers 5 writes all of it into `rope_parameters`; before, `rope_theta` and the share stood in the file itself
/// and `rope_scaling` held the rest.
///
/// # Errors
/// A value is out of range, or the type of scaling is not supported.
pub fn read(config: &Config, head_dim: usize, default_share: f64) -> Result<Rope> {
    let parameters = config.object("rope_parameters")?;
    let theta = match &parameters {
        Some(parameters) => parameters.optional_positive(&["rope_theta"])?,
        None => None,
    };
    let theta = theta.or(config.optional_positive(&["rope_theta"])?).unwrap_or(DEFAULT_THETA);
    let dims = rotary_dims(config, parameters.as_ref(), head_dim, default_share)?;
    let scaling = match parameters.or(config.object("rope_scaling")?) {
        Some(section) => scaling(config, &section)?,
        None => RopeScaling::None,
    };
    Ok(Rope { dims, theta, scaling })
}

fn rotary_dims(config: &Config, parameters: Option<&Config>, head_dim: usize, default_share: f64) -> Result<usize> {
    let share = match parameters {
        Some(parameters) => parameters.optional_positive(&["partial_rotary_factor"])?,
        None => None,
    };
    let flat = ["rope_percent", "rope_percentage", "partial_rotary_factor"];
    let share = share.or(config.optional_positive(&flat)?).unwrap_or(default_share);
    let dims = (head_dim as f64 * share) as usize;
    if share > 1.0 || dims == 0 || !dims.is_multiple_of(2) {
        return Err(config.unexpected(
            "partial_rotary_factor",
            format_args!("a share of the {head_dim} dims of a head that is a positive even number"),
            share,
        ));
    }
    Ok(dims)
}

fn scaling(config: &Config, section: &Config) -> Result<RopeScaling> {
    match section.text("rope_type")?.or(section.text("type")?).unwrap_or("default") {
        "default" => Ok(RopeScaling::None),
        "linear" => {
            let factor = section.optional_positive(&["factor"])?;
            Ok(RopeScaling::Linear { factor: factor.map_or_else(|| config.positive(&["factor"]), Ok)? })
        }
        "llama3" => llama3(section),
        other => Err(Error::new(Category::Model, "Unsupported rope type")
            .details(format_args!("config.json: rope_type: expected default, linear or llama3, found {other}"))
            .hint("such a model cannot run here yet; take one whose config.json has another rope_scaling")),
    }
}

fn llama3(section: &Config) -> Result<RopeScaling> {
    let low = section.positive(&["low_freq_factor"])?;
    let high = section.positive(&["high_freq_factor"])?;
    if low >= high {
        return Err(section.unexpected("low_freq_factor", format_args!("less than high_freq_factor {high}"), low));
    }
    Ok(RopeScaling::Llama3 {
        factor: section.positive(&["factor"])?,
        low,
        high,
        original_context: section.size("original_max_position_embeddings")?,
    })
}
