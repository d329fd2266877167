//! What a request says of tools: which functions the model may call, and how it writes calls.
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::error::ApiError;
use crate::session::{Rendering, Session, ToolForm, ToolSchemas};

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
    let functions: Vec<_> =
        list.iter().enumerate().map(|(index, tool)| function(index, tool)).collect::<Result<_, _>>()?;
    check_names(&functions)?;
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

/// Refuses functions of one name: a call would not say which is meant.
fn check_names(functions: &[(String, Value)]) -> Result<(), ApiError> {
    let mut places = HashMap::new();
    for (index, (name, _)) in functions.iter().enumerate() {
        if let Some(first) = places.insert(name, index) {
            let what = format_args!("expected a name for each, found {name:?} at {first} and at {index}");
            return Err(ApiError::field("tools", what));
        }
    }
    Ok(())
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

/// The name of a tool's function, and the schema of its arguments.
fn function(index: usize, tool: &Value) -> Result<(String, Value), ApiError> {
    let wrong = |name: &str, what: &str| Err(ApiError::field(format!("tools[{index}]{name}"), what));
    if !tool.is_object() {
        return wrong("", "expected an object with a type and a function");
    }
    if tool["type"] != "function" {
        return wrong(".type", "expected \"function\"; the model can call nothing else");
    }
    let function = &tool["function"];
    let Some(name) = function["name"].as_str().filter(|name| !name.trim().is_empty()) else {
        return wrong(".function.name", "expected a name");
    };
    match &function["parameters"] {
        schema @ (Value::Null | Value::Object(_)) => Ok((name.to_owned(), schema.clone())),
        _ => wrong(".function.parameters", "expected a JSON schema, which is an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_function_is_named() {
        let tool = |function: Value| json!({ "type": "function", "function": function });
        for (wrong, place) in [
            (json!("f"), "tools[3]"),
            (json!({ "type": "web_search" }), "tools[3].type"),
            (json!({ "type": "function" }), "tools[3].function.name"),
            (tool(json!({ "name": " " })), "tools[3].function.name"),
            (tool(json!({ "name": "f", "parameters": [] })), "tools[3].function.parameters"),
        ] {
            assert_eq!(function(3, &wrong).unwrap_err().body()["error"]["param"], place, "{wrong}");
        }
        let schema = json!({ "type": "object" });
        let with = tool(json!({ "name": "f", "parameters": schema }));
        assert_eq!(function(0, &with).unwrap(), ("f".to_owned(), schema));
        assert_eq!(function(0, &tool(json!({ "name": "g" }))).unwrap(), ("g".to_owned(), Value::Null));
    }

    #[test]
    fn each_function_has_a_name_of_its_own() {
        let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Vec<_>>();
        assert!(check_names(&named(&["f", "g", "F"])).is_ok());
        let error = check_names(&named(&["f", "g", "h", "g"])).unwrap_err();
        assert_eq!(error.message(), "tools: expected a name for each, found \"g\" at 1 and at 3");
    }

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
