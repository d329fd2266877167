//! What configurations say about quantized weights, compared with what is stored: the tensors decide, and a contradiction
//! is an error.
use std::fmt::Display;

use gpu_kernels::Format;
use serde_json::Value;

use super::cache::OPTION;
use super::config::{Config, Notes};
use super::decoder::HEAD;
use super::formats::StoredFormat;
use super::said::{CodeKind, Rules, Said};
use crate::checkpoint::Checkpoint;
use crate::error::{Category, Error, Result};

/// Sections of config.json, of today and of older tools.
const SECTIONS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];

/// Keys under which a section says that keys and values are quantized.
const CACHE: [&str; 2] = ["kv_cache_scheme", "kv_cache_quant_algo"];

/// A section, and where it stands.
struct Section<'a> {
    place: String,
    value: &'a Value,
    /// Whether transformers does not read it, so that it counts for nothing where the weights are plain.
    optional: bool,
}

/// Refuses a section of config.json that is no object.
///
/// # Errors
/// One is not.
pub fn check_config(config: &Config) -> Result<()> {
    SECTIONS.iter().try_for_each(|name| config.object(name).map(drop))
}

/// Compares what is stored with what config.json and the files beside it say.
///
/// # Errors
/// A contradiction, with both places.
pub fn check(checkpoint: &Checkpoint, stored: &[StoredFormat], notes: &Notes) -> Result<()> {
    let quantized = stored.iter().any(|stored| stored.format.is_some());
    for section in sections(checkpoint) {
        if !quantized && section.optional {
            notes.borrow_mut().push(format!("{} is ignored: the weights are not quantized", section.place));
            continue;
        }
        section.check(stored)?;
        if !quantized {
            let place = &section.place;
            notes.borrow_mut().push(format!("{place} is ignored: it quantizes no weights"));
        }
        notes.borrow_mut().extend(section.of_cache());
    }
    let scaled = |suffix: &str| checkpoint.tensors().any(|(name, _)| name.ends_with(suffix));
    if scaled(".input_scale") || scaled(".input_global_scale") {
        notes.borrow_mut().push("activations are not quantized: input_scale tensors are not used".to_owned());
    }
    Ok(())
}

/// Says that weights are quantized where neither config.json nor hf_quant_config.json does. Loaders that go by these files alone
/// refuse such weights, or take the codes for numbers.
pub fn unsaid(checkpoint: &Checkpoint, stored: &[StoredFormat]) -> Option<String> {
    let first = stored.iter().find(|stored| stored.format.is_some())?;
    let sections = sections(checkpoint);
    let nested = ["text_config", "llm_config"].map(|key| &checkpoint.config()[key]);
    let inside = nested.iter().any(|config| SECTIONS.iter().any(|name| !config[*name].is_null()));
    if inside || sections.iter().any(|section| !section.optional) {
        return None;
    }
    let other = sections.first().map_or(String::new(), |section| format!(", though {} does", section.place));
    Some(format!(
        "weights are quantized ({}, for one), which neither config.json nor hf_quant_config.json says{other}: other programs may \
         misread them, here they are read as they are stored",
        first.module
    ))
}

fn sections(checkpoint: &Checkpoint) -> Vec<Section<'_>> {
    let config = SECTIONS.iter().filter_map(|name| {
        let value = checkpoint.config().get(*name).filter(|value| !value.is_null())?;
        Some(Section { place: format!("config.json: {name}"), value, optional: false })
    });
    let beside = ["hf_quant_config.json", "quantize_config.json", "quant_config.json"].into_iter();
    let beside = beside.filter_map(|name| {
        let file = checkpoint.quantization_file(name)?;
        let inner = file.get("quantization").filter(|inner| inner.is_object());
        Some(Section { place: name.to_owned(), value: inner.unwrap_or(file), optional: name != "hf_quant_config.json" })
    });
    config.chain(beside).collect()
}

impl Section<'_> {
    fn check(&self, stored: &[StoredFormat]) -> Result<()> {
        let head = HEAD.trim_end_matches(".weight");
        let rules = Rules::new(self.value);
        let (mut expected, mut found) = (None, false);
        for StoredFormat { module, format } in stored {
            let kind = format.map(CodeKind::of);
            found |= format.is_some();
            match (rules.of(module, kind.flatten()), kind) {
                (Said::Plain, Some(_)) => return Err(self.contradiction(module, "not quantized", *format)),
                (Said::Named(said) | Said::Classed(said), Some(Some(kind))) if said != kind => {
                    return Err(self.contradiction(module, said.name(), *format));
                }
                (Said::Named(said), None) => return Err(self.contradiction(module, said.name(), None)),
                (Said::Classed(said), None) if *module != head => expected = expected.or(Some((module, said))),
                _ => {}
            }
        }
        match expected {
            Some((module, said)) if !found => Err(self.contradiction(module, said.name(), None)),
            _ => Ok(()),
        }
    }

    /// What it says of keys and values. Some exporters write an empty text or `none` where they stay.
    fn of_cache(&self) -> Option<String> {
        let bits = |value: &Value| match value {
            Value::String(word) if ["", "none", "auto"].contains(&word.to_lowercase().as_str()) => None,
            Value::String(word) => Some(if word.to_uppercase().contains("FP4") { 4 } else { 8 }),
            value => value["num_bits"].as_u64(),
        };
        let (place, bits) = (&self.place, CACHE.iter().find_map(|key| bits(&self.value[*key]))?);
        Some(match bits {
            8 => format!("{place} wants keys and values in 8 bits: {OPTION} makes them so, by default they are not"),
            _ => {
                format!("{place} wants keys and values in {bits} bits, which are not supported: they are not quantized")
            }
        })
    }

    fn contradiction(&self, module: &str, said: impl Display, found: Option<Format>) -> Error {
        let found = found.map_or("plain numbers", Format::name);
        Error::new(Category::Model, "Configuration and weights contradict each other")
            .details(format_args!("{}: {module}: expected {said}, found {found}", self.place))
            .hint(
                "download config and weights from one revision; if the weights are right, correct what is said of them",
            )
    }
}
