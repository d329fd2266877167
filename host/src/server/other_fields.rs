//! Fields of requests that have no place of their own: which change the text, and are refused, and which do not.
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::error::ApiError;

/// Whether a value of a field says nothing.
pub type IsNeutral = fn(&Value) -> bool;

/// What an API knows of fields without a place of their own.
pub struct OtherFields {
    /// Those that would change the text and cannot be honoured, unless their values say so little that nothing changes.
    pub refused: &'static [(&'static str, IsNeutral)],
    /// Those that change no text.
    pub ignored: &'static [&'static str],
}

/// Fields of chats and completions.
pub static OPENAI: OtherFields = OtherFields { refused: &REFUSED, ignored: &IGNORED };

const REFUSED: [(&str, IsNeutral); 22] = [
    ("tools", is_empty),
    ("functions", is_empty),
    ("tool_choice", is_free),
    ("function_call", is_free),
    ("modalities", is_text_alone),
    ("best_of", is_one),
    ("suffix", is_empty),
    ("audio", is_empty),
    ("logits_processors", is_empty),
    ("use_beam_search", is_false),
    ("length_penalty", is_one),
    ("thinking_token_budget", is_empty),
    ("web_search_options", is_empty),
    ("prompt_embeds", is_empty),
    ("documents", is_empty),
    ("chat_template", is_empty),
    ("truncate_prompt_tokens", is_empty),
    ("allowed_token_ids", is_empty),
    ("mm_processor_kwargs", is_empty),
    ("echo", is_false),
    ("include_reasoning", is_true),
    ("spaces_between_special_tokens", is_true),
];

/// Who asks, what for, and how a tool would be called.
const IGNORED: [&str; 14] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prediction",
    "priority",
    "request_id",
    "parallel_tool_calls",
    "verbosity",
    "return_tokens_as_token_ids",
    "cache_salt",
    "kv_transfer_params",
];

/// Names of fields that nobody knows, each told once; bounded, for clients choose them.
#[derive(Default)]
pub struct Unknown(Mutex<HashSet<String>>);

/// Most names that are told.
const MOST_TOLD: usize = 100;

impl OtherFields {
    /// Whether a field of that name would change the text.
    pub fn refuses(&self, name: &str) -> bool {
        self.refused.iter().any(|(refused, _)| *refused == name)
    }

    /// Whether all of `fields` can be left out.
    ///
    /// # Errors
    /// The name of one that would change the text.
    pub fn check(&self, fields: &HashMap<String, Value>, unknown: &Unknown) -> Result<(), ApiError> {
        let says =
            |name: &str, neutral: &IsNeutral| fields.get(name).is_some_and(|value| !value.is_null() && !neutral(value));
        if let Some((name, _)) = self.refused.iter().find(|(name, neutral)| says(name, neutral)) {
            let what = "the server cannot honour this field; leave it out";
            return Err(ApiError::field(*name, what).code("unsupported_parameter"));
        }
        let known = |name: &str| self.ignored.contains(&name) || self.refuses(name);
        fields.keys().filter(|name| !known(name)).for_each(|name| unknown.tell(name));
        Ok(())
    }
}

impl Unknown {
    fn tell(&self, name: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if name.len() <= 64 && told.len() < MOST_TOLD && told.insert(name.to_owned()) {
            tracing::warn!(field = ?name, "a request has a field that is not known; it is ignored");
        }
    }
}

/// Whether it is an empty list, object or text.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn is_free(value: &Value) -> bool {
    matches!(value.as_str(), Some("none" | "auto"))
}

fn is_text_alone(value: &Value) -> bool {
    value.as_array().is_some_and(|values| values.iter().all(|value| value == "text"))
}

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

fn is_true(value: &Value) -> bool {
    value == &Value::Bool(true)
}

/// Whether it is false.
pub fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn neutral_values_pass_and_others_are_named() {
        let check =
            |name: &str, value: Value| OPENAI.check(&HashMap::from([(name.to_owned(), value)]), &Unknown::default());
        for (name, value) in [
            ("tools", json!([])),
            ("tool_choice", json!("auto")),
            ("tool_choice", json!("none")),
            ("best_of", json!(1)),
            ("suffix", json!("")),
            ("modalities", json!(["text"])),
            ("use_beam_search", json!(false)),
            ("user", json!("Ada")),
            ("colour", json!("blue")),
        ] {
            assert!(check(name, value.clone()).is_ok() && check(name, Value::Null).is_ok(), "{name}: {value}");
        }
        for (name, value) in [
            ("tools", json!([{}])),
            ("tool_choice", json!("required")),
            ("best_of", json!(2)),
            ("suffix", json!("x")),
            ("chat_template", json!("{{ x }}")),
        ] {
            let error = check(name, value).unwrap_err().body();
            assert_eq!(
                (&error["error"]["param"], &error["error"]["code"]),
                (&json!(name), &json!("unsupported_parameter"))
            );
        }
    }

    #[test]
    fn a_name_is_told_once() {
        let unknown = Unknown::default();
        for index in 0..300 {
            unknown.tell(&format!("field {}", index % 200));
        }
        assert_eq!(unknown.0.lock().unwrap().len(), MOST_TOLD);
    }
}
