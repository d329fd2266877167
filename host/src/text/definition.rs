//! tokenizer.json as its author wrote it: which part cannot be used, and how far it can blow up a text.
use serde::Deserialize;
use serde_json::Value;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::files::kind;

/// Most times that the normalizer's replacements may lengthen a text. SentencePiece's space takes 3 bytes.
const MOST_GROWTH: f64 = 256.0;

/// What is wrong with the parts, in a user's words; nothing where each is one that is known.
pub(super) fn fault(file: &Value) -> Option<String> {
    let Some(object) = file.as_object() else { return Some(format!("expected an object, found {}", kind(file))) };
    let Some(model) = object.get("model") else { return Some("it has no \"model\"".to_owned()) };
    let part = |name: &str| object.get(name).filter(|part| !part.is_null());
    let mut parts = vec![("model", reads::<ModelWrapper>(model))];
    parts.extend(part("normalizer").map(|part| ("normalizer", reads::<NormalizerWrapper>(part))));
    parts.extend(part("pre_tokenizer").map(|part| ("pre_tokenizer", reads::<PreTokenizerWrapper>(part))));
    parts.extend(part("post_processor").map(|part| ("post_processor", reads::<PostProcessorWrapper>(part))));
    parts.extend(part("decoder").map(|part| ("decoder", reads::<DecoderWrapper>(part))));
    parts.extend(part("added_tokens").map(|part| ("added_tokens", reads::<Vec<AddedToken>>(part))));
    let (name, _) = parts.into_iter().find(|(_, reads)| !reads)?;
    let part = &object[name];
    Some(match (part["type"].as_str(), name) {
        (_, "added_tokens") => "a token of \"added_tokens\" lacks a part, or has one of another type".to_owned(),
        (Some(kind), _) => format!("its {name} of the type {kind:?} is not known, or lacks a part"),
        (None, _) => format!("its {name} has no known type, or lacks a part: found {}", kind(part)),
    })
}

/// The parts that rewrite texts; the rest of the file, which may be large, is only looked over.
#[derive(Deserialize)]
pub(super) struct Steps {
    normalizer: Option<Value>,
    decoder: Option<Value>,
}

impl Steps {
    /// Why a text may grow without a bound that anybody needs; nothing where it does not.
    pub(super) fn growth(&self) -> Option<String> {
        [("normalizer", &self.normalizer), ("decoder", &self.decoder)].into_iter().find_map(|(name, part)| {
            let factor = replacements(part.as_ref()?, 0);
            (factor > MOST_GROWTH).then(|| {
                format!(
                    "the replacements of its {name} may make a text {factor:.0} times as long, \
                     at most {MOST_GROWTH} is allowed"
                )
            })
        })
    }
}

/// How often a part's `Replace` steps, one after the other, may multiply a text's bytes.
fn replacements(part: &Value, depth: usize) -> f64 {
    let steps = ["normalizers", "decoders"].into_iter().find_map(|key| part[key].as_array());
    if let Some(steps) = steps {
        // serde refuses what is nested deeper than 128.
        return if depth > 128 {
            f64::INFINITY
        } else {
            steps.iter().map(|step| replacements(step, depth + 1)).product()
        };
    }
    if part["type"] != "Replace" {
        return 1.0;
    }
    let content = part["content"].as_str().map_or(0, str::len) as f64;
    match part["pattern"]["String"].as_str() {
        Some(pattern) if !pattern.is_empty() => (content / pattern.len() as f64).max(1.0),
        // An expression may match a single byte, or stand between any two.
        _ => 1.0 + content,
    }
}

fn reads<T: serde::de::DeserializeOwned>(part: &Value) -> bool {
    std::panic::catch_unwind(|| serde_json::from_value::<T>(part.clone()).is_ok()).unwrap_or(false)
}
