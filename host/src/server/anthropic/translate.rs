//! A request of Anthropic's API as the request of a chat.
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use super::super::other_fields::{OtherFields, Unknown};
use super::super::outline::RequestBody;
use super::super::requests::{ChatRequest, TextList};
use super::super::thinking::reasons;
use super::messages;
use super::requests::MessagesRequest;
use crate::session::Session;
use crate::session::messages::shown;

/// What a chat's fields are called in this API.
pub const NAMES: [(&str, &str); 7] = [
    ("stop", "stop_sequences"),
    ("thinking_token_budget", "thinking.budget_tokens"),
    ("reasoning_effort", "output_config.effort"),
    ("response_format.json_schema", "output_config.format"),
    ("response_format", "output_config.format"),
    ("tools.function.parameters", "tools.input_schema"),
    ("tools.function.name", "tools.name"),
];

/// The request of a chat that asks for the same.
///
/// # Errors
/// Names the field that cannot be honoured.
pub fn chat(session: &Session, body: MessagesRequest, unknown: &Unknown) -> Result<ChatRequest, ApiError> {
    let others: &OtherFields = MessagesRequest::OTHERS;
    others.check(&body.rest, unknown)?;
    if body.max_tokens.is_none() {
        return Err(ApiError::field("max_tokens", "expected a whole number from 1 on, found none"));
    }
    let turns = body.messages.unwrap_or_default();
    let messages = messages::chat(body.system.as_ref().filter(|system| !system.is_null()), &turns)?;
    if turns.is_empty() {
        return Err(ApiError::field("messages", "expected at least one message, found none"));
    }
    // A turn that the model has begun.
    let goes_on = messages.last().is_some_and(|last| last["role"] == "assistant" && last["tool_calls"].is_null());
    let knows = |name: &str| session.template().is_ok_and(|template| template.mentions(name));
    let mut kwargs = body.chat_template_kwargs.unwrap_or_default();
    if let Some(thinks) = thinks(body.thinking.as_ref())?.filter(|_| knows("enable_thinking")) {
        kwargs.entry("enable_thinking").or_insert(thinks.into());
    }
    let config = body.output_config.as_ref().unwrap_or(&Value::Null);
    let effort = config.get("effort").filter(|effort| effort.is_string());
    let (mut rest, mut response_format) = (HashMap::new(), None);
    if let Some(effort) = effort.filter(|_| knows("reasoning_effort") || reasons(session)) {
        rest.insert("reasoning_effort".to_owned(), effort.clone());
    }
    // Of old a field of its own.
    let format =
        [body.output_format.as_ref(), config.get("format")].into_iter().flatten().find(|format| !format.is_null());
    if let Some(format) = format {
        response_format = Some(json!({ "type": format["type"], "json_schema": format }));
    }
    let budget = budget(body.thinking.as_ref())?.filter(|_| reasons(session));
    let (tool_choice, parallel_tool_calls) = choice(body.tool_choice.as_ref())?;
    Ok(ChatRequest {
        messages: Some(messages),
        stream: body.stream,
        max_tokens: body.max_tokens,
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        stop: body.stop_sequences.map(TextList::Many),
        continue_final_message: goes_on.then_some(true),
        chat_template_kwargs: Some(kwargs),
        tools: Some(tools(body.tools.as_deref().unwrap_or_default())?),
        tool_choice,
        parallel_tool_calls,
        thinking_token_budget: budget,
        response_format,
        rest,
        ..ChatRequest::default()
    })
}

/// Most tokens of reasoning.
fn budget(thinking: Option<&Value>) -> Result<Option<i64>, ApiError> {
    let Some(thinking) = thinking.filter(|thinking| thinking["type"] == "enabled") else { return Ok(None) };
    match &thinking["budget_tokens"] {
        Value::Null => Ok(None),
        tokens => tokens.as_i64().filter(|tokens| *tokens > 0).map(Some).ok_or_else(|| {
            let what = format_args!("expected a whole number from 1 on, found {}", shown(tokens));
            ApiError::field("thinking.budget_tokens", what)
        }),
    }
}

/// Whether the model is to reason.
fn thinks(thinking: Option<&Value>) -> Result<Option<bool>, ApiError> {
    match thinking.map(|thinking| &thinking["type"]) {
        None => Ok(None),
        Some(_) if thinking.is_some_and(Value::is_null) => Ok(None),
        Some(kind) if kind == "enabled" || kind == "adaptive" => Ok(Some(true)),
        Some(kind) if kind == "disabled" => Ok(Some(false)),
        Some(kind) => {
            let what = format_args!("expected \"enabled\", \"adaptive\" or \"disabled\", found {}", shown(kind));
            Err(ApiError::field("thinking.type", what))
        }
    }
}

/// Whether the model may call, as a chat says it, and whether more than once.
fn choice(choice: Option<&Value>) -> Result<(Option<Value>, Option<bool>), ApiError> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else { return Ok((None, None)) };
    let word = match choice["type"].as_str() {
        Some("auto") => "auto".into(),
        Some("none") => "none".into(),
        Some("any") => "required".into(),
        Some("tool") => json!({ "type": "function", "function": { "name": choice["name"] } }),
        _ => {
            let what = "expected \"auto\", \"none\", \"any\" or \"tool\"";
            return Err(ApiError::field("tool_choice.type", format_args!("{what}, found {}", shown(&choice["type"]))));
        }
    };
    Ok((Some(word), choice["disable_parallel_tool_use"].as_bool().map(|one| !one)))
}

/// Tools as functions.
fn tools(tools: &[Value]) -> Result<Vec<Value>, ApiError> {
    let function = |(index, tool): (usize, &Value)| {
        let wrong = |name: &str, what: &str| {
            let found = shown(&tool[name]);
            Err(ApiError::field(format!("tools[{index}].{name}"), format_args!("expected {what}, found {found}")))
        };
        if !tool["type"].is_null() && tool["type"] != "custom" {
            return wrong("type", "a tool of the client's own (\"custom\"), for the server has none");
        }
        let Some(name) = tool["name"].as_str().filter(|name| !name.trim().is_empty()) else {
            return wrong("name", "a name");
        };
        if !tool["input_schema"].is_object() {
            return wrong("input_schema", "a JSON schema, which is an object");
        }
        let mut function = Map::from_iter([("name".to_owned(), name.into())]);
        if let Some(description) = tool.get("description").filter(|description| !description.is_null()) {
            function.insert("description".to_owned(), description.clone());
        }
        function.insert("parameters".to_owned(), tool["input_schema"].clone());
        // Beside the function, which templates show.
        Ok(json!({ "type": "function", "function": function, "strict": tool["strict"] == true }))
    };
    tools.iter().enumerate().map(function).collect()
}
