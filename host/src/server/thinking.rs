//! What a request says of reasoning: how hard the model is to try, and how many tokens it may take.
use serde_json::{Map, Value};

use super::error::ApiError;
use super::requests::ChatRequest;
use crate::session::Session;
use crate::session::messages::shown;

/// Tokens of reasoning for a low effort, where the chat template has no word for it; as LiteLLM has it.
const LOW_EFFORT: usize = 1024;

/// Whether the model reasons before it answers.
pub fn reasons(session: &Session) -> bool {
    session.template().is_ok_and(|template| template.mentions("</think>"))
}

/// Most tokens of reasoning, under any of the names that servers have for it; -1 is as good as none.
///
/// # Errors
/// It is no number of tokens, or two names say different things.
pub fn budget(body: &ChatRequest) -> Result<Option<(&'static str, usize)>, ApiError> {
    let of_nvidia = nvidia(body.nvext.as_ref())?;
    let mut found = None;
    for (name, value) in [
        ("thinking_token_budget", body.thinking_token_budget),
        ("reasoning_budget", body.reasoning_budget),
        ("max_thinking_tokens", body.max_thinking_tokens),
        ("nvext.max_thinking_tokens", of_nvidia),
    ] {
        let Some(value) = value.filter(|value| *value != -1) else { continue };
        let tokens = usize::try_from(value).map_err(|_| {
            ApiError::field(name, format_args!("expected a number of tokens, or -1 for no bound, found {value}"))
        })?;
        match found {
            Some((other, before)) if before != tokens => {
                let what = format_args!("expected what {other} says, {before}, found {tokens}");
                return Err(ApiError::field(name, what));
            }
            _ => found = Some((name, tokens)),
        }
    }
    Ok(found)
}

/// The budget among NVIDIA's own fields; no other one is honoured.
fn nvidia(fields: Option<&Value>) -> Result<Option<i64>, ApiError> {
    let Some(fields) = fields.filter(|fields| !fields.is_null()) else { return Ok(None) };
    let wrong = |what: &str, found: &Value| {
        Err(ApiError::field("nvext", format_args!("expected {what}, found {}", shown(found))))
    };
    let Some(object) = fields.as_object() else { return wrong("an object", fields) };
    if let Some((name, _)) = object.iter().find(|(name, value)| *name != "max_thinking_tokens" && !value.is_null()) {
        let what = "the server cannot honour this field; leave it out";
        return Err(ApiError::field(format!("nvext.{name}"), what).code("unsupported_parameter"));
    }
    match &fields["max_thinking_tokens"] {
        Value::Null => Ok(None),
        value => match value.as_i64() {
            Some(tokens) => Ok(Some(tokens)),
            None => wrong("a whole number of max_thinking_tokens", value),
        },
    }
}

/// Tells the chat template how hard the model is to try, in the words that it has for it; else, how many tokens that is.
///
/// # Errors
/// The model does not reason, or it is no effort.
pub fn effort(
    session: &Session,
    effort: Option<Value>,
    kwargs: &mut Map<String, Value>,
) -> Result<Option<usize>, ApiError> {
    let Some(effort) = effort.filter(|effort| !effort.is_null()) else { return Ok(None) };
    let knows = |name: &str| session.template().is_ok_and(|template| template.mentions(name));
    let mut tell = |name: &str, value: Value| {
        let is_known = knows(name);
        if is_known {
            kwargs.entry(name).or_insert(value);
        }
        is_known
    };
    if tell("reasoning_effort", effort.clone()) {
        return Ok(None);
    }
    if !reasons(session) {
        let what = "the model's chat template does not know it; leave it out";
        return Err(ApiError::field("reasoning_effort", what).code("unsupported_parameter"));
    }
    match effort.as_str() {
        Some("none") => Ok((!tell("enable_thinking", false.into())).then_some(0)),
        Some("minimal" | "low") => Ok((!tell("low_effort", true.into())).then_some(LOW_EFFORT)),
        Some("medium") => {
            tell("medium_effort", true.into());
            Ok(None)
        }
        // What models do by themselves.
        Some("high" | "xhigh" | "max") => Ok(None),
        _ => {
            let what = "expected \"none\", \"minimal\", \"low\", \"medium\" or \"high\"";
            Err(ApiError::field("reasoning_effort", format_args!("{what}, found {}", shown(&effort))))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Option<usize>, String> {
        let found = budget(&serde_json::from_value(body).unwrap());
        found.map(|found| found.map(|(_, tokens)| tokens)).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_budget_has_several_names() {
        for name in ["thinking_token_budget", "reasoning_budget", "max_thinking_tokens"] {
            assert_eq!(read(json!({ name: 20 })), Ok(Some(20)));
            assert_eq!((read(json!({ name: -1 })), read(json!({ name: null }))), (Ok(None), Ok(None)));
            assert!(read(json!({ name: -2 })).unwrap_err().starts_with(name));
        }
        assert_eq!(read(json!({ "nvext": { "max_thinking_tokens": 0, "guided_json": null } })), Ok(Some(0)));
        assert_eq!(read(json!({ "nvext": {}, "reasoning_budget": 3, "max_thinking_tokens": 3 })), Ok(Some(3)));
        for (body, words) in [
            (json!({ "nvext": 3 }), "nvext: expected an object, found 3"),
            (json!({ "nvext": { "max_thinking_tokens": "3" } }), "nvext: expected a whole number"),
            (json!({ "nvext": { "guided_json": {} } }), "nvext.guided_json: the server cannot"),
            (
                json!({ "thinking_token_budget": 3, "reasoning_budget": 4 }),
                "reasoning_budget: expected what thinking_token_budget says, 3, found 4",
            ),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
