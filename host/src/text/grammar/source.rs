//! `GrammarSource`: what an answer must be, as people write it.
use llguidance::api::TopLevelGrammar;
use llguidance::regex_to_lark;
use serde_json::{Value, json};

use super::schema;
use crate::error::{Category, Error, Result};

/// Most bytes of a schema or of all choices, and of an expression or a grammar.
const MOST_BYTES: usize = 256 << 10;
const MOST_TEXT: usize = 64 << 10;

/// Most places of a grammar where two expressions must match together, as of a schema's patterns.
const MOST_JOINED: usize = 8;

/// Between two parts of JSON: a space, or a new line and so much white space as nested values take. Without a bound a model
/// that goes astray writes white space for ever.
const WHITE_SPACE: &str = r"\x20|\r?\n[\x20\t]{0,20}";

/// What an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum GrammarSource {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema describes.
    JsonSchema(Value),
    /// What an expression matches, in the syntax of Rust's `regex`, from its beginning to its end.
    Regex(String),
    /// One of these.
    Choice(Vec<String>),
    /// A text of a grammar in llguidance's variant of Lark.
    Lark(String),
    /// Calls of functions: such a grammar, made of their schemas.
    Calls(String),
    /// The same, with any text around them.
    FreeCalls(String),
}

impl GrammarSource {
    /// The word for it in messages.
    fn noun(&self) -> &'static str {
        match self {
            GrammarSource::JsonObject | GrammarSource::JsonSchema(_) => "JSON schema",
            GrammarSource::Regex(_) => "regular expression",
            GrammarSource::Choice(_) => "list of choices",
            GrammarSource::Lark(_) => "grammar",
            GrammarSource::Calls(_) | GrammarSource::FreeCalls(_) => "list of tools",
        }
    }

    fn bytes(&self) -> usize {
        match self {
            GrammarSource::JsonObject => 0,
            GrammarSource::JsonSchema(schema) => schema.to_string().len(),
            GrammarSource::Regex(text) | GrammarSource::Lark(text) => text.len(),
            GrammarSource::Calls(text) | GrammarSource::FreeCalls(text) => text.len(),
            GrammarSource::Choice(choices) => choices.iter().map(String::len).sum(),
        }
    }

    /// The right side of a rule of Lark that matches the same; none for a grammar, which has rules of its own.
    pub fn rule(&self) -> Option<String> {
        Some(match self {
            GrammarSource::JsonObject => format!("%json {}", bounded(&json!({ "type": "object" }))),
            GrammarSource::JsonSchema(schema) if schema.is_object() => format!("%json {}", bounded(schema)),
            GrammarSource::Regex(text) => format!("/{}/", regex_to_lark(whole(text), "")),
            GrammarSource::Choice(choices) => choices.iter().map(|text| literal(text)).collect::<Vec<_>>().join(" | "),
            GrammarSource::JsonSchema(_) | GrammarSource::Lark(_) => return None,
            GrammarSource::Calls(_) | GrammarSource::FreeCalls(_) => return None,
        })
    }

    /// As llguidance takes it.
    ///
    /// # Errors
    /// It is too long, or has nothing to choose from.
    pub(super) fn grammar(&self) -> Result<TopLevelGrammar> {
        let too_much = match self {
            GrammarSource::JsonSchema(schema) => schema::too_much(schema),
            GrammarSource::Lark(text) if joined(text) > MOST_JOINED => {
                Some(format!("expected at most {MOST_JOINED} \"&\", found more"))
            }
            GrammarSource::Lark(text) => inner(text).find_map(|schema| schema::too_much(&schema)),
            _ => None,
        };
        if let Some(found) = too_much {
            return Err(self.refused(found));
        }
        let bytes = self.bytes();
        let most =
            if matches!(self, GrammarSource::Regex(_) | GrammarSource::Lark(_)) { MOST_TEXT } else { MOST_BYTES };
        if bytes > most {
            return Err(self.refused(format!("expected at most {most} bytes, found {bytes}")));
        }
        Ok(match self {
            GrammarSource::JsonObject => TopLevelGrammar::from_json_schema(bounded(&json!({ "type": "object" }))),
            GrammarSource::JsonSchema(schema) => match schema {
                Value::Object(keys) if keys.contains_key("x-guidance") => {
                    return Err(self.refused("x-guidance: not supported".to_owned()));
                }
                Value::Object(_) => TopLevelGrammar::from_json_schema(bounded(schema)),
                Value::Bool(true) => TopLevelGrammar::from_json_schema(bounded(&json!({}))),
                other => return Err(self.refused(format!("expected an object, found {other}"))),
            },
            GrammarSource::Choice(choices) if choices.is_empty() || choices.iter().any(String::is_empty) => {
                return Err(self.refused("expected texts, none of them empty".to_owned()));
            }
            // One expression: alternatives of a rule are bounded.
            GrammarSource::Choice(_) => {
                TopLevelGrammar::from_lark(format!("start: CHOICE\nCHOICE: {}", self.rule().unwrap_or_default()))
            }
            GrammarSource::Regex(_) => {
                TopLevelGrammar::from_lark(format!("start: {}", self.rule().unwrap_or_default()))
            }
            GrammarSource::Lark(text) | GrammarSource::Calls(text) | GrammarSource::FreeCalls(text) => {
                TopLevelGrammar::from_lark(text.clone())
            }
        })
    }

    /// The error of what was found in it.
    pub(super) fn refused(&self, found: String) -> Error {
        let noun = self.noun();
        // The place is one of a line that nobody wrote.
        let found = match self {
            GrammarSource::Regex(_) | GrammarSource::Choice(_) => {
                found.split_once("): ").filter(|(place, _)| place.starts_with("at ")).map_or(&*found, |(_, rest)| rest)
            }
            _ => &found,
        }
        .to_owned();
        Error::new(Category::Input, format!("The {noun} cannot be used")).details(found).hint(match self {
            GrammarSource::Lark(text) if text.contains("::=") => {
                "grammars are Lark's, with a rule \"start: ...\"; this looks like GBNF"
            }
            GrammarSource::Calls(_) | GrammarSource::FreeCalls(_) => {
                "leave out of the functions' schemas what is named, or strict, or a demand of calls"
            }
            GrammarSource::Lark(_) => "grammars are Lark's, with a rule \"start: ...\"",
            GrammarSource::Regex(_) => "expressions are those of Rust's regex, without \\b, and without ^ and $ within",
            GrammarSource::Choice(_) => "give one text or more",
            GrammarSource::JsonObject | GrammarSource::JsonSchema(_) => {
                "leave out what is named, or write it with other keys: docs/serving.md lists those that are supported"
            }
        })
    }
}

