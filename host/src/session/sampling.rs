//! How a model's owner wants tokens chosen: generation_config.json.
use serde_json::Value;

use super::rules::unexpected;
use super::{Note, rules};
use crate::error::Result;
use crate::sample::Sampling;

/// What transformers takes for top-k where a file that samples does not say.
const DEFAULT_TOP_K: usize = 50;

/// Keys that change the choice of tokens and are not applied, with the values that change nothing.
const NOT_APPLIED: [(&str, &[f64]); 18] = [
    ("constraints", &[]),
    ("diversity_penalty", &[0.0]),
    ("dola_layers", &[]),
    ("encoder_no_repeat_ngram_size", &[0.0]),
    ("encoder_repetition_penalty", &[1.0]),
    ("epsilon_cutoff", &[0.0]),
    ("eta_cutoff", &[0.0]),
    ("exponential_decay_length_penalty", &[]),
    ("force_words_ids", &[]),
    ("forced_bos_token_id", &[]),
    ("guidance_scale", &[1.0]),
    ("max_time", &[]),
    ("num_beams", &[1.0]),
    ("penalty_alpha", &[0.0]),
    ("token_healing", &[]),
    ("top_h", &[]),
    ("typical_p", &[1.0]),
    ("watermarking_config", &[]),
];

/// Keys that say how tokens are drawn, with the values that change nothing where none are.
const DRAWING: [(&str, &[f64]); 4] =
    [("temperature", &[0.0, 1.0]), ("top_k", &[0.0, 50.0]), ("top_p", &[1.0]), ("min_p", &[0.0])];

/// Keys whose rules are applied. Nobody asks for them on the command line, so those who ask for more are told.
const APPLIED: [(&str, &[f64]); 9] = [
    ("bad_words_ids", &[]),
    ("begin_suppress_tokens", &[]),
    ("forced_eos_token_id", &[]),
    ("max_length", &[]),
    ("min_length", &[0.0]),
    ("min_new_tokens", &[0.0]),
    ("no_repeat_ngram_size", &[0.0]),
    ("sequence_bias", &[]),
    ("suppress_tokens", &[]),
];

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of an answer.
    pub max_tokens: Option<usize>,
    /// Lines about keys that change the choice of tokens: for everybody those that are not applied.
    pub notes: Vec<Note>,
}

/// What a file says for a model of `vocab` tokens whose texts `eos` ends; without `do_sample` the choice is greedy.
///
/// # Errors
/// A value is not what its key asks for.
pub fn defaults(generation_config: Option<&Value>, eos: &[u32], vocab: usize) -> Result<Defaults> {
    let Some(file) = generation_config else { return Ok(Defaults::default()) };
    let drawn = file.get("do_sample").and_then(Value::as_bool) == Some(true);
    let constraints = rules::read(file, eos, vocab)?;
    let has_length = constraints.max_length > 0;
    let plain = Sampling {
        repeat_penalty: number(file, "repetition_penalty")?.unwrap_or(1.0),
        constraints,
        ..Sampling::default()
    };
    let drawing = Sampling {
        temperature: number(file, "temperature")?.unwrap_or(1.0),
        top_k: number(file, "top_k")?.map_or(DEFAULT_TOP_K, |top_k| top_k as usize),
        top_p: number(file, "top_p")?.unwrap_or(1.0),
        min_p: number(file, "min_p")?.unwrap_or(0.0),
        ..plain.clone()
    };
    let ignored = changing(file, &NOT_APPLIED);
    let mut notes = Vec::new();
    if !ignored.is_empty() {
        notes.push(Note::Info(format!("  generation_config.json: {} not applied", are(&ignored))));
    }
    let undrawn = changing(file, &DRAWING);
    if !drawn && !undrawn.is_empty() {
        notes.push(Note::Info(format!("  generation_config.json: {} not applied without do_sample", are(&undrawn))));
    }
    let mut applied = changing(file, &APPLIED);
    applied.retain(|key| *key != "max_length" || has_length);
    if !applied.is_empty() {
        notes.push(Note::Detail(format!("generation_config.json: {} applied", are(&applied))));
    }
    let max_tokens = rules::count(file, "max_new_tokens")?;
    if max_tokens == Some(0) {
        return Err(unexpected(file, "max_new_tokens", "a number of tokens from 1 on"));
    }
    // The length of prompt and answer ends it where it is what the file says.
    let max_tokens = max_tokens.or(has_length.then_some(usize::MAX));
    Ok(Defaults { sampling: if drawn { drawing } else { plain }, max_tokens, notes })
}

