//! What a request says of tools: which functions the model may call, and how it writes calls.
use std::sync::Arc;

use serde_json::Value;

use super::error::ApiError;
use crate::session::{Rendering, Session, ToolForm, ToolSchemas, functions};

/// The functions of a request that may be called.
pub struct Tools {
    /// As the client gave them.
    pub list: Vec<Value>,
    pub form: ToolForm,
    pub schemas: Arc<ToolSchemas>,
    /// Whether more than one call of an answer is given.
    pub parallel: bool,
}

/// What of a request's tools the model may call; none where it may call nothing.
///
/// # Errors
/// A tool is no function, two have one name, a call is demanded, or the model's checkpoint does not say how it calls.
pub fn offered(
    session: &Session,
    list: Option<Vec<Value>>,
    choice: Option<&Value>,
    parallel: Option<bool>,
) -> Result<Option<Tools>, ApiError> {
    let list = list.unwrap_or_default();
    let functions = functions(&list).map_err(|what| ApiError::placed(&what))?;
    if !may_call(choice)? || list.is_empty() {
        return Ok(None);
    }
    let form = session.tool_form().ok_or_else(|| {
        let what = "the model's chat template says in no form that is known how functions are called; leave them out";
        ApiError::field("tools", what).code("unsupported_parameter")
    })?;
    let schemas = Arc::new(ToolSchemas::new(functions));
    Ok(Some(Tools { list, form, schemas, parallel: parallel.unwrap_or(true) }))
}

/// Refuses tools that a template leaves out of the `text` that it made of a conversation.
///
/// # Errors
/// It makes the same text without them.
pub fn check_shown(session: &Session, messages: &[Value], rendering: &Rendering, text: &str) -> Result<(), ApiError> {
    let without = Rendering { tools: Vec::new(), ..rendering.clone() };
    if session.render(messages.to_vec(), without).is_ok_and(|without| without == text) {
        let what = "the model's chat template leaves tools out; so must the request";
        return Err(ApiError::field("tools", what).code("unsupported_parameter"));
    }
    Ok(())
}

fn may_call(choice: Option<&Value>) -> Result<bool, ApiError> {
    match choice {
        None | Some(Value::Null) => Ok(true),
        Some(Value::String(word)) if word == "auto" => Ok(true),
        Some(Value::String(word)) if word == "none" => Ok(false),
        Some(choice) if choice == "required" || choice.is_object() => {
            let what = "the server cannot make a model call a function; use \"auto\" or \"none\"";
            Err(ApiError::field("tool_choice", what).code("unsupported_parameter"))
        }
        Some(other) => {
            Err(ApiError::field("tool_choice", format_args!("expected \"auto\" or \"none\", found {other}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_cannot_be_demanded() {
        assert!(may_call(None).unwrap() && may_call(Some(&json!("auto"))).unwrap());
        assert!(!may_call(Some(&json!("none"))).unwrap());
        let code = |choice: Value| may_call(Some(&choice)).unwrap_err().body()["error"]["code"].clone();
        assert_eq!(code(json!("required")), "unsupported_parameter");
        assert_eq!(code(json!({ "type": "function", "function": { "name": "f" } })), "unsupported_parameter");
        assert_eq!((code(json!("any")), code(json!(3))), (json!("invalid_value"), json!("invalid_value")));
    }
}
