//! What the Responses API takes and gives, for the OpenAPI document alone. So nobody reads these fields.
#![allow(dead_code, missing_docs)]
use serde_json::Value;
use utoipa::ToSchema;

/// A text, or items: messages, reasoning, function_call and function_call_output.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum InputSchema {
    Text(String),
    Items(Vec<Value>),
}

/// A function that the model may call.
#[derive(ToSchema)]
pub struct FunctionToolSchema {
    r#type: FunctionToolKind,
    #[schema(min_length = 1)]
    name: String,
    description: Option<String>,
    /// A JSON schema of the arguments.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FunctionToolKind {
    Function,
}

/// A response.
#[derive(ToSchema)]
pub struct ResponseSchema {
    id: String,
    object: String,
    created_at: u64,
    status: StatusSchema,
    incomplete_details: Option<Value>,
    error: Option<Value>,
    model: String,
    /// Items of type reasoning, message and function_call.
    output: Vec<Value>,
    usage: ResponseUsage,
    store: bool,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatusSchema {
    Completed,
    Incomplete,
}

#[derive(ToSchema)]
pub struct ResponseUsage {
    input_tokens: u64,
    input_tokens_details: ResponseInputDetails,
    output_tokens: u64,
    output_tokens_details: ResponseOutputDetails,
    total_tokens: u64,
}

#[derive(ToSchema)]
pub struct ResponseInputDetails {
    cached_tokens: u64,
}

#[derive(ToSchema)]
pub struct ResponseOutputDetails {
    reasoning_tokens: u64,
}
