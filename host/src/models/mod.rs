//! Model families: a family is a file; config.json and tensor names become blocks.
mod cache;
mod config;
mod deci;
mod decoder;
mod formats;
mod llama;
mod mistral;
mod nemotron;
mod nemotron_h;
mod patterns;
mod quantization;
mod recipe;
mod rope;
mod said;
mod shard;
mod sizes;
pub mod spec;
mod stored;

use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::error::{Category, Error, Result};
pub use cache::keep_cache;
pub use config::MAX_SIZE;
use config::{Config, Notes};
pub use recipe::{QuantizeReport, quantize, quantize_inputs, quantize_mixed};
use spec::ModelSpec;

/// One family: how config.json names it, and what reads it.
struct Family {
    architecture: &'static str,
    model_types: &'static [&'static str],
    read: fn(&Config) -> Result<ModelSpec>,
}

const FAMILIES: [Family; 7] = [
    Family { architecture: "NemotronForCausalLM", model_types: &["nemotron"], read: nemotron::read },
    Family { architecture: "LlamaForCausalLM", model_types: &["llama"], read: llama::read },
    Family { architecture: "MistralForCausalLM", model_types: &["mistral"], read: mistral::read },
    Family { architecture: "NemotronHForCausalLM", model_types: &["nemotron_h"], read: nemotron_h::read },
    Family { architecture: "NemotronHPuzzleForCausalLM", model_types: &["nemotron_h_puzzle"], read: nemotron_h::read },
    Family { architecture: "NemotronH_Nano_VL_V2", model_types: &["nemotron_h_omni"], read: nemotron_h::read_wrapped },
    Family { architecture: "DeciLMForCausalLM", model_types: &["nemotron-nas", "deci"], read: deci::read },
];

/// A checkpoint as it was read.
#[derive(Debug)]
pub struct Reading {
    /// The model.
    pub spec: ModelSpec,
    /// What was ignored and which defaults were taken: what the checkpoint's owner should know.
    pub notes: Vec<String>,
    /// What makes it doubtful that this is the model that its owner means.
    pub warnings: Vec<String>,
    /// What is wrong with the scales of keys and values: an error for who wants these in 8 bits.
    pub cache_fault: Option<Error>,
}

/// Reads what a checkpoint holds: config.json and generation_config.json as [`read`] does, and where they leave it open
/// or say otherwise, the stored tensors.
///
/// # Errors
/// As [`read`]; a quantized weight is incomplete, of a kind that is not read, or other than the configuration says; or a tensor
/// is not in the shard that the index names.
pub fn read_checkpoint(checkpoint: &Checkpoint) -> Result<Reading> {
    let notes = Notes::default();
    notes.borrow_mut().extend(checkpoint.notes().iter().cloned());
    let mut spec = read_noting(checkpoint.config(), checkpoint.generation_config(), &notes)?;
    stored::settle_head(checkpoint, &mut spec, &notes)?;
    let stored = formats::settle(checkpoint, &mut spec, &notes)?;
    quantization::check(checkpoint, &stored, &notes)?;
    let cache_fault = cache::settle(checkpoint, &mut spec, &notes);
    stored::check_index(checkpoint, &spec)?;
    let unsaid = quantization::unsaid(checkpoint, &stored);
    let warnings = stored::uncounted_layers(checkpoint).into_iter().chain(unsaid).collect();
    Ok(Reading { spec, notes: notes.into_inner(), warnings, cache_fault })
}

/// Translates config.json, and the stop ids of generation_config.json, into blocks.
///
/// # Errors
/// The architecture is unknown, or a key is missing, out of range or not supported.
pub fn read(config: &Value, generation_config: Option<&Value>) -> Result<ModelSpec> {
    read_noting(config, generation_config, &Notes::default())
}

fn read_noting(config: &Value, generation_config: Option<&Value>, notes: &Notes) -> Result<ModelSpec> {
    let config = Config::new("config.json", config).noting(notes);
    let family = family(&config)?;
    let mut spec = (family.read)(&config)?;
    quantization::check_config(&config)?;
    spec.eos = eos(&config)?;
    if let Some(generation) = generation_config {
        spec.eos.extend(eos(&Config::new("generation_config.json", generation))?);
    }
    spec.eos.sort_unstable();
    spec.eos.dedup();
    Ok(spec)
}

/// The family of `model_type` where that and `architectures` name two that are known, as in transformers; else the one
/// that `architectures` names first, and the one of `model_type` where there is no such list.
fn family(config: &Config) -> Result<&'static Family> {
    let architecture = config.value("architectures").and_then(|list| list.get(0)?.as_str());
    let model_type = config.text("model_type")?;
    let typed = FAMILIES.iter().find(|family| model_type.is_some_and(|found| family.model_types.contains(&found)));
    let Some(architecture) = architecture else {
        return typed.ok_or_else(|| unknown_family(model_type));
    };
    let named = FAMILIES.iter().find(|family| family.architecture == architecture);
    match (named, typed) {
        (Some(named), Some(typed)) if named.architecture != typed.architecture => {
            let counts = model_type.unwrap_or_default();
            config.note(format_args!("architectures {architecture} is ignored: model_type {counts} counts"));
            Ok(typed)
        }
        (Some(named), _) => Ok(named),
        (None, _) => Err(unknown_family(Some(architecture))),
    }
}

fn unknown_family(found: Option<&str>) -> Error {
    Error::new(Category::Model, "Unknown architecture")
        .details(format_args!("config.json: architectures: found {}", found.unwrap_or("nothing")))
        .hint(format_args!("known are {}", FAMILIES.map(|family| family.architecture).join(", ")))
}

/// `eos_token_id`: a number, a list of numbers, or none.
fn eos(config: &Config) -> Result<Vec<u32>> {
    let key = "eos_token_id";
    let ids = match config.value(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.as_slice(),
        Some(id) => std::slice::from_ref(id),
    };
    let id = |id: &Value| id.as_u64().filter(|&id| id <= MAX_SIZE as u64).map(|id| id as u32);
    ids.iter().map(|value| id(value).ok_or_else(|| config.unexpected(key, "a token id", value))).collect()
}

#[cfg(test)]
mod tests;
