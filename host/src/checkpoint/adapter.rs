//! A PEFT adapter, such as LoRA: a few matrices for another model, not a model.
use std::path::Path;

use crate::error::{Category, Error, Result};
use crate::files;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// An adapter in a directory.
pub struct Adapter {
    kind: String,
    base: Option<String>,
}

/// The adapter of a directory, if it has one.
///
/// # Errors
/// Its config is there and cannot be read.
pub fn find(directory: &Path) -> Result<Option<Adapter>> {
    let config = files::json(&directory.join(CONFIG))?;
    if config.is_none() && !directory.join(WEIGHTS).exists() {
        return Ok(None);
    }
    let text = |key: &str| Some(config.as_ref()?.get(key)?.as_str()?.to_owned());
    let kind = text("peft_type").unwrap_or_else(|| "LoRA".to_owned());
    let kind = if kind == "LORA" { "LoRA".to_owned() } else { kind };
    Ok(Some(Adapter { kind, base: text("base_model_name_or_path").filter(|base| !base.is_empty()) }))
}

impl Adapter {
    /// The error where there is no model beside it.
    pub fn alone(&self, directory: &Path) -> Error {
        let base = self.base.as_deref().unwrap_or("a base model that it does not name");
        Error::new(Category::Model, format!("A {} adapter is not a model", self.kind))
            .details(format_args!("{}: holds an adapter for {base}, and no weights of a model", directory.display()))
            .hint(
                "adapters are not supported: merge it into its base model with PEFT's merge_and_unload(), save that, and \
                 load the result",
            )
    }

    /// What is said where there is one.
    pub fn note(&self) -> String {
        format!("{CONFIG} is ignored: the {} adapter beside the weights is not applied", self.kind)
    }
}
