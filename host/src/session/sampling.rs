//! How a model's owner wants tokens chosen: generation_config.json.
use serde_json::Value;

use crate::error::{Category, Error, Result};
use crate::sample::Sampling;

/// What transformers takes for top-k where a file that samples does not say.
const DEFAULT_TOP_K: usize = 50;

/// The values of a file with `do_sample`; greedy without.
///
/// # Errors
/// A value is no number.
pub fn defaults(generation_config: Option<&Value>) -> Result<Sampling> {
    let Some(file) = generation_config else { return Ok(Sampling::default()) };
    let repeat_penalty = number(file, "repetition_penalty")?.unwrap_or(1.0);
    if file.get("do_sample").and_then(Value::as_bool) != Some(true) {
        return Ok(Sampling { repeat_penalty, ..Sampling::default() });
    }
    Ok(Sampling {
        temperature: number(file, "temperature")?.unwrap_or(1.0),
        top_k: number(file, "top_k")?.map_or(DEFAULT_TOP_K, |top_k| top_k as usize),
        top_p: number(file, "top_p")?.unwrap_or(1.0),
        min_p: number(file, "min_p")?.unwrap_or(0.0),
        repeat_penalty,
        ..Sampling::default()
    })
}

fn number(file: &Value, key: &str) -> Result<Option<f32>> {
    match file.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(|number| Some(number as f32)).ok_or_else(|| {
            Error::new(Category::Model, "Unexpected value in config")
                .details(format_args!("generation_config.json: {key}: expected a number, found {value}"))
                .hint("correct the file, or download it again")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_samples_only_if_it_says_so() {
        assert_eq!(defaults(None).unwrap(), Sampling::default());
        assert_eq!(defaults(Some(&json!({ "temperature": 0.3, "top_p": 0.5 }))).unwrap(), Sampling::default());
        let sampling = defaults(Some(&json!({ "do_sample": true, "temperature": 0.6, "top_p": 0.95 }))).unwrap();
        assert_eq!(sampling, Sampling { temperature: 0.6, top_k: 50, top_p: 0.95, ..Sampling::default() });
        assert!(defaults(Some(&json!({ "do_sample": true, "top_k": "x" }))).is_err());
    }
}
