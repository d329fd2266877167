//! The fields of a request that say what an answer must be, as OpenAI and vLLM have them.
use serde_json::{Map, Value};

use super::source::GrammarSource;

/// What a field asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct GrammarField {
    /// The field, and the key within it.
    pub path: String,
    /// What it asks for.
    pub source: GrammarSource,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarFault {
    /// The field, and the key within it.
    pub path: String,
    /// What was expected, and found.
    pub what: String,
}

type Found = Result<Option<GrammarField>, GrammarFault>;

/// Names of the fields.
pub const GRAMMAR_FIELDS: [&str; 8] = [
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "guided_json_object",
    "guided_whitespace_pattern",
];

impl GrammarField {
    /// What the fields of a request ask for, which `take` gives by their names; none where they ask for nothing.
    ///
    /// # Errors
    /// A field is not what it should be, or two of them ask for something.
    pub fn of(mut take: impl FnMut(&str) -> Option<Value>) -> Found {
        let mut found: Option<GrammarField> = None;
        for name in GRAMMAR_FIELDS {
            let Some(value) = take(name).filter(|value| !value.is_null()) else { continue };
            let Some(field) = (match name {
                "response_format" => response_format(&value)?,
                "structured_outputs" => structured_outputs(&value)?,
                "guided_json_object" if value == Value::Bool(false) => continue,
                "guided_whitespace_pattern" => return fault(name, "not supported"),
                _ => kind(name.to_owned(), &name["guided_".len()..], &value)?,
            }) else {
                continue;
            };
            if let Some(other) = found.replace(field) {
                return fault(name, format!("expected one constraint, found another in {}", other.path));
            }
        }
        Ok(found)
    }
}

fn fault<T>(path: impl Into<String>, what: impl Into<String>) -> Result<T, GrammarFault> {
    Err(GrammarFault { path: path.into(), what: what.into() })
}

/// OpenAI's: text, any JSON object, or JSON of a schema.
fn response_format(value: &Value) -> Found {
    let format = object("response_format", value)?;
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => {
            // Others take a schema beside it.
            let (path, source) = match format.get("schema").filter(|schema| !schema.is_null()) {
                Some(schema) => ("response_format.schema", GrammarSource::JsonSchema(schema.clone())),
                None => ("response_format.type", GrammarSource::JsonObject),
            };
            Ok(Some(GrammarField { path: path.to_owned(), source }))
        }
        Some("json_schema") => {
            let described = object("response_format.json_schema", format.get("json_schema").unwrap_or(&Value::Null))?;
            let path = "response_format.json_schema.schema".to_owned();
            match described.get("schema").or_else(|| described.get("schema_")).filter(|schema| !schema.is_null()) {
                Some(schema) => Ok(Some(GrammarField { path, source: GrammarSource::JsonSchema(schema.clone()) })),
                None => fault(path, "expected a JSON schema, found none"),
            }
        }
        _ => fault("response_format.type", "expected \"text\", \"json_object\" or \"json_schema\""),
    }
}

/// vLLM's: one of several kinds, beside options of its backends.
fn structured_outputs(value: &Value) -> Found {
    const KINDS: [&str; 5] = ["json", "regex", "choice", "grammar", "json_object"];
    const OPTIONS: [&str; 3] = ["disable_any_whitespace", "disable_fallback", "disable_additional_properties"];
    let given = object("structured_outputs", value)?;
    // As vLLM has it, `false` says nothing of what is true or false.
    let says =
        |key: &str| given.get(key).filter(|value| !value.is_null() && (key == "json" || **value != Value::Bool(false)));
    if let Some(key) = given.keys().find(|key| !KINDS.contains(&key.as_str()) && says(key).is_some()) {
        let what = if OPTIONS.contains(&key.as_str()) { "this option is not supported" } else { "not supported" };
        return fault(format!("structured_outputs.{key}"), what);
    }
    let mut kinds = KINDS.iter().filter_map(|key| Some((*key, says(key)?)));
    let Some((key, value)) = kinds.next() else { return Ok(None) };
    if let Some((other, _)) = kinds.next() {
        return fault(format!("structured_outputs.{other}"), format!("expected one constraint, found {key} too"));
    }
    kind(format!("structured_outputs.{key}"), key, value)
}

fn kind(path: String, kind: &str, value: &Value) -> Found {
    let text = |what: &str| match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => fault(path.clone(), format!("expected {what}")),
    };
    let source = match kind {
        "json_object" if *value == Value::Bool(true) => GrammarSource::JsonObject,
        "json" => match value {
            // A schema may come as a text of JSON.
            Value::String(schema) => match serde_json::from_str(schema) {
                Ok(schema) => GrammarSource::JsonSchema(schema),
                Err(error) => {
                    return fault(path, format!("expected a JSON schema, found a text that is no JSON: {error}"));
                }
            },
            schema => GrammarSource::JsonSchema(schema.clone()),
        },
        "regex" => GrammarSource::Regex(text("a regular expression")?),
        "grammar" => GrammarSource::Lark(text("a grammar")?),
        "choice" => {
            let texts =
                value.as_array().and_then(|texts| texts.iter().map(|text| text.as_str().map(str::to_owned)).collect());
            match texts {
                Some(texts) => GrammarSource::Choice(texts),
                None => return fault(path, "expected a list of texts"),
            }
        }
        _ => return fault(path, "expected true or false"),
    };
    Ok(Some(GrammarField { path, source }))
}

fn object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, GrammarFault> {
    match value {
        Value::Object(keys) => Ok(keys),
        other => fault(
            path,
            format!("expected an object, found {}", if other.is_null() { "none" } else { "something else" }),
        ),
    }
}