/// `schema`, with what may stand between its parts.
pub fn bounded(schema: &Value) -> Value {
    let mut schema = schema::plain_references(schema::narrowed(schema.clone()));
    schema["x-guidance"] = json!({ "whitespace_flexible": true, "whitespace_pattern": WHITE_SPACE });
    schema
}

/// A text as Lark writes it.
pub fn literal(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The schemas within a grammar.
fn inner(text: &str) -> impl Iterator<Item = Value> {
    let schema = |rest: &str| serde_json::Deserializer::from_str(rest).into_iter().next()?.ok();
    text.split("%json").skip(1).filter_map(schema)
}

/// How often expressions are joined by `&`, outside of texts and expressions.
fn joined(text: &str) -> usize {
    let (mut inside, mut count, mut letters) = (None, 0, text.chars());
    while let Some(letter) = letters.next() {
        match (inside, letter) {
            (Some(_), '\\') => drop(letters.next()),
            (Some(end), _) if letter == end || letter == '\n' => inside = None,
            (None, '"' | '/') => inside = Some(letter),
            (None, '&') => count += 1,
            _ => {}
        }
    }
    count
}

/// An expression without the anchors at its ends, which say what holds anyway.
fn whole(text: &str) -> &str {
    let text = text.strip_prefix('^').unwrap_or(text);
    match text.strip_suffix('$') {
        // A backslash in front of it makes a letter of it, unless it is one itself.
        Some(rest) if (rest.len() - rest.trim_end_matches('\\').len()).is_multiple_of(2) => rest,
        _ => text,
    }
}
