//! A conversation of Anthropic's API as the messages of a chat.
use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use crate::session::messages::{CallIds, shown};

/// Claude Code begins its system prompt with a block of bookkeeping that differs each time. No model is meant to read it, and
/// nothing behind it could be taken from the cache.
const BOOKKEEPING: &str = "x-anthropic-billing-header:";

/// The messages of a chat.
///
/// # Errors
/// Names the place of what is no text, reasoning, call or result.
pub fn chat(system: Option<&Value>, turns: &[Value]) -> Result<Vec<Value>, ApiError> {
    let (mut chat, mut ids) = (Vec::new(), CallIds::default());
    if let Some(system) = system {
        let texts = texts("system", system)?;
        let texts: Vec<Value> =
            texts.into_iter().filter(|text| !text.starts_with(BOOKKEEPING)).map(Value::from).collect();
        if !texts.is_empty() {
            chat.push(json!({ "role": "system", "content": texts }));
        }
    }
    for (index, turn) in turns.iter().enumerate() {
        let at = format!("messages[{index}]");
        let content = &turn["content"];
        if !content.is_string() && content.as_array().is_none_or(Vec::is_empty) {
            let what = format_args!("expected a text or blocks, found {}", shown(content));
            return Err(ApiError::field(format!("{at}.content"), what));
        }
        match turn["role"].as_str() {
            Some("user") => user(&at, content, &ids, &mut chat)?,
            Some("assistant") => chat.push(assistant(&at, content, &mut ids)?),
            Some("system") => {
                chat.push(json!({ "role": "system", "content": texts(&format!("{at}.content"), content)? }));
            }
            _ => {
                let what =
                    format_args!("expected \"user\", \"assistant\" or \"system\", found {}", shown(&turn["role"]));
                return Err(ApiError::field(format!("{at}.role"), what));
            }
        }
    }
    Ok(chat)
}

/// What a user says, and the results of calls, each a message of its own.
fn user(at: &str, content: &Value, ids: &CallIds, chat: &mut Vec<Value>) -> Result<(), ApiError> {
    let mut said: Vec<Value> = Vec::new();
    let say = |said: &mut Vec<Value>, chat: &mut Vec<Value>| {
        if !said.is_empty() {
            chat.push(json!({ "role": "user", "content": std::mem::take(said) }));
        }
    };
    for (at, block) in blocks(at, content) {
        match block["type"].as_str() {
            Some("text") => said.push(text(&at, &block, "text")?.into()),
            Some("tool_result") => {
                say(&mut said, chat);
                let id = text(&at, &block, "tool_use_id")?;
                ids.check(&id).map_err(|what| ApiError::field(format!("{at}.tool_use_id"), what))?;
                let result = match &block["content"] {
                    Value::Null => Vec::new(),
                    content => texts(&format!("{at}.content"), content)?,
                };
                chat.push(json!({ "role": "tool", "tool_call_id": id, "content": result }));
            }
            _ => return Err(other(&at, &block, "text or tool_result")),
        }
    }
    say(&mut said, chat);
    Ok(())
}

