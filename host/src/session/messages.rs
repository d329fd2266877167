//! Messages of a conversation in JSON, as chat templates take them.
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

/// Messages whose contents are texts: the parts of a content are joined by line ends. The arguments of calls are objects,
/// as templates take them, where they come as texts, as OpenAI's API has them.
///
/// # Errors
/// One has no role, a content that is no text, or arguments that are no object.
pub fn plain(messages: &[Value]) -> Result<Vec<Value>, String> {
    messages.iter().enumerate().map(|(index, message)| one(index, message).map(Value::Object)).collect()
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
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for (place, call) in calls.into_iter().flatten().enumerate() {
        arguments(call).map_err(|what| format!("messages[{index}].tool_calls[{place}]{what}"))?;
    }
    Ok(message)
}

fn calls(message: &Map<String, Value>) -> bool {
    message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
}

/// Makes an object of the arguments of a call that are a text; no text stands for no arguments.
fn arguments(call: &mut Value) -> Result<(), String> {
    let (function, at) = match call.get("function") {
        Some(_) => (&mut call["function"], ".function"),
        None => (call, ""),
    };
    let Some(Value::String(text)) = function.get("arguments") else { return Ok(()) };
    let object = if text.trim().is_empty() { Ok(Map::new()) } else { serde_json::from_str(text) };
    let object: Map<String, Value> = object.map_err(|_| {
        format!("{at}.arguments: expected the text of a JSON object, found {}", shown(&function["arguments"]))
    })?;
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
        for wrong in ["[1]", "3", "{", "x", "null"] {
            let error = plain(&[json!({ "role": "user" }), message(json!(wrong))]).unwrap_err();
            let place = "messages[1].tool_calls[0].function.arguments: expected the text of a JSON object, found";
            assert!(error.starts_with(place), "{error}");
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