/// The keys for which a file has a value that changes something.
fn changing(file: &Value, table: &[(&'static str, &[f64])]) -> Vec<&'static str> {
    table.iter().filter(|row| changes(file, row)).map(|(key, _)| *key).collect()
}

/// Whether a file has a value for a key that is none of those which change nothing.
fn changes(file: &Value, (key, neutral): &(&str, &[f64])) -> bool {
    match file.get(key) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(values)) => !values.is_empty(),
        Some(value) => value.as_f64().is_none_or(|number| !neutral.contains(&number)),
    }
}

fn are(keys: &[&str]) -> String {
    format!("{} {}", keys.join(", "), if keys.len() == 1 { "is" } else { "are" })
}

fn number(file: &Value, key: &str) -> Result<Option<f32>> {
    match file.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_f64().map(|number| Some(number as f32)).ok_or_else(|| unexpected(file, key, "a number"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(file: Value) -> Result<Defaults> {
        defaults(Some(&file), &[3], 100)
    }

    #[test]
    fn a_file_samples_only_if_it_says_so() {
        assert_eq!(defaults(None, &[], 100).unwrap(), Defaults::default());
        let greedy = read(json!({ "temperature": 0.3, "top_p": 0.5 })).unwrap();
        assert_eq!(greedy.sampling, Sampling::default());
        assert_eq!(
            greedy.notes,
            [Note::Info("  generation_config.json: temperature, top_p are not applied without do_sample".into())]
        );
        let drawn = read(json!({ "do_sample": true, "temperature": 0.6, "top_p": 0.95 })).unwrap();
        assert_eq!(drawn.sampling, Sampling { temperature: 0.6, top_k: 50, top_p: 0.95, ..Sampling::default() });
        assert_eq!(drawn.notes, []);
        assert!(read(json!({ "do_sample": true, "top_k": "x" })).is_err());
    }

    #[test]
    fn what_is_not_applied_is_named_once_and_what_changes_nothing_is_not() {
        // The defaults of transformers' GenerationConfig.
        let neutral = json!({
            "constraints": null, "diversity_penalty": 0.0, "dola_layers": null, "encoder_no_repeat_ngram_size": 0,
            "encoder_repetition_penalty": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "force_words_ids": null,
            "exponential_decay_length_penalty": null, "forced_bos_token_id": null, "forced_eos_token_id": null,
            "guidance_scale": null, "max_length": null, "max_new_tokens": null, "max_time": null, "num_beams": 1,
            "penalty_alpha": null, "token_healing": false, "top_h": null, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
            "temperature": 1.0, "watermarking_config": null, "suppress_tokens": [], "bad_words_ids": null,
            "sequence_bias": null, "no_repeat_ngram_size": 0, "min_length": 0, "min_new_tokens": null,
            "repetition_penalty": 1.0, "begin_suppress_tokens": null,
        });
        assert_eq!(read(neutral.clone()).unwrap(), Defaults::default());
        for (key, _) in NOT_APPLIED {
            let mut file = neutral.clone();
            file[key] = json!(0.5);
            let notes = read(file).unwrap().notes;
            assert_eq!(notes, [Note::Info(format!("  generation_config.json: {key} is not applied"))]);
        }
        let notes = read(json!({ "num_beams": 4, "typical_p": 0.9, "forced_eos_token_id": [3, 4] })).unwrap().notes;
        let named = Note::Info("  generation_config.json: num_beams, typical_p are not applied".into());
        let applied = Note::Detail("generation_config.json: forced_eos_token_id is applied".into());
        assert_eq!(notes, [named, applied]);
    }

    #[test]
    fn what_is_applied_is_said_to_those_who_ask_for_more() {
        let notes =
            read(json!({ "suppress_tokens": [1], "min_new_tokens": 2, "forced_eos_token_id": 3 })).unwrap().notes;
        let keys = "forced_eos_token_id, min_new_tokens, suppress_tokens";
        assert_eq!(notes, [Note::Detail(format!("generation_config.json: {keys} are applied"))]);
    }

    #[test]
    fn a_length_is_a_default() {
        assert_eq!(read(json!({ "max_new_tokens": 7, "max_length": 9 })).unwrap().max_tokens, Some(7));
        let total = read(json!({ "max_length": 9 })).unwrap();
        assert_eq!((total.max_tokens, total.sampling.constraints.max_length), (Some(usize::MAX), 9));
        let error = read(json!({ "max_new_tokens": 0 })).unwrap_err();
        assert!(error.details_text().contains("max_new_tokens: expected a number of tokens from 1 on, found 0"));
    }
}
