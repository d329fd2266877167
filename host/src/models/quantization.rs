//! What configurations say about quantized weights, compared with what is stored: the tensors decide, and a contradiction
//! is an error.
use std::fmt::Display;

use gpu_kernels::Format;
use serde_json::Value;

use super::cache::OPTION;
use super::config::{Config, Notes};
use super::decoder::HEAD;
use super::formats::StoredFormat;
use super::patterns::matches;
use crate::checkpoint::Checkpoint;
use crate::error::{Category, Error, Result};

/// Sections of config.json, of today and of older tools.
const SECTIONS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];

/// Keys under which a section lists modules that it leaves alone.
const IGNORED: [&str; 3] = ["ignore", "exclude_modules", "modules_to_not_convert"];

/// Keys under which a section says that keys and values are quantized.
const CACHE: [&str; 2] = ["kv_cache_scheme", "kv_cache_quant_algo"];

/// What the codes of a weight are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    bits: u64,
    floats: bool,
}

/// What a section says about a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// That it is left alone.
    Plain,
    /// By its own name.
    Named(Kind),
    /// Among all modules of its class.
    Classed(Kind),
    Nothing,
}

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
        if CACHE.iter().any(|key| !section.value[*key].is_null()) {
            let place = &section.place;
            notes.borrow_mut().push(format!(
                "{place} wants keys and values in 8 bits: {OPTION} makes them so, by default they are not"
            ));
        }
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
        let (mut expected, mut found) = (None, false);
        for StoredFormat { module, format } in stored {
            let said = self.says(module);
            found |= format.is_some();
            match (said, format.map(kind)) {
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

    fn says(&self, module: &str) -> Said {
        let list = |key: &str| self.value[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        if IGNORED.iter().any(|key| list(key).any(|pattern| matches(pattern, module))) {
            return Said::Plain;
        }
        if let Some(layers) = self.value["quantized_layers"].as_object() {
            return layers.get(module).and_then(of_algorithm).map_or(Said::Nothing, Said::Named);
        }
        if let Some(groups) = self.value["config_groups"].as_object() {
            return groups.values().find_map(|group| of_group(group, module)).unwrap_or(Said::Nothing);
        }
        let method = self.value["quant_method"].as_str();
        let bits = ["bits", "w_bit"].iter().find_map(|key| self.value[*key].as_u64());
        let integers = bits.or((method == Some("awq")).then_some(4)).map(|bits| Kind { bits, floats: false });
        let floats = (method == Some("fp8")).then_some(Kind { bits: 8, floats: true });
        let kind = of_algorithm(self.value).or(integers).or(floats);
        kind.map_or(Said::Nothing, Said::Classed)
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

/// What a group says about a module: its targets are classes of modules, names or patterns.
fn of_group(group: &Value, module: &str) -> Option<Said> {
    let weights = &group["weights"];
    let kind = Kind { bits: weights["num_bits"].as_u64()?, floats: weights["type"] == "float" };
    let mut targets = group["targets"].as_array()?.iter().filter_map(Value::as_str);
    targets.find_map(|target| match target {
        "Linear" => Some(Said::Classed(kind)),
        _ => matches(target, module).then_some(Said::Named(kind)),
    })
}

/// What ModelOpt's word for an algorithm says.
fn of_algorithm(section: &Value) -> Option<Kind> {
    let word = section["quant_algo"].as_str()?;
    let (bits, floats) = match word {
        _ if word.starts_with("FP8") => (8, true),
        _ if word.contains("NVFP4") => (4, true),
        _ if word.starts_with("W4A16") || word.starts_with("W4A8_AWQ") || word.starts_with("INT4") => (4, false),
        _ if word.starts_with("W8A8") || word.starts_with("W8A16") || word.starts_with("INT8") => (8, false),
        _ => return None,
    };
    Some(Kind { bits, floats })
}

/// What the codes of a format are; none for what was widened, since its parts had other formats.
fn kind(format: Format) -> Option<Kind> {
    match format {
        Format::Fp8 { .. } => Some(Kind { bits: 8, floats: true }),
        Format::Nvfp4 => Some(Kind { bits: 4, floats: true }),
        Format::Int8 { .. } => Some(Kind { bits: 8, floats: false }),
        Format::Int4 { .. } => Some(Kind { bits: 4, floats: false }),
        Format::Bf16 | Format::F32 | Format::I32 => None,
    }
}

impl Kind {
    fn name(self) -> String {
        format!("{} of {} bits", if self.floats { "floats" } else { "integers" }, self.bits)
    }
}
