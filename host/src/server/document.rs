//! The OpenAPI document: what requests may say to the model that is loaded, and what responses have.
//!
//! Responses are made as JSON values (`shape.rs`); their types here are for the document alone, and `make test-serve` holds the
//! one against the other.
#![allow(dead_code, missing_docs)]
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};

use super::requests::{ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest};
use super::routes;

#[derive(OpenApi)]
#[openapi(
    paths(
        routes::chat,
        routes::completion,
        routes::models,
        routes::tokenize,
        routes::detokenize,
        routes::health,
        routes::version,
        routes::metrics
    ),
    components(schemas(ChatRequest, CompletionRequest, TokenizeRequest, DetokenizeRequest))
)]
struct Document;

/// The document, for a model of this name and, once it is loaded, of so many token ids.
pub fn document(model: &str, vocab: Option<usize>) -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    for request in ["ChatRequest", "CompletionRequest"] {
        document["components"]["schemas"][request]["properties"]["model"]["enum"] = json!([model, null]);
    }
    if let Some(vocab) = vocab {
        bound_ids(&mut document["components"]["schemas"], vocab);
    }
    document
}

/// Tells the greatest token id; nothing else is an integer of 32 bits.
fn bound_ids(schema: &mut Value, vocab: usize) {
    if schema["format"] == "int32" {
        schema["maximum"] = json!(vocab - 1);
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(|field| bound_ids(field, vocab)),
        Value::Array(values) => values.iter_mut().for_each(|value| bound_ids(value, vocab)),
        _ => {}
    }
}

/// A turn of a conversation, with whatever else the chat template reads.
#[derive(ToSchema)]
pub struct MessageSchema {
    /// Such as system, user and assistant.
    #[schema(examples("user"))]
    role: String,
    content: Option<ContentSchema>,
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

/// A server-sent event; the last one's data is `[DONE]`.
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
    content: String,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
}

#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FinishSchema {
    Stop,
    Length,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_the_model_and_its_ids() {
        let document = document("mia", Some(2178));
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["ChatRequest"]["properties"]["model"]["enum"], json!(["mia", null]));
        let ids = &schemas["DetokenizeRequest"]["properties"]["tokens"]["items"];
        assert_eq!((&ids["minimum"], &ids["maximum"]), (&json!(0), &json!(2177)));
        assert!(schemas["ErrorSchema"]["properties"]["error"].is_object() && schemas["PromptInput"].is_object());
    }
}
