//! `MistralForCausalLM`: Llama with an attention window.
use super::config::Config;
use super::llama;
use super::sizes::SizeDefaults;
use super::spec::ModelSpec;
use crate::error::Result;

/// The window that transformers takes where the file does not have the key; null is none.
const DEFAULT_WINDOW: usize = 4096;

/// What `MistralConfig` has for sizes that are missing.
const DEFAULTS: SizeDefaults = SizeDefaults { context: 131_072, kv_heads: Some(8) };

/// Translates config.json.
///
/// # Errors
/// A key is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    let key = "sliding_window";
    let window =
        if config.contains(key) { config.optional_size(&[key])? } else { Some(config.size_or(key, DEFAULT_WINDOW)?) };
    llama::read_as("mistral", config, DEFAULTS, window)
}
