//! The rotary embedding's keys in all their spellings, and which of them counts where they disagree.
use serde_json::Value;

use super::config::Config;
use super::spec::{Rope, RopeScaling};
use crate::error::{Category, Error, Result};

/// The base that transformers takes where the file has none.
const DEFAULT_THETA: f64 = 10_000.0;

/// How the rotated share of a head is spelled; transformers 5 reads the first alone, older Nemotron readers the others.
const SHARES: [&str; 3] = ["partial_rotary_factor", "rope_percent", "rope_percentage"];

/// Reads the rotary embedding of heads of width `head_dim`. `default_share` of them is rotated unless the file says
/// otherwise; none is for a family that rotates whole heads whatever the file says.
///
/// As transformers 5 has it: the section is `rope_scaling` if that is there and not empty, else `rope_parameters`; what
/// stands in the section counts before what stands in the file itself.
///
/// # Errors
/// A value is out of range, or the type of scaling is not supported.
pub fn read(config: &Config, head_dim: usize, context: usize, default_share: Option<f64>) -> Result<Rope> {
    let section = section(config)?;
    let scaling = match &section {
        Some(section) => scaling(config, section, context)?,
        None => RopeScaling::None,
    };
    if !matches!(scaling, RopeScaling::Linear { .. })
        && let Some(factor) = config.value("factor")
    {
        config.note(format_args!("factor {factor} is ignored: rope_scaling does not say that it is linear"));
    }
    let theta = positive(config, section.as_ref(), "rope_theta")?;
    let theta = theta.map_or_else(|| config.positive_or(&["rope_theta"], DEFAULT_THETA), Ok)?;
    let dims = match default_share {
        Some(default) => rotary_dims(config, section.as_ref(), head_dim, default)?,
        None => whole_head(config, section.as_ref(), head_dim, &scaling)?,
    };
    Ok(Rope { dims, theta, scaling })
}

/// The section that counts.
fn section<'a>(config: &Config<'a>) -> Result<Option<Config<'a>>> {
    let filled = |section: &Config| section.object_value().as_object().is_some_and(|fields| !fields.is_empty());
    let [old, new] = [config.object("rope_scaling")?, config.object("rope_parameters")?];
    let (old, new) = (old.filter(filled), new.filter(filled));
    if let (Some(old), Some(new)) = (&old, &new)
        && old.object_value() != new.object_value()
    {
        config.note("rope_parameters is ignored: rope_scaling is there and counts, as in transformers");
    }
    Ok(old.or(new))
}

/// A number that the section may have, or else the file.
fn positive(config: &Config, section: Option<&Config>, key: &str) -> Result<Option<f64>> {
    let Some(section) = section.filter(|section| section.value(key).is_some()) else {
        return config.optional_positive(&[key]);
    };
    note_outer(config, section, key);
    section.optional_positive(&[key])
}

/// Says that the file's own `key` is ignored for that of the section, where they differ.
fn note_outer(config: &Config, section: &Config, key: &str) {
    let name = format!("the one in {}", section.path());
    config.note_ignored(&name, section.value(key).unwrap_or(&Value::Null), &[key]);
}

fn share(config: &Config, section: Option<&Config>) -> Result<Option<f64>> {
    match section.filter(|section| section.value(SHARES[0]).is_some()) {
        Some(_) => positive(config, section, SHARES[0]),
        None => config.optional_positive(&SHARES),
    }
}

fn rotary_dims(config: &Config, section: Option<&Config>, head_dim: usize, default_share: f64) -> Result<usize> {
    let share = share(config, section)?.unwrap_or(default_share);
    let dims = (head_dim as f64 * share) as usize;
    if share > 1.0 || dims == 0 || !dims.is_multiple_of(2) {
        return Err(config.unexpected(
            SHARES[0],
            format_args!("a share of the {head_dim} dims of a head that is a positive even number"),
            share,
        ));
    }
    Ok(dims)
}

/// All dims: transformers' Llama does not read a share, and fails on one where frequencies are stretched.
fn whole_head(config: &Config, section: Option<&Config>, head_dim: usize, scaling: &RopeScaling) -> Result<usize> {
    let share = share(config, section)?.filter(|&share| share != 1.0);
    if let Some(share) = share {
        if *scaling != RopeScaling::None {
            return Err(config.unexpected(SHARES[0], "1, for models of this architecture rotate whole heads", share));
        }
        config.note(format_args!("{} {share} is ignored: this architecture rotates whole heads", SHARES[0]));
    }
    Ok(head_dim)
}

fn scaling(config: &Config, section: &Config, context: usize) -> Result<RopeScaling> {
    let kind = section.text("rope_type")?.or(section.text("type")?).unwrap_or("default");
    section.note_ignored("rope_type", &kind.into(), &["type"]);
    match kind {
        "default" => {
            if let Some(factor) = section.value("factor") {
                section.note(format_args!("factor {factor} is ignored: rope_type is default"));
            }
            Ok(RopeScaling::None)
        }
        "linear" => {
            let factor = positive(config, Some(section), "factor")?;
            Ok(RopeScaling::Linear { factor: factor.map_or_else(|| section.positive(&["factor"]), Ok)? })
        }
        "llama3" => llama3(config, section, context),
        other => Err(Error::new(Category::Model, "Unsupported rope type")
            .details(format_args!("config.json: rope_type: expected default, linear or llama3, found {other}"))
            .hint("such a model cannot run here yet; take one whose config.json has another rope_scaling")),
    }
}

/// Here the file's own `original_max_position_embeddings` counts before that of the section, as in transformers.
fn llama3(config: &Config, section: &Config, context: usize) -> Result<RopeScaling> {
    let low = section.positive(&["low_freq_factor"])?;
    let high = section.positive(&["high_freq_factor"])?;
    if low >= high {
        return Err(section.unexpected("low_freq_factor", format_args!("less than high_freq_factor {high}"), low));
    }
    let key = "original_max_position_embeddings";
    if let Some(outer) = config.value(key) {
        section.note_ignored("the one in config.json", outer, &[key]);
    }
    let original_context = match config.optional_size(&[key])? {
        Some(outer) => outer,
        None => section.size_or(key, context)?,
    };
    Ok(RopeScaling::Llama3 { factor: section.positive(&["factor"])?, low, high, original_context })
}