/// What the model said: its reasoning, text and calls.
fn assistant(at: &str, content: &Value, ids: &mut CallIds) -> Result<Value, ApiError> {
    let (mut said, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (at, block) in blocks(at, content) {
        match block["type"].as_str() {
            Some("text") => said.push(text(&at, &block, "text")?),
            Some("thinking") => thoughts.push(text(&at, &block, "thinking")?),
            Some("tool_use") => {
                let (id, name) = (text(&at, &block, "id")?, text(&at, &block, "name")?);
                ids.add(Some(&id));
                let Some(input) = block["input"].as_object() else {
                    let what = format_args!("expected an object, found {}", shown(&block["input"]));
                    return Err(ApiError::field(format!("{at}.input"), what));
                };
                calls.push(json!({ "id": id, "type": "function", "function": { "name": name, "arguments": input } }));
            }
            _ => return Err(other(&at, &block, "text, thinking or tool_use")),
        }
    }
    let mut message = Map::from_iter([("role".to_owned(), "assistant".into())]);
    let content = if said.is_empty() && !calls.is_empty() { Value::Null } else { said.into() };
    message.insert("content".to_owned(), content);
    if !thoughts.is_empty() {
        message.insert("reasoning_content".to_owned(), thoughts.join("\n").into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    Ok(message.into())
}

/// The blocks of a content, each with its place; a text is one block.
fn blocks(at: &str, content: &Value) -> Vec<(String, Value)> {
    match content {
        Value::Array(blocks) => {
            blocks.iter().enumerate().map(|(place, block)| (format!("{at}.content[{place}]"), block.clone())).collect()
        }
        text => vec![(format!("{at}.content"), json!({ "type": "text", "text": text }))],
    }
}

/// The texts of what has nothing else.
fn texts(at: &str, content: &Value) -> Result<Vec<String>, ApiError> {
    let of = |(place, block): (usize, &Value)| {
        let at = format!("{at}[{place}]");
        if block["type"] == "text" { text(&at, block, "text") } else { Err(other(&at, block, "text")) }
    };
    match content {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(blocks) => blocks.iter().enumerate().map(of).collect(),
        _ => Err(ApiError::field(at, format_args!("expected a text or blocks of text, found {}", shown(content)))),
    }
}

/// The text of a field.
fn text(at: &str, block: &Value, name: &str) -> Result<String, ApiError> {
    block[name].as_str().map(str::to_owned).ok_or_else(|| {
        ApiError::field(format!("{at}.{name}"), format_args!("expected a text, found {}", shown(&block[name])))
    })
}

fn other(at: &str, block: &Value, expected: &str) -> ApiError {
    let what = format_args!("expected {expected}, found {}; the model reads nothing else", shown(&block["type"]));
    ApiError::field(format!("{at}.type"), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_messages_in_their_order() {
        let system = json!([{ "type": "text", "text": "x-anthropic-billing-header: cc_version=1; cch=ab1;" },
            { "type": "text", "text": "Be kind.", "cache_control": { "type": "ephemeral" } }]);
        let turns = [
            json!({ "role": "user", "content": "Weather?" }),
            json!({ "role": "assistant", "content": [{ "type": "thinking", "thinking": "I ask.", "signature": "" },
                { "type": "text", "text": "A moment." },
                { "type": "tool_use", "id": "c1", "name": "weather", "input": { "town": "Nara", "days": 3 } },
                { "type": "tool_use", "id": "c2", "name": "now", "input": {} }] }),
            json!({ "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "c1", "content": [{ "type": "text", "text": "Rain." }] },
                { "type": "tool_result", "tool_use_id": "c2", "is_error": true },
                { "type": "text", "text": "And?" }] }),
        ];
        let call = json!({ "id": "c1", "type": "function", "function": { "name": "weather", "arguments": { "town": "Nara", "days": 3 } } });
        let other = json!({ "id": "c2", "type": "function", "function": { "name": "now", "arguments": {} } });
        let expected = [
            json!({ "role": "system", "content": ["Be kind."] }),
            json!({ "role": "user", "content": ["Weather?"] }),
            json!({ "role": "assistant", "content": ["A moment."], "reasoning_content": "I ask.", "tool_calls": [call, other] }),
            json!({ "role": "tool", "tool_call_id": "c1", "content": ["Rain."] }),
            json!({ "role": "tool", "tool_call_id": "c2", "content": [] }),
            json!({ "role": "user", "content": ["And?"] }),
        ];
        assert_eq!(chat(Some(&system), &turns).unwrap(), expected);
    }

    #[test]
    fn what_is_no_turn_is_named() {
        let image = json!([{ "type": "text", "text": "x" }, { "type": "image", "source": {} }]);
        let call = json!([{ "type": "tool_use", "id": "1", "name": "f", "input": "{}" }]);
        let result = json!([{ "type": "tool_result", "tool_use_id": "0", "content": [{ "type": "image" }] }]);
        let asked = json!([{ "type": "tool_use", "id": "0", "name": "f", "input": {} }]);
        for (turn, place) in [
            (json!("hi"), "messages[1].content"),
            (json!({ "role": "user", "content": [] }), "messages[1].content"),
            (json!({ "role": "tool", "content": "x" }), "messages[1].role"),
            (json!({ "role": "user", "content": image }), "messages[1].content[1].type"),
            (json!({ "role": "user", "content": result }), "messages[1].content[0].content[0].type"),
            (json!({ "role": "assistant", "content": call }), "messages[1].content[0].input"),
            (
                json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "9" }] }),
                "messages[1].content[0].tool_use_id",
            ),
            (
                json!({ "role": "assistant", "content": [{ "type": "redacted_thinking" }] }),
                "messages[1].content[0].type",
            ),
        ] {
            let error = chat(None, &[json!({ "role": "assistant", "content": asked }), turn]).unwrap_err();
            assert_eq!(error.body()["error"]["param"], place);
        }
        assert!(chat(Some(&json!(3)), &[]).unwrap_err().message().starts_with("system: expected a text"));
    }
}
