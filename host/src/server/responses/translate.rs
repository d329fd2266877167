//! A request of the Responses API as the request of a chat.
use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::other_fields::Unknown;
use super::super::outline::RequestBody;
use super::super::requests::ChatRequest;
use super::items;
use super::requests::ResponsesRequest;
use crate::session::messages::shown;

/// What a chat's fields are called in this API.
pub const NAMES: [(&str, &str); 7] = [
    ("max_tokens", "max_output_tokens"),
    ("messages", "input"),
    ("reasoning_effort", "reasoning.effort"),
    ("response_format.json_schema", "text.format"),
    ("response_format", "text.format"),
    ("tools.function.parameters", "tools.parameters"),
    ("tools.function.name", "tools.name"),
];

/// What may be asked for beside the answer: reasoning comes as text anyway.
const INCLUDED: &str = "reasoning.encrypted_content";

/// The request of a chat that asks for the same, and what the response repeats of the request.
///
/// # Errors
/// Names the field that cannot be honoured.
pub fn chat(body: ResponsesRequest, unknown: &Unknown) -> Result<(ChatRequest, Value), ApiError> {
    ResponsesRequest::OTHERS.check(&body.rest, unknown)?;
    let format = body.text.as_ref().map_or(&Value::Null, |text| &text["format"]);
    if body.include.iter().flatten().any(|name| name != INCLUDED) {
        return Err(refused("include"));
    }
    let own = |name: &str| body.rest.get(name).cloned().unwrap_or_default();
    let metadata = own("metadata");
    let told = json!({
        "metadata": if metadata.is_object() { metadata } else { json!({}) },
        "safety_identifier": own("safety_identifier"),
        "prompt_cache_key": own("prompt_cache_key"),
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "parallel_tool_calls": body.parallel_tool_calls.unwrap_or(true),
        "reasoning": { "effort": body.reasoning.as_ref().map(|reasoning| &reasoning["effort"]), "summary": null },
        "tool_choice": body.tool_choice.as_ref().unwrap_or(&json!("auto")),
        "tools": told_tools(body.tools.as_deref().unwrap_or_default()),
        "text": { "format": if format.is_null() { json!({ "type": "text" }) } else { format.clone() } },
    });
    let (mut rest, mut response_format) = (HashMap::new(), None);
    if !format.is_null() {
        // What a chat has under json_schema stands beside the type here.
        response_format = Some(json!({ "type": format["type"], "json_schema": format }));
    }
    if let Some(effort) = body.reasoning.and_then(|reasoning| reasoning.get("effort").cloned()) {
        rest.insert("reasoning_effort".to_owned(), effort);
    }
    let chat = ChatRequest {
        messages: Some(items::chat(body.instructions, &body.input.unwrap_or_default())?),
        stream: body.stream,
        max_tokens: body.max_output_tokens,
        temperature: body.temperature,
        top_p: body.top_p,
        chat_template_kwargs: body.chat_template_kwargs,
        tools: Some(tools(body.tools.unwrap_or_default())?),
        tool_choice: body.tool_choice,
        parallel_tool_calls: body.parallel_tool_calls,
        response_format,
        rest,
        ..ChatRequest::default()
    };
    Ok((chat, told))
}

fn refused(name: &str) -> ApiError {
    ApiError::field(name, "the server cannot honour this field; leave it out").code("unsupported_parameter")
}

/// Tools as the response repeats them: whether they are strict is always told.
fn told_tools(tools: &[Value]) -> Vec<Value> {
    let mut tools = tools.to_vec();
    for tool in tools.iter_mut().filter_map(Value::as_object_mut) {
        tool.entry("strict").or_insert(false.into());
    }
    tools
}

/// Functions as a chat has them: what is known of each is under `function`.
fn tools(tools: Vec<Value>) -> Result<Vec<Value>, ApiError> {
    let function = |(index, mut tool): (usize, Value)| {
        let wrong = |name: &str, what: &str, tool: &Value| {
            let found = shown(&tool[name]);
            Err(ApiError::field(format!("tools[{index}].{name}"), format_args!("expected {what}, found {found}")))
        };
        if tool["type"] != "function" {
            return wrong("type", "\"function\", for the model can call nothing else", &tool);
        }
        if tool["name"].as_str().is_none_or(|name| name.trim().is_empty()) {
            return wrong("name", "a name", &tool);
        }
        if !tool["parameters"].is_null() && !tool["parameters"].is_object() {
            return wrong("parameters", "a JSON schema, which is an object", &tool);
        }
        let strict = tool["strict"] == true;
        if let Some(fields) = tool.as_object_mut() {
            fields.retain(|name, value| {
                ["name", "description", "parameters"].contains(&name.as_str()) && !value.is_null()
            });
        }
        // Beside the function, which templates show.
        Ok(json!({ "type": "function", "function": tool, "strict": strict }))
    };
    tools.into_iter().enumerate().map(function).collect()
}
