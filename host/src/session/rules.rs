//! The keys of generation_config.json that forbid tokens, or make them more or less likely.
use serde_json::Value;

use crate::error::{Category, Error, Result};
use crate::sample::Constraints;

const IDS: &str = "a list of token ids";
const PHRASES: &str = "a list of lists of token ids of the model's vocabulary, none empty";
const BIASES: &str = "a list of [token ids of the model's vocabulary, number]";

/// The rules of a file, as transformers understands them: of ids that must not come, those that the model does not have are
/// dropped, as is a bad word that only ends the text.
///
/// # Errors
/// A value is not what its key asks for.
pub(super) fn read(file: &Value, eos: &[u32], vocab: usize) -> Result<Constraints> {
    let known = |key| Ok(ids(file, key, i64::MIN)?.into_iter().filter(|id| (*id as usize) < vocab).collect());
    let of_model = |ids: &Vec<u32>| !ids.is_empty() && ids.iter().all(|id| (*id as usize) < vocab);
    let mut bad_words = phrases(file, "bad_words_ids")?;
    let phrase_bias = biases(file, "sequence_bias")?;
    if !bad_words.iter().all(of_model) {
        return Err(unexpected(file, "bad_words_ids", PHRASES));
    }
    if !phrase_bias.iter().all(|(ids, bias)| of_model(ids) && bias.is_finite()) {
        return Err(unexpected(file, "sequence_bias", BIASES));
    }
    bad_words.retain(|phrase| !matches!(phrase[..], [id] if eos.contains(&id)));
    let forced = match file.get("forced_eos_token_id") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(_)) => ids(file, "forced_eos_token_id", 0)?,
        Some(id) => vec![token(id).ok_or_else(|| unexpected(file, "forced_eos_token_id", "a token id"))?],
    };
    if forced.iter().any(|id| *id as usize >= vocab) {
        return Err(unexpected(file, "forced_eos_token_id", "a token id of the model's vocabulary"));
    }
    let constraints = Constraints {
        suppress: known("suppress_tokens")?,
        suppress_first: known("begin_suppress_tokens")?,
        bad_words,
        phrase_bias,
        no_repeat_ngram: count(file, "no_repeat_ngram_size")?.unwrap_or(0),
        min_tokens: count(file, "min_new_tokens")?.unwrap_or(0),
        min_length: count(file, "min_length")?.unwrap_or(0),
        forced_eos: forced,
        max_length: max_length(file)?,
    };
    constraints.check(vocab)?;
    Ok(constraints)
}

/// Most tokens of prompt and answer, where the file does not say how many the answer has; 0 where it does not say.
fn max_length(file: &Value) -> Result<usize> {
    let length = count(file, "max_length")?;
    if length == Some(0) {
        return Err(unexpected(file, "max_length", "a number of tokens from 1 on"));
    }
    Ok(if count(file, "max_new_tokens")?.is_some() { 0 } else { length.unwrap_or(0) })
}

/// A whole number from 0 on; none where the file does not say.
///
/// # Errors
/// It is something else.
pub(super) fn count(file: &Value, key: &str) -> Result<Option<usize>> {
    match file.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(count) => Ok(Some(count as usize)),
            None => Err(unexpected(file, key, "a whole number from 0 on")),
        },
    }
}

/// The ids of a list, none where the file does not say; negative ones, which no token has, are dropped from `least` on.
fn ids(file: &Value, key: &str, least: i64) -> Result<Vec<u32>> {
    let wrong = || unexpected(file, key, IDS);
    let numbers = list(file, key).ok_or_else(wrong)?.iter().map(|id| id.as_i64().filter(|id| *id >= least));
    let numbers = numbers.collect::<Option<Vec<i64>>>().ok_or_else(wrong)?;
    Ok(numbers.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
}

fn phrases(file: &Value, key: &str) -> Result<Vec<Vec<u32>>> {
    let wrong = || unexpected(file, key, PHRASES);
    list(file, key).ok_or_else(wrong)?.iter().map(|phrase| tokens(phrase).ok_or_else(wrong)).collect()
}

fn biases(file: &Value, key: &str) -> Result<Vec<(Vec<u32>, f32)>> {
    let pair = |entry: &Value| match entry.as_array().map(Vec::as_slice) {
        Some([phrase, bias]) => Some((tokens(phrase)?, bias.as_f64()? as f32)),
        _ => None,
    };
    let wrong = || unexpected(file, key, BIASES);
    list(file, key).ok_or_else(wrong)?.iter().map(|entry| pair(entry).ok_or_else(wrong)).collect()
}

/// A list, empty where the file does not say; none where it is something else.
fn list<'a>(file: &'a Value, key: &str) -> Option<&'a [Value]> {
    match file.get(key) {
        None | Some(Value::Null) => Some(&[]),
        Some(value) => value.as_array().map(Vec::as_slice),
    }
}

