//! Messages of a conversation in JSON, as chat templates take them.
use std::collections::HashSet;

use serde_json::{Map, Value};

/// Characters of a value that a message shows.
const SHOWN: usize = 40;

/// A value as messages show it: as JSON, cut where it is long.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Ids of the calls of a conversation so far, of which results name one.
#[derive(Debug, Default)]
pub struct CallIds {
    known: HashSet<String>,
    /// Whether a call had none: it may be meant by any result.
    nameless: bool,
}

impl CallIds {
    /// A call of that id.
    pub fn add(&mut self, id: Option<&str>) {
        match id {
            Some(id) => drop(self.known.insert(id.to_owned())),
            None => self.nameless = true,
        }
    }

    /// Whether a result may name that id.
    ///
    /// # Errors
    /// No call has it: what was expected and what was found.
    pub fn check(&self, id: &str) -> Result<(), String> {
        if self.nameless || self.known.contains(id) {
            return Ok(());
        }
        Err(format!("expected the id of a call in front of it, found {}", shown(&id.into())))
    }
}

/// Messages whose contents are texts: the parts of a content are joined by line ends. The arguments of calls are objects,
/// as templates take them, where they come as texts, as OpenAI's API has them.
///
/// # Errors
/// One has no role, a content that is no text, a call without a name or with arguments that are no object, or is the result of
/// a call that is not there.
pub fn plain(messages: &[Value]) -> Result<Vec<Value>, String> {
    let mut ids = CallIds::default();
    let plain = |(index, message)| {
        let message = one(index, message)?;
        note_ids(index, &message, &mut ids)?;
        Ok(Value::Object(message))
    };
    messages.iter().enumerate().map(plain).collect()
}

/// Notes the ids of a turn's calls, or looks for that of a result.
fn note_ids(index: usize, message: &Map<String, Value>, ids: &mut CallIds) -> Result<(), String> {
    for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        ids.add(call["id"].as_str());
    }
    match message.get("tool_call_id").filter(|_| message["role"] == "tool") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(id)) => ids.check(id).map_err(|what| format!("messages[{index}].tool_call_id: {what}")),
        Some(other) => Err(format!("messages[{index}].tool_call_id: expected a text, found {}", shown(other))),
    }
}

fn one(index: usize, message: &Value) -> Result<Map<String, Value>, String> {
    let Some(message) = message.as_object() else {
        return Err(format!("messages[{index}]: expected an object, found {}", shown(message)));
    };
    if !message.get("role").is_some_and(Value::is_string) {
        return Err(format!("messages[{index}]: expected a role, such as \"user\", and a content"));
    }
    let mut message = message.clone();
    match message.get("content") {
        Some(Value::Array(parts)) => {
            let texts: Result<Vec<&str>, String> =
                parts.iter().enumerate().map(|(part, value)| text(index, part, value)).collect();
            let joined = texts?.join("\n");
            message.insert("content".into(), joined.into());
        }
        // A turn that calls a tool has none; many templates want a text there.
        None | Some(Value::Null) if calls(&message) => {
            message.insert("content".into(), "".into());
        }
        None | Some(Value::Null | Value::String(_)) => {}
        Some(other) => {
            return Err(format!(
                "messages[{index}].content: expected a text or a list of parts, found {}",
                shown(other)
            ));
        }
    }
    match message.get_mut("tool_calls") {
        None | Some(Value::Null) => {}
        Some(Value::Array(calls)) => {
            for (place, one) in calls.iter_mut().enumerate() {
                call(one).map_err(|what| format!("messages[{index}].tool_calls[{place}]{what}"))?;
            }
        }
        Some(other) => {
            return Err(format!("messages[{index}].tool_calls: expected a list of calls, found {}", shown(other)));
        }
    }
    Ok(message)
}

fn calls(message: &Map<String, Value>) -> bool {
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}

