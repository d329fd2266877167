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

/// Messages whose contents are texts: the parts of a content are joined by line ends.
///
/// # Errors
/// One has no role, or a content that is no text.
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
        // A turn that calls a tool has none.
        None | Some(Value::Null | Value::String(_)) => {}
        Some(other) => {
            return Err(format!(
                "messages[{index}].content: expected a text or a list of parts, found {}",
                shown(other)
            ));
        }
    }
    Ok(message)
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
