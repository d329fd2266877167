//! What responses have, for the OpenAPI document alone: they are made as JSON values (`shape.rs`), and `make test-serve` holds
//! the one against the other. So nobody reads these fields.
#![allow(dead_code, missing_docs)]
use serde_json::Value;
use utoipa::ToSchema;

/// A turn of a conversation, with whatever else the chat template reads.
#[derive(ToSchema)]
pub struct MessageSchema {
    /// Such as system, user and assistant.
    #[schema(examples("user"))]
    role: String,
    content: Option<ContentSchema>,
    /// Calls of an earlier turn of the model.
    tool_calls: Option<Vec<CallSchema>>,
    /// The call that a turn of the role tool answers.
    tool_call_id: Option<String>,
}

/// A function that the model may call.
#[derive(ToSchema)]
pub struct ToolSchema {
    r#type: FunctionKind,
    function: FunctionSchema,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    Function,
}

#[derive(ToSchema)]
pub struct FunctionSchema {
    #[schema(min_length = 1)]
    name: String,
    description: Option<String>,
    /// A JSON schema of the arguments.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoiceSchema {
    Auto,
    None,
}

/// A call of a function.
#[derive(ToSchema)]
pub struct CallSchema {
    id: String,
    r#type: FunctionKind,
    function: CalledSchema,
}

#[derive(ToSchema)]
pub struct CalledSchema {
    name: String,
    /// The text of a JSON object.
    arguments: String,
}

#[derive(ToSchema)]
#[serde(untagged)]
pub enum ContentSchema {
    Text(String),
    Parts(Vec<PartSchema>),
}

#[derive(ToSchema)]
pub struct PartSchema {
    r#type: PartKind,
    text: String,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    Text,
}

/// A server-sent event; the last one's data of a chat or completion is `[DONE]`.
#[derive(ToSchema)]
pub struct EventSchema {
    /// An object as text: a piece of an answer, or an error.
    data: String,
}

/// An error in OpenAI's form.
#[derive(ToSchema)]
pub struct ErrorSchema {
    error: ErrorObject,
}

#[derive(ToSchema)]
pub struct ErrorObject {
    message: String,
    r#type: String,
    /// The field that is wrong.
    param: Option<String>,
    code: Option<String>,
}

#[derive(ToSchema)]
pub struct UsageSchema {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
}

#[derive(ToSchema)]
pub struct PromptDetails {
    cached_tokens: u64,
}

/// A chat.completion.
#[derive(ToSchema)]
pub struct ChatSchema {
    id: String,
    object: String,
    created: u64,
    model: String,
    choices: Vec<ChatChoice>,
    usage: UsageSchema,
    prompt_token_ids: Option<Vec<u32>>,
    prompt_logprobs: Option<Vec<Value>>,
}

#[derive(ToSchema)]
pub struct ChatChoice {
    index: u64,
    message: AnswerSchema,
    logprobs: Option<Value>,
    finish_reason: FinishSchema,
    /// The stop text or id that came.
    stop_reason: Option<Value>,
    token_ids: Option<Vec<u32>>,
}

#[derive(ToSchema)]
pub struct AnswerSchema {
    role: String,
    /// Null where there are calls alone.
    content: Option<String>,
    tool_calls: Option<Vec<CallSchema>>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishSchema {
    Stop,
    Length,
    ToolCalls,
}

/// A text_completion.
#[derive(ToSchema)]
pub struct CompletionSchema {
    id: String,
    object: String,
    created: u64,
    model: String,
    choices: Vec<CompletionChoice>,
    usage: UsageSchema,
}

#[derive(ToSchema)]
pub struct CompletionChoice {
    index: u64,
    text: String,
    logprobs: Option<TokenLists>,
    finish_reason: FinishSchema,
    /// The stop text or id that came.
    stop_reason: Option<Value>,
    token_ids: Option<Vec<u32>>,
    prompt_token_ids: Option<Vec<u32>>,
    prompt_logprobs: Option<Vec<Value>>,
}

/// A value for each token; nothing is known of the first of a prompt.
#[derive(ToSchema)]
pub struct TokenLists {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<u64>,
}

#[derive(ToSchema)]
pub struct ModelsSchema {
    object: String,
    data: Vec<ModelSchema>,
}

#[derive(ToSchema)]
pub struct ModelSchema {
    id: String,
    object: String,
    created: u64,
    owned_by: String,
    /// Tokens of a context.
    max_model_len: u64,
}

#[derive(ToSchema)]
pub struct TokensSchema {
    tokens: Vec<u32>,
    count: u64,
    max_model_len: u64,
    token_strs: Option<Vec<Option<String>>>,
}

#[derive(ToSchema)]
pub struct TextSchema {
    prompt: String,
}

#[derive(ToSchema)]
pub struct HealthSchema {
    status: String,
}

#[derive(ToSchema)]
pub struct VersionSchema {
    version: String,
}

/// NVIDIA's own fields.
#[derive(ToSchema)]
pub struct NvidiaSchema {
    #[schema(minimum = -1)]
    max_thinking_tokens: Option<i64>,
}
