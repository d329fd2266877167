//! The items of the Responses API as the messages of a chat.
use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use crate::session::messages::{CallIds, shown};

/// The messages of a chat.
///
/// # Errors
/// Names the place of what is no message, reasoning, call or result.
pub fn chat(instructions: Option<String>, input: &Value) -> Result<Vec<Value>, ApiError> {
    let mut turns = Turns::default();
    if let Some(text) = instructions.filter(|text| !text.is_empty()) {
        turns.told(vec![text]);
    }
    match input {
        Value::String(text) => turns.chat.push(json!({ "role": "user", "content": text })),
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                turns.item(&format!("input[{index}]"), item)?;
            }
        }
        _ => return Err(ApiError::field("input", format_args!("expected a text or items, found {}", shown(input)))),
    }
    Ok(turns.chat)
}

#[derive(Default)]
struct Turns {
    chat: Vec<Value>,
    ids: CallIds,
    /// Reasoning of a turn of the model that has nothing else yet.
    thought: Option<String>,
}

impl Turns {
    fn item(&mut self, at: &str, item: &Value) -> Result<(), ApiError> {
        match item["type"].as_str() {
            Some("message") => self.message(at, item)?,
            None if item["type"].is_null() && !item["role"].is_null() => self.message(at, item)?,
            Some("reasoning") => {
                let from = if item["content"].is_null() { "summary" } else { "content" };
                let thought = texts(&format!("{at}.{from}"), &item[from])?.join("\n");
                self.thought = Some(thought).filter(|thought| !thought.is_empty());
            }
            Some("function_call") => {
                let (id, name) = (text(at, item, "call_id")?, text(at, item, "name")?);
                let arguments = arguments(at, item)?;
                self.ids.add(Some(&id));
                let call =
                    json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
                let turn = self.models();
                match &mut turn["tool_calls"] {
                    Value::Array(calls) => calls.push(call),
                    none => *none = json!([call]),
                }
            }
            Some("function_call_output") => {
                let output = texts(&format!("{at}.output"), &item["output"])?;
                let id = text(at, item, "call_id")?;
                self.ids.check(&id).map_err(|what| ApiError::field(format!("{at}.call_id"), what))?;
                self.others(json!({ "role": "tool", "tool_call_id": id, "content": output }));
            }
            _ => {
                let found = shown(&item["type"]);
                let what = "message, reasoning, function_call or function_call_output";
                return Err(ApiError::field(format!("{at}.type"), format_args!("expected {what}, found {found}")));
            }
        }
        Ok(())
    }

    fn message(&mut self, at: &str, item: &Value) -> Result<(), ApiError> {
        let said = texts(&format!("{at}.content"), &item["content"])?;
        match item["role"].as_str() {
            Some("system" | "developer") => self.told(said),
            Some("user") => self.others(json!({ "role": "user", "content": said })),
            Some("assistant") => {
                let turn = self.models();
                match &mut turn["content"] {
                    Value::Array(before) => before.extend(said.into_iter().map(Value::from)),
                    none => *none = said.into(),
                }
            }
            _ => {
                let what = "expected \"user\", \"assistant\", \"system\" or \"developer\"";
                let found = shown(&item["role"]);
                return Err(ApiError::field(format!("{at}.role"), format_args!("{what}, found {found}")));
            }
        }
        Ok(())
    }

    /// What the model is told. All in front of the conversation is one message, for templates know one.
    fn told(&mut self, said: Vec<String>) {
        match self.chat.as_mut_slice() {
            [first] if first["role"] == "system" => {
                first["content"].as_array_mut().into_iter().for_each(|own| own.extend(said.iter().map(|s| json!(s))));
            }
            _ => self.others(json!({ "role": "system", "content": said })),
        }
    }

    fn others(&mut self, message: Value) {
        self.thought = None;
        self.chat.push(message);
    }

    /// The model's turn that the next item is a part of.
    fn models(&mut self) -> &mut Value {
        let thought = self.thought.take();
        let goes_on = thought.is_none() && self.chat.last().is_some_and(|last| last["role"] == "assistant");
        if !goes_on {
            let mut turn = json!({ "role": "assistant", "content": null });
            if let Some(thought) = thought {
                turn["reasoning_content"] = thought.into();
            }
            self.chat.push(turn);
        }
        let last = self.chat.len() - 1;
        &mut self.chat[last]
    }
}

