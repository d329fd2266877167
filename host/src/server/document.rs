//! The OpenAPI document: what requests may say to the model that is loaded, and what responses have.
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::anthropic::requests::MessagesRequest;
use super::requests::{ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest};
use super::responses::requests::ResponsesRequest;
use super::{anthropic, handlers, models, responses};

#[derive(OpenApi)]
#[openapi(
    paths(
        handlers::chat,
        handlers::completion,
        anthropic::handlers::messages,
        anthropic::handlers::count_tokens,
        responses::handlers::responses,
        models::models,
        models::model,
        handlers::tokenize,
        handlers::detokenize,
        handlers::health,
        handlers::version,
        handlers::metrics
    ),
    components(schemas(
        ChatRequest,
        CompletionRequest,
        TokenizeRequest,
        DetokenizeRequest,
        MessagesRequest,
        ResponsesRequest
    ))
)]
struct Document;

/// The document, for a model of this name and, once it is loaded, of so many token ids.
pub fn document(model: &str, vocab: Option<usize>) -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    for request in ["ChatRequest", "CompletionRequest", "MessagesRequest", "ResponsesRequest"] {
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
