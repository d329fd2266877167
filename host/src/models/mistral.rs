//! `MistralForCausalLM`: Llama with an attention window.
use super::config::Config;
use super::llama;
use super::spec::ModelSpec;
use crate::error::Result;

/// The window that transformers takes where the file does not have the key; null is none.
const DEFAULT_WINDOW: usize = 4096;

/// Translates config.json.
///
/// # Errors
/// A key is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    let key = "sliding_window";
    let window = if config.contains(key) { config.optional_size(&[key])? } else { Some(DEFAULT_WINDOW) };
    llama::read_as("mistral", config, window)
}