fn tokens(phrase: &Value) -> Option<Vec<u32>> {
    phrase.as_array()?.iter().map(token).collect()
}

fn token(id: &Value) -> Option<u32> {
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// The error of a key that has another value than it asks for.
pub(super) fn unexpected(file: &Value, key: &str, expected: &str) -> Error {
    let mut found = file.get(key).unwrap_or(&Value::Null).to_string();
    if found.chars().count() > 100 {
        found = found.chars().take(100).chain("...".chars()).collect();
    }
    Error::new(Category::Model, "Unexpected value in config")
        .details(format_args!("generation_config.json: {key}: expected {expected}, found {found}"))
        .hint("correct the file, or download it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_rule_is_read() {
        let file = json!({
            "suppress_tokens": [7, 8, -1, 100], "begin_suppress_tokens": [9], "bad_words_ids": [[3], [4], [5, 3]],
            "sequence_bias": [[[6, 7], -2.5], [[8], 1]], "no_repeat_ngram_size": 3, "min_new_tokens": 5,
            "min_length": 6, "forced_eos_token_id": 3,
        });
        let expected = Constraints {
            suppress: vec![7, 8],
            suppress_first: vec![9],
            bad_words: vec![vec![4], vec![5, 3]],
            phrase_bias: vec![(vec![6, 7], -2.5), (vec![8], 1.0)],
            no_repeat_ngram: 3,
            min_tokens: 5,
            min_length: 6,
            forced_eos: vec![3],
            max_length: 0,
        };
        assert_eq!(read(&file, &[3], 100).unwrap(), expected);
        let list = read(&json!({ "forced_eos_token_id": [4, 2], "max_length": 30 }), &[3], 100).unwrap();
        assert_eq!((list.forced_eos, list.max_length), (vec![4, 2], 30));
        for file in [json!({ "max_length": null }), json!({ "max_length": 30, "max_new_tokens": 5 }), json!({})] {
            assert_eq!(read(&file, &[3], 100).unwrap().max_length, 0, "{file}");
        }
    }

    #[test]
    fn what_is_no_rule_is_an_error_that_names_its_key() {
        let rows = [
            ("suppress_tokens", json!(5), IDS),
            ("begin_suppress_tokens", json!(["a"]), IDS),
            ("bad_words_ids", json!([5]), PHRASES),
            ("bad_words_ids", json!([[]]), PHRASES),
            ("bad_words_ids", json!([[100]]), PHRASES),
            ("bad_words_ids", json!([[-1]]), PHRASES),
            ("sequence_bias", json!([[[1], "x"]]), BIASES),
            ("sequence_bias", json!({ "1": 2.0 }), BIASES),
            ("sequence_bias", json!([[[100], 1.0]]), BIASES),
            ("no_repeat_ngram_size", json!(-1), "a whole number from 0 on"),
            ("min_new_tokens", json!(1.5), "a whole number from 0 on"),
            ("min_length", json!("3"), "a whole number from 0 on"),
            ("max_length", json!(-3), "a whole number from 0 on"),
            ("max_length", json!(0), "a number of tokens from 1 on"),
            ("forced_eos_token_id", json!("x"), "a token id"),
            ("forced_eos_token_id", json!(100), "a token id of the model's vocabulary"),
            ("forced_eos_token_id", json!([-1]), IDS),
        ];
        for (key, value, expected) in rows {
            let Err(error) = read(&json!({ key: value }), &[3], 100) else { panic!("{key}: {value} is taken") };
            let details = format!("generation_config.json: {key}: expected {expected}, found {value}");
            assert_eq!(error.details_text(), details);
        }
    }
}
