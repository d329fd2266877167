//! What Anthropic's API takes and gives, for the OpenAPI document alone. So nobody reads these fields.
#![allow(dead_code, missing_docs)]
use serde_json::Value;
use utoipa::ToSchema;

/// A turn of a conversation.
#[derive(ToSchema)]
pub struct TurnSchema {
    role: RoleSchema,
    content: TurnContent,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleSchema {
    User,
    Assistant,
    System,
}

#[derive(ToSchema)]
#[serde(untagged)]
pub enum TurnContent {
    Text(String),
    Blocks(Vec<BlockSchema>),
}

/// A part of a content.
#[derive(ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockSchema {
    Text {
        text: String,
    },
    Thinking {
        thinking: String,
        signature: Option<String>,
    },
    ToolUse {
        id: String,
        name: String,
        #[schema(value_type = Object)]
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        content: Option<SystemSchema>,
        is_error: Option<bool>,
    },
}

/// A text, or blocks of text.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum SystemSchema {
    Text(String),
    Blocks(Vec<TextBlock>),
}

#[derive(ToSchema)]
pub struct TextBlock {
    r#type: TextKind,
    text: String,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    Text,
}

/// A tool that the model may call.
#[derive(ToSchema)]
pub struct MessagesToolSchema {
    #[schema(min_length = 1)]
    name: String,
    description: Option<String>,
    /// A JSON schema of the input.
    #[schema(value_type = Object)]
    input_schema: Value,
}

#[derive(ToSchema)]
pub struct ThinkingSchema {
    r#type: ThinkingKind,
    /// Most tokens of reasoning; it is ended there.
    #[schema(minimum = 1)]
    budget_tokens: Option<i64>,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ThinkingKind {
    Enabled,
    Adaptive,
    Disabled,
}

/// A message of the model.
#[derive(ToSchema)]
pub struct MessageAnswerSchema {
    id: String,
    r#type: String,
    role: RoleSchema,
    model: String,
    /// Blocks of text, thinking and tool_use.
    content: Vec<BlockSchema>,
    stop_reason: StopSchema,
    /// The stop sequence that came.
    stop_sequence: Option<String>,
    usage: MessageUsage,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopSchema {
    EndTurn,
    MaxTokens,
    StopSequence,
    ToolUse,
    ModelContextWindowExceeded,
}

#[derive(ToSchema)]
pub struct MessageUsage {
    /// Tokens of the prompt that were computed.
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    /// Those that were computed before.
    cache_read_input_tokens: u64,
    output_tokens: u64,
    output_tokens_details: MessageOutputDetails,
}

#[derive(ToSchema)]
pub struct MessageOutputDetails {
    thinking_tokens: u64,
}

#[derive(ToSchema)]
pub struct InputTokensSchema {
    input_tokens: u64,
}

/// An error in Anthropic's form.
#[derive(ToSchema)]
pub struct MessagesErrorSchema {
    r#type: String,
    error: MessagesErrorObject,
    request_id: String,
}

#[derive(ToSchema)]
pub struct MessagesErrorObject {
    r#type: String,
    message: String,
}
