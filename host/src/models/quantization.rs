//! Quantized weights, wherever a checkpoint says that it has them: not yet supported, so refused by their name.
use serde_json::Value;

use super::config::{Config, Notes};
use super::spec::ModelSpec;
use crate::checkpoint::{Checkpoint, Dtype};
use crate::error::{Category, Error, Result};

/// Sections of config.json, of today and of older tools.
const SECTIONS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];

/// Keys under which a section lists modules that it leaves alone.
const IGNORED: [&str; 3] = ["ignore", "exclude_modules", "modules_to_not_convert"];

/// What stands in a file in place of `.weight`, and whose layout that is.
const PACKED: [(&str, &str); 6] = [
    (".qweight", "GPTQ or AWQ"),
    (".weight_packed", "compressed-tensors"),
    (".qzeros", "GPTQ or AWQ"),
    (".q_weight", "EXL2"),
    (".W_q", "HQQ"),
    (".codes", "AQLM"),
];

/// What stands beside a quantized `.weight`.
const SCALES: [&str; 5] = [".weight_scale", ".weight_scale_inv", ".weight.absmax", ".SCB", ".scales"];

/// Refuses a section of config.json that quantizes weights.
///
/// # Errors
/// It does, or is no object.
pub fn check_config(config: &Config, spec: &ModelSpec) -> Result<()> {
    for name in SECTIONS {
        let Some(section) = config.object(name)? else { continue };
        if quantizes(section.object_value(), spec) {
            let method = section.text("quant_method")?.unwrap_or("unknown");
            let algorithm = section.text("quant_algo")?.map(|algorithm| format!(", {algorithm}")).unwrap_or_default();
            return Err(refusal(format_args!("config.json: {name}: {method}{algorithm}")));
        }
        config.note(format_args!("{name} is ignored: it quantizes no weights, and keys and values are not quantized"));
    }
    Ok(())
}

/// Refuses what files beside config.json say. ModelOpt's counts by itself; those of GPTQ and AWQ, which transformers
/// does not read, count where the weights are not there as plain numbers.
///
/// # Errors
/// One of them describes quantized weights.
pub fn check_files(checkpoint: &Checkpoint, spec: &ModelSpec, notes: &Notes) -> Result<()> {
    let name = "hf_quant_config.json";
    let described = SECTIONS.iter().any(|section| !checkpoint.config()[*section].is_null());
    if let Some(file) = checkpoint.companion(name).filter(|_| !described) {
        let section = &file["quantization"];
        if !section.is_object() || quantizes(section, spec) {
            let algorithm = section["quant_algo"].as_str().unwrap_or("unknown");
            return Err(refusal(format_args!("{name}: quantization: quant_algo: {algorithm}")));
        }
        notes.borrow_mut().push(format!("{name} is ignored: it quantizes no weights"));
    }
    for (name, method) in [("quantize_config.json", "GPTQ"), ("quant_config.json", "AWQ")] {
        if checkpoint.companion(name).is_none() {
            continue;
        }
        let plain = |name: &str| checkpoint.tensor(name).is_some_and(|tensor| tensor.is_plain());
        if !modules(spec).all(|module| plain(&format!("{module}.weight"))) {
            return Err(refusal(format_args!("{name}: {method}, and weights that are not BF16, F16 or F32")));
        }
        notes.borrow_mut().push(format!("{name} is ignored: the weights are not quantized"));
    }
    Ok(())
}

/// Refuses tensors that are quantized, whatever the files say.
///
/// # Errors
/// A weight of a product is packed, or of a narrow type, or has scales beside it.
pub fn check_tensors(checkpoint: &Checkpoint, spec: &ModelSpec) -> Result<()> {
    for module in modules(spec) {
        let packed = PACKED.iter().find(|(suffix, _)| checkpoint.tensor(&format!("{module}{suffix}")).is_some());
        if let Some((suffix, layout)) = packed {
            return Err(refusal(format_args!("{module}{suffix}: a tensor of {layout}")));
        }
        let Some(weight) = checkpoint.tensor(&format!("{module}.weight")) else { continue };
        let narrow = weight.dtype.bitsize() < 16 && weight.dtype != Dtype::BOOL;
        let scale = SCALES.iter().find(|suffix| checkpoint.tensor(&format!("{module}{suffix}")).is_some());
        if narrow || scale.is_some() {
            let beside = scale.map(|suffix| format!(" with {module}{suffix}")).unwrap_or_default();
            return Err(refusal(format_args!("{module}.weight: {}{beside}", weight.dtype)));
        }
    }
    Ok(())
}

/// Whether a section quantizes a weight of the model.
fn quantizes(section: &Value, spec: &ModelSpec) -> bool {
    let ignored = IGNORED.iter().filter_map(|key| section[*key].as_array()).flatten().filter_map(Value::as_str);
    let ignored: Vec<&str> = ignored.collect();
    if !ignored.is_empty() && modules(spec).all(|module| ignored.iter().any(|pattern| matches(pattern, module))) {
        return false;
    }
    if let Some(groups) = section["config_groups"].as_object() {
        return groups.values().any(|group| !group["weights"].is_null());
    }
    let off = |key: &str| section.get(key).is_some_and(|value| *value == Value::Bool(false));
    if off("load_in_8bit") && off("load_in_4bit") {
        return false;
    }
    let cache = ["kv_cache_scheme", "kv_cache_quant_algo"].iter().any(|key| !section[*key].is_null());
    let algorithm = section.get("quant_algo");
    !(algorithm.is_some_and(Value::is_null) || algorithm.is_none() && cache && section.get("bits").is_none())
}

/// Names of the modules that multiply, without `.weight`: all matrices but the embedding.
fn modules(spec: &ModelSpec) -> impl Iterator<Item = &str> {
    let matrices = spec.tensors().into_iter().filter(|tensor| tensor.shape.len() > 1 && *tensor != &spec.embedding);
    matrices.filter_map(|tensor| tensor.name.strip_suffix(".weight"))
}

/// Whether a pattern of an ignore list names a module: `*` stands for anything, as `.*` does behind `re:`; a name also
/// stands for all that is within it, and for the end of a longer name.
fn matches(pattern: &str, module: &str) -> bool {
    match pattern.strip_prefix("re:") {
        Some(pattern) => {
            let open_end = !pattern.ends_with('$');
            let plain = pattern.trim_start_matches('^').trim_end_matches('$').replace(".*", "*").replace("\\.", ".");
            let wild = if open_end { plain + "*" } else { plain };
            !wild.contains(['\\', '[', '(', '|', '+', '?', '{']) && fits(&wild, module)
        }
        None => {
            fits(pattern, module)
                || module.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.'))
                || module.strip_suffix(pattern).is_some_and(|rest| rest.ends_with('.'))
        }
    }
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(end)
}

fn refusal(details: impl std::fmt::Display) -> Error {
    Error::new(Category::Model, "Quantized weights are not yet supported")
        .details(details)
        .hint("use the checkpoint in BF16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_ignore_lists_match_as_their_tools_have_it() {
        let module = "model.layers.1.mlp.up_proj";
        for pattern in
            ["re:.*", "*", "model.layers.*", "re:.*up_proj$", "re:model\\.layers\\.1", "model.layers.1", "up_proj"]
        {
            assert!(matches(pattern, module), "{pattern}");
        }
        for pattern in
            ["lm_head", "re:.*down_proj$", "model.layers.10", "model.layers.*.attn", "re:.*(up|down)_proj", ""]
        {
            assert!(!matches(pattern, module), "{pattern}");
        }
    }
}
