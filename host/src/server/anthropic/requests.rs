//! The body of a request of Anthropic's API. Null is as good as no field.
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::other_fields::{OtherFields, is_empty};
use super::super::outline::RequestBody;
use super::super::whole;
use super::schemas::{MessagesToolSchema, SystemSchema, ThinkingSchema, TurnSchema};

/// What would change the text, and what does not.
static OTHERS: OtherFields = OtherFields {
    refused: &[("container", is_empty), ("mcp_servers", is_empty), ("compaction", is_empty), ("thread", is_empty)],
    ignored: &[
        "metadata",
        "service_tier",
        "inference_geo",
        "speed",
        "cache_control",
        "context_management",
        "diagnostics",
        "user_profile_id",
        "workspace_id",
        "billing_policy",
        "fallbacks",
        "betas",
        "anthropic_beta",
        "anthropic_version",
    ],
};

/// `POST /v1/messages`, and `/v1/messages/count_tokens`.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct MessagesRequest {
    /// The model's name; another one is not found.
    pub model: Option<String>,
    /// The conversation. A last turn of the assistant is gone on with.
    #[schema(value_type = Option<Vec<TurnSchema>>, min_items = 1)]
    pub messages: Option<Vec<Value>>,
    /// What the model is told in front of the conversation.
    #[schema(value_type = Option<SystemSchema>)]
    pub system: Option<Value>,
    /// Most tokens of the answer; needed, but to count tokens.
    #[schema(minimum = 1)]
    #[serde(default, deserialize_with = "whole::one")]
    pub max_tokens: Option<i64>,
    /// Texts that end the answer.
    pub stop_sequences: Option<Vec<String>>,
    /// Whether the answer comes in pieces, as server-sent events.
    pub stream: Option<bool>,
    #[schema(minimum = 0, maximum = 100)]
    pub temperature: Option<f32>,
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    #[schema(minimum = -1)]
    #[serde(default, deserialize_with = "whole::one")]
    pub top_k: Option<i64>,
    /// Tools that the model may call.
    #[schema(value_type = Option<Vec<MessagesToolSchema>>)]
    pub tools: Option<Vec<Value>>,
    /// Whether it may: `{"type": "auto"}` or `{"type": "none"}`.
    #[schema(value_type = Option<Object>)]
    pub tool_choice: Option<Value>,
    /// Whether the model reasons, where its chat template can be told, and for how many tokens.
    #[schema(value_type = Option<ThinkingSchema>)]
    pub thinking: Option<Value>,
    /// `effort`, where the model reasons, and `format`: json_schema with a schema.
    #[schema(value_type = Option<Object>)]
    pub output_config: Option<Value>,
    /// As `format` of `output_config`.
    #[schema(value_type = Option<Object>)]
    pub output_format: Option<Value>,
    /// What else the chat template is told.
    pub chat_template_kwargs: Option<Map<String, Value>>,
    #[serde(skip)]
    #[schema(ignore)]
    pub rest: HashMap<String, Value>,
}

impl RequestBody for MessagesRequest {
    const FIELDS: &'static [&'static str] = &[
        "model",
        "messages",
        "system",
        "max_tokens",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "chat_template_kwargs",
    ];
    const OTHERS: &'static OtherFields = &OTHERS;

    fn take_others(&mut self, others: HashMap<String, Value>) {
        self.rest = others;
    }
}
