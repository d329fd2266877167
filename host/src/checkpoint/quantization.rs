//! hf_quant_config.json: how ModelOpt quantized a checkpoint whose config.json does not say so.
use std::path::Path;

use serde_json::Value;

use super::json;
use crate::error::{Category, Error, Result};

const FILE: &str = "hf_quant_config.json";

/// Refuses weights that the file beside `config` says to be quantized. Where config.json has a section of its own for
/// that, the model's reader judges it; a cache that is quantized leaves the weights as they are.
///
/// # Errors
/// The file names an algorithm for the weights, or cannot be read.
pub fn check(directory: &Path, config: &Value) -> Result<()> {
    let path = directory.join(FILE);
    if !config["quantization_config"].is_null() {
        return Ok(());
    }
    let Some(file) = json::read(&path)? else { return Ok(()) };
    let quantization = &file["quantization"];
    let algorithm = match &quantization["quant_algo"] {
        Value::Null if !quantization.is_object() => "unknown".to_owned(),
        Value::Null => return Ok(()),
        Value::String(name) => name.clone(),
        other => other.to_string(),
    };
    Err(Error::new(Category::Model, "Quantized weights are not yet supported")
        .details(format_args!("{}: quantization: quant_algo: {algorithm}", path.display()))
        .hint("use the checkpoint in BF16"))
}