/// Makes an object of the arguments of a call that are a text; none, and no text, stand for no arguments.
fn call(call: &mut Value) -> Result<(), String> {
    let wrong = |at: &str, what: &str, found: &Value| Err(format!("{at}: expected {what}, found {}", shown(found)));
    if !call.is_object() {
        return wrong("", "an object with a function", call);
    }
    if !call["type"].is_null() && call["type"] != "function" {
        return wrong(".type", "\"function\"", &call["type"]);
    }
    if !call["id"].is_null() && !call["id"].is_string() {
        return wrong(".id", "a text", &call["id"]);
    }
    let (function, at) = match call.get("function") {
        Some(_) => (&mut call["function"], ".function"),
        None => (call, ""),
    };
    if !function.is_object() {
        return wrong(at, "an object with a name and arguments", function);
    }
    if function["name"].as_str().is_none_or(|name| name.trim().is_empty()) {
        return wrong(&format!("{at}.name"), "the name of a function", &function["name"]);
    }
    let object = match &function["arguments"] {
        Value::Null => Some(Map::new()),
        Value::Object(_) => return Ok(()),
        Value::String(text) if text.trim().is_empty() => Some(Map::new()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    };
    let Some(object) = object else {
        return wrong(&format!("{at}.arguments"), "the text of a JSON object", &function["arguments"]);
    };
    function["arguments"] = object.into();
    Ok(())
}

/// The text of one part of a content.
fn text(index: usize, part: usize, value: &Value) -> Result<&str, String> {
    let at = format!("messages[{index}].content[{part}]");
    if let Value::String(text) = value {
        return Ok(text);
    }
    match (value.get("type").and_then(Value::as_str), value.get("text").and_then(Value::as_str)) {
        (Some("text"), Some(text)) => Ok(text),
        (Some("text"), None) => Err(format!("{at}: expected a text under \"text\", found {}", shown(value))),
        (Some(other), _) => Err(format!("{at}: a part of type {other:?} is no text; the model reads nothing else")),
        (None, _) => Err(format!("{at}: expected {{\"type\": \"text\", \"text\": …}}, found {}", shown(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_become_a_text_and_the_rest_stays() {
        let parts = json!([{"type": "text", "text": "one"}, "two", {"type": "text", "text": ""}]);
        let messages =
            [json!({"role": "user", "content": parts, "name": "Ada"}), json!({"role": "assistant", "content": null})];
        let expected = [json!({"role": "user", "content": "one\ntwo\n", "name": "Ada"}), messages[1].clone()];
        assert_eq!(plain(&messages).unwrap(), expected);
    }

    #[test]
    fn arguments_of_calls_become_objects() {
        let turn = |content: Value, arguments: Value| {
            let call = json!({ "id": "1", "type": "function", "function": { "name": "f", "arguments": arguments } });
            json!({ "role": "assistant", "content": content, "tool_calls": [call] })
        };
        let message = |arguments: Value| turn(Value::Null, arguments);
        for (text, object) in [
            (json!("{\"b\": 1, \"a\": [1.0, null]}"), json!({ "b": 1, "a": [1.0, null] })),
            (json!(""), json!({})),
            (json!({ "a": 1 }), json!({ "a": 1 })),
        ] {
            let plain = plain(&[message(text)]).unwrap();
            // Texts, for the order of the keys.
            assert_eq!(plain[0].to_string(), turn(json!(""), object).to_string());
        }
        let texts = ["[1]", "3", "{", "x", "null", "{\"a\": 1e999}"].map(Value::from);
        for wrong in texts.into_iter().chain([json!(3), json!([]), json!(true)]) {
            let error = plain(&[json!({ "role": "user" }), message(wrong)]).unwrap_err();
            let place = "messages[1].tool_calls[0].function.arguments: expected the text of a JSON object, found";
            assert!(error.starts_with(place), "{error}");
        }
    }

    #[test]
    fn what_is_no_call_is_named() {
        let function = json!({ "name": "f", "arguments": "{}" });
        for (calls, words) in [
            (json!("x"), ": expected a list of calls, found \"x\""),
            (json!({}), ": expected a list of calls, found {}"),
            (json!(["f"]), "[0]: expected an object with a function, found \"f\""),
            (json!([{ "function": function, "type": "web" }]), "[0].type: expected \"function\", found \"web\""),
            (json!([{ "function": function, "id": 3 }]), "[0].id: expected a text, found 3"),
            (json!([{ "function": "f" }]), "[0].function: expected an object with a name and arguments, found \"f\""),
            (json!([{ "function": function }, {}]), "[1].name: expected the name of a function, found null"),
            (json!([{ "function": { "arguments": "{}" } }]), "[0].function.name: expected the name of a function"),
            (json!([{ "function": { "name": " " } }]), "[0].function.name: expected the name of a function"),
        ] {
            let error = plain(&[json!({ "role": "assistant", "tool_calls": calls })]).unwrap_err();
            assert!(error.starts_with(&format!("messages[0].tool_calls{words}")), "{error}");
        }
        // Without arguments, and as templates write calls themselves.
        let bare = json!({ "role": "assistant", "tool_calls": [{ "name": "f" }] });
        assert_eq!(plain(&[bare]).unwrap()[0]["tool_calls"][0], json!({ "name": "f", "arguments": {} }));
    }

    #[test]
    fn a_result_is_that_of_a_call() {
        let call = |id: Value| json!({ "id": id, "function": { "name": "f" } });
        let turn = |ids: &[Value]| json!({ "role": "assistant", "tool_calls": ids.iter().cloned().map(call).collect::<Vec<_>>() });
        let result = |id: Value| json!({ "role": "tool", "content": "x", "tool_call_id": id });
        for good in [
            vec![
                turn(&[json!("a"), json!("b")]),
                result(json!("b")),
                result(json!("a")),
                turn(&[json!("c")]),
                result(json!("a")),
            ],
            vec![turn(&[Value::Null]), result(json!("b"))],
            vec![result(Value::Null)],
        ] {
            assert!(plain(&good).is_ok(), "{good:?}");
        }
        for (wrong, found) in
            [(json!("b"), "the id of a call in front of it, found \"b\""), (json!(3), "a text, found 3")]
        {
            let error = plain(&[turn(&[json!("a")]), result(wrong), turn(&[json!("b")])]).unwrap_err();
            assert_eq!(error, format!("messages[1].tool_call_id: expected {found}"));
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        let image = json!([{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "x"}}]);
        for (message, words) in [
            (json!("hi"), "messages[0]: expected an object, found \"hi\""),
            (json!({"content": "x"}), "messages[0]: expected a role"),
            (json!({"role": "user", "content": 3}), "messages[0].content: expected a text or a list of parts, found 3"),
            (json!({"role": "user", "content": image}), "content[1]: a part of type \"image_url\" is no text"),
            (json!({"role": "user", "content": [{"type": "text"}]}), "content[0]: expected a text under \"text\""),
            (json!({"role": "user", "content": [{"text": "x"}]}), "content[0]: expected {\"type\": \"text\""),
        ] {
            let error = plain(&[message]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
