//! What a request says of tools: which functions the model may call, and how it writes calls.
use std::sync::Arc;

use serde_json::Value;

use super::error::ApiError;
use crate::session::messages::shown;
use crate::session::{CallDemand, Rendering, Session, ToolForm, ToolSchemas, functions};

/// The functions of a request that may be called.
pub struct Tools {
    /// As the client gave them.
    pub list: Vec<Value>,
    pub form: ToolForm,
    pub schemas: Arc<ToolSchemas>,
    /// Whether more than one call of an answer is given.
    pub parallel: bool,
    /// Which calls the answer is to have.
    pub demand: Option<CallDemand>,
}

/// What of a request's tools the model may call; none where it may call nothing.
///
/// # Errors
/// A tool is no function, two have one name, a call of none of them is demanded, or the model's checkpoint does not say how it calls.
pub fn offered(
    session: &Session,
    list: Option<Vec<Value>>,
    choice: Option<&Value>,
    parallel: Option<bool>,
) -> Result<Option<Tools>, ApiError> {
    let mut list = list.unwrap_or_default();
    let functions = functions(&list).map_err(|what| ApiError::placed(&what))?;
    let demand = match demanded(choice, &functions)? {
        Choice::None => return Ok(None),
        Choice::Auto if list.is_empty() => return Ok(None),
        Choice::Auto => strict(&list),
        Choice::Call(demand) => Some(demand),
    };
    // Where the model is not told of it.
    list.iter_mut().filter_map(Value::as_object_mut).for_each(|tool| drop(tool.shift_remove("strict")));
    let form = session.tool_form().ok_or_else(|| {
        let what = "the model's chat template says in no form that is known how functions are called; leave them out";
        ApiError::field("tools", what).code("unsupported_parameter")
    })?;
    let schemas = Arc::new(ToolSchemas::new(functions));
    Ok(Some(Tools { list, form, schemas, parallel: parallel.unwrap_or(true), demand }))
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

/// Whether the model calls.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    None,
    Auto,
    Call(CallDemand),
}

/// What `tool_choice` says.
fn demanded(choice: Option<&Value>, functions: &[(String, Value)]) -> Result<Choice, ApiError> {
    let wrong = |what: String| Err(ApiError::field("tool_choice", what));
    let choice = match choice {
        None | Some(Value::Null) => return Ok(Choice::Auto),
        Some(choice) => choice,
    };
    match choice.as_str() {
        Some("auto") => return Ok(Choice::Auto),
        Some("none") => return Ok(Choice::None),
        Some("required") if functions.is_empty() => {
            return wrong("expected tools to choose from, found none".to_owned());
        }
        Some("required") => return Ok(Choice::Call(CallDemand::Some)),
        _ => {}
    }
    // Under `function` in a chat, beside `type` in responses.
    let name = choice["function"]["name"].as_str().or(choice["name"].as_str()).filter(|_| choice["type"] == "function");
    match name {
        Some(name) if functions.iter().any(|(known, _)| known == name) => {
            Ok(Choice::Call(CallDemand::Of(name.to_owned())))
        }
        Some(name) => wrong(format!("expected the name of one of the tools, found {name:?}")),
        None => wrong(format!("expected \"auto\", \"none\", \"required\" or a function, found {}", shown(choice))),
    }
}

/// The functions whose arguments are to be what their schemas say.
fn strict(list: &[Value]) -> Option<CallDemand> {
    let function = |tool: &&Value| tool["function"]["strict"] == true || tool["strict"] == true;
    let names: Vec<String> =
        list.iter().filter(function).filter_map(|tool| tool["function"]["name"].as_str().map(str::to_owned)).collect();
    (!names.is_empty()).then_some(CallDemand::Strict(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn calls_are_demanded_by_name_or_at_all() {
        let functions = [("f".to_owned(), Value::Null)];
        let of = |choice: Value| demanded(Some(&choice), &functions);
        assert_eq!(demanded(None, &functions).unwrap(), Choice::Auto);
        assert_eq!((of(json!("auto")).unwrap(), of(json!("none")).unwrap()), (Choice::Auto, Choice::None));
        assert_eq!(of(json!("required")).unwrap(), Choice::Call(CallDemand::Some));
        let named = Choice::Call(CallDemand::Of("f".to_owned()));
        assert_eq!(of(json!({ "type": "function", "function": { "name": "f" } })).unwrap(), named);
        assert_eq!(of(json!({ "type": "function", "name": "f" })).unwrap(), named);
        let unknown = json!({ "type": "function", "function": { "name": "g" } });
        for wrong in [json!("any"), json!(3), json!({}), unknown] {
            assert_eq!(of(wrong).unwrap_err().body()["error"]["param"], "tool_choice");
        }
        assert!(demanded(Some(&json!("required")), &[]).is_err());
    }
}
