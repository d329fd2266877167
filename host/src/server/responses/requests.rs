//! The body of a request of the Responses API. Null is as good as no field.
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::other_fields::{OtherFields, is_empty, is_false};
use super::super::outline::RequestBody;
use super::super::whole;
use super::schemas::{FunctionToolSchema, InputSchema};

/// What would change the answer, and what does not.
static OTHERS: OtherFields = OtherFields {
    refused: &[
        ("store", is_false),
        ("previous_response_id", is_empty),
        ("conversation", is_empty),
        ("background", is_false),
        ("prompt", is_empty),
        ("truncation", |value| value == "disabled"),
        ("top_logprobs", |value| value.as_f64() == Some(0.0)),
        ("context_management", is_empty),
        ("moderation", is_empty),
    ],
    ignored: &[
        "metadata",
        "client_metadata",
        "user",
        "safety_identifier",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "max_tool_calls",
        "stream_options",
    ],
};

/// `POST /v1/responses`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ResponsesRequest {
    /// The model's name; another one is not found.
    pub model: Option<String>,
    /// A text, or the items of a conversation.
    #[schema(value_type = Option<InputSchema>)]
    pub input: Option<Value>,
    /// What the model is told in front of the conversation.
    pub instructions: Option<String>,
    /// Most tokens of the answer.
    #[schema(minimum = 1)]
    #[serde(default, deserialize_with = "whole::one")]
    pub max_output_tokens: Option<i64>,
    /// Whether the answer comes in pieces, as server-sent events.
    pub stream: Option<bool>,
    #[schema(minimum = 0, maximum = 100)]
    pub temperature: Option<f32>,
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    /// Functions that the model may call.
    #[schema(value_type = Option<Vec<FunctionToolSchema>>)]
    pub tools: Option<Vec<Value>>,
    /// Whether it may: auto or none.
    #[schema(value_type = Option<String>)]
    pub tool_choice: Option<Value>,
    /// Whether several calls of one answer are given, or the first alone.
    pub parallel_tool_calls: Option<bool>,
    /// `effort`, where the model reasons.
    #[schema(value_type = Option<Object>)]
    pub reasoning: Option<Value>,
    /// `format`: text, json_object, or json_schema with a name and a schema.
    #[schema(value_type = Option<Object>)]
    pub text: Option<Value>,
    /// What else is to be part of the answer: nothing is.
    #[schema(value_type = Option<Vec<String>>)]
    pub include: Option<Vec<Value>>,
    /// What else the chat template is told.
    pub chat_template_kwargs: Option<Map<String, Value>>,
    #[serde(skip)]
    #[schema(ignore)]
    pub rest: HashMap<String, Value>,
}

impl RequestBody for ResponsesRequest {
    const FIELDS: &'static [&'static str] = &[
        "model",
        "input",
        "instructions",
        "max_output_tokens",
        "stream",
        "temperature",
        "top_p",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning",
        "text",
        "include",
        "chat_template_kwargs",
    ];
    const OTHERS: &'static OtherFields = &OTHERS;

    fn take_others(&mut self, others: HashMap<String, Value>) {
        self.rest = others;
    }
}
