//! Model families: a family is a file; config.json and tensor names become blocks.
mod config;
mod deci;
mod decoder;
mod llama;
mod mistral;
mod nemotron;
mod nemotron_h;
mod rope;
mod sizes;
pub mod spec;

use serde_json::Value;

use crate::error::{Category, Error, Result};
use config::{Config, MAX_SIZE};
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

/// Translates config.json, and the stop ids of generation_config.json, into blocks.
///
/// # Errors
/// The architecture is unknown, or a key is missing, out of range or not supported.
pub fn read(config: &Value, generation_config: Option<&Value>) -> Result<ModelSpec> {
    let config = Config::new("config.json", config);
    let family = family(&config)?;
    refuse_quantization(&config)?;
    let mut spec = (family.read)(&config)?;
    spec.eos = eos(&config)?;
    if let Some(generation) = generation_config {
        spec.eos.extend(eos(&Config::new("generation_config.json", generation))?);
    }
    spec.eos.sort_unstable();
    spec.eos.dedup();
    Ok(spec)
}

/// The family that `architectures` names first, else the one of `model_type`.
fn family(config: &Config) -> Result<&'static Family> {
    let architecture = config.value("architectures").and_then(|list| list.get(0)?.as_str());
    let found = architecture.or(config.text("model_type")?);
    let matches = |family: &&Family| match architecture {
        Some(architecture) => architecture == family.architecture,
        None => found.is_some_and(|found| family.model_types.contains(&found)),
    };
    FAMILIES.iter().find(matches).ok_or_else(|| {
        Error::new(Category::Model, "Unknown architecture")
            .details(format_args!("config.json: architectures: found {}", found.unwrap_or("nothing")))
            .hint(format_args!("known are {}", FAMILIES.map(|family| family.architecture).join(", ")))
    })
}

fn refuse_quantization(config: &Config) -> Result<()> {
    let Some(quantization) = config.object("quantization_config")? else { return Ok(()) };
    let method = quantization.text("quant_method")?.unwrap_or("unknown");
    let algorithm = quantization.text("quant_algo")?.map(|algorithm| format!(", {algorithm}")).unwrap_or_default();
    Err(Error::new(Category::Model, "Quantized weights are not yet supported")
        .details(format_args!("config.json: quantization_config: {method}{algorithm}"))
        .hint("use the checkpoint in BF16"))
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