/// The arguments of a call as an object; no text stands for no arguments.
fn arguments(at: &str, item: &Value) -> Result<Map<String, Value>, ApiError> {
    let words = text(at, item, "arguments")?;
    if words.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(&words).map_err(|_| {
        let what = format_args!("expected the text of a JSON object, found {}", shown(&item["arguments"]));
        ApiError::field(format!("{at}.arguments"), what)
    })
}

/// The texts of a content.
fn texts(at: &str, content: &Value) -> Result<Vec<String>, ApiError> {
    let of = |(place, part): (usize, &Value)| {
        let at = format!("{at}[{place}]");
        match part["type"].as_str() {
            Some("input_text" | "output_text" | "text" | "reasoning_text" | "summary_text") => text(&at, part, "text"),
            Some("refusal") => text(&at, part, "refusal"),
            _ => {
                let found = shown(&part["type"]);
                let what =
                    format_args!("expected input_text or output_text, found {found}; the model reads text alone");
                Err(ApiError::field(format!("{at}.type"), what))
            }
        }
    };
    match content {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(parts) => parts.iter().enumerate().map(of).collect(),
        _ => Err(ApiError::field(at, format_args!("expected a text or parts, found {}", shown(content)))),
    }
}

/// The text of a field.
fn text(at: &str, item: &Value, name: &str) -> Result<String, ApiError> {
    item[name].as_str().map(str::to_owned).ok_or_else(|| {
        ApiError::field(format!("{at}.{name}"), format_args!("expected a text, found {}", shown(&item[name])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_one_turn_are_one_message() {
        let said = |kind: &str, text: &str| json!([{ "type": kind, "text": text }]);
        let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{\"a\": 1}" });
        let items = json!([
            { "role": "developer", "content": said("input_text", "Be brief.") },
            { "role": "user", "content": "Weather?" },
            { "type": "reasoning", "id": "rs_1", "summary": [], "content": said("reasoning_text", "I ask.") },
            { "type": "message", "role": "assistant", "content": said("output_text", "A moment.") },
            call("1"),
            call("2"),
            { "type": "function_call_output", "call_id": "1", "output": "Rain." },
            { "type": "function_call_output", "call_id": "2", "output": said("input_text", "Sun.") },
        ]);
        let made =
            |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": { "a": 1 } } });
        let expected = [
            json!({ "role": "system", "content": ["Be kind.", "Be brief."] }),
            json!({ "role": "user", "content": ["Weather?"] }),
            json!({ "role": "assistant", "content": ["A moment."], "reasoning_content": "I ask.", "tool_calls": [made("1"), made("2")] }),
            json!({ "role": "tool", "tool_call_id": "1", "content": ["Rain."] }),
            json!({ "role": "tool", "tool_call_id": "2", "content": ["Sun."] }),
        ];
        assert_eq!(chat(Some("Be kind.".to_owned()), &items).unwrap(), expected);
    }

    #[test]
    fn what_is_no_item_is_named() {
        for (item, place) in [
            (json!("hi"), "input[0].type"),
            (json!({ "type": "item_reference", "id": "msg_1" }), "input[0].type"),
            (json!({ "role": "tool", "content": "x" }), "input[0].role"),
            (json!({ "role": "user", "content": [{ "type": "input_image" }] }), "input[0].content[0].type"),
            (json!({ "type": "function_call", "call_id": "1", "name": "f", "arguments": "[1]" }), "input[0].arguments"),
            (json!({ "type": "function_call_output", "call_id": "1" }), "input[0].output"),
            (json!({ "type": "function_call_output", "call_id": "1", "output": "x" }), "input[0].call_id"),
        ] {
            assert_eq!(chat(None, &json!([item])).unwrap_err().body()["error"]["param"], place);
        }
        assert_eq!(chat(None, &json!([])).unwrap_err().body()["error"]["param"], "input");
    }
}
