//! Models that see or hear around a Nemotron-H: the text part alone is read.
use super::read_at;
use crate::error::Result;
use crate::models::config::Config;
use crate::models::spec::ModelSpec;

/// Where wrappers keep the configuration of the text part.
const TEXT: [&str; 2] = ["text_config", "llm_config"];

/// In front of the names of the text part's tensors.
const PREFIX: &str = "language_model.";

/// Translates config.json of a wrapper.
///
/// # Errors
/// There is no text part, or a key of it is missing, out of range or not supported.
pub fn read(config: &Config) -> Result<ModelSpec> {
    for key in TEXT {
        if let Some(text) = config.object(key)? {
            return read_at(&text, PREFIX);
        }
    }
    Err(config.unexpected("text_config", "the text part's configuration, or llm_config", "neither"))
}
