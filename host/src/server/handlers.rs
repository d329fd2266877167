//! What a server answers, one function for each route.
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::app::App;
use super::body::Body;
use super::caller::Caller;
use super::conversation;
use super::error::ApiError;
use super::prepare;
use super::requests::{ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest};
use super::respond::respond;
use super::schemas::{
    ChatSchema, CompletionSchema, ErrorSchema, EventSchema, HealthSchema, TextSchema, TokensSchema, VersionSchema,
};
use super::shape::ResponseShape;
use super::tools;
use crate::session::Prompt;

type Shared = State<Arc<App>>;

/// The content type of Prometheus' text.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", request_body = ChatRequest, responses(
    (status = 200, description = "A chat.completion, or server-sent events of chat.completion.chunk",
        content((ChatSchema = "application/json"), (EventSchema = "text/event-stream"))),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema),
))]
pub(super) async fn chat(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let (session, shared) = (app.session()?, app.clone());
    let salt = salt(&app, &caller);
    let asked = Body::read(&app, request).await?.work(move |body: ChatRequest| {
        is_this(&shared, body.model())?;
        prepare::chat(session, body, salt, &shared.unknown)
    });
    respond(&app, caller, asked.await?, ResponseShape::new).await
}

/// Continues prompts.
#[utoipa::path(post, path = "/v1/completions", request_body = CompletionRequest, responses(
    (status = 200, description = "A text_completion, or server-sent events of such",
        content((CompletionSchema = "application/json"), (EventSchema = "text/event-stream"))),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema),
))]
pub(super) async fn completion(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let (session, shared) = (app.session()?, app.clone());
    let salt = salt(&app, &caller);
    let asked = Body::read(&app, request).await?.work(move |body: CompletionRequest| {
        is_this(&shared, body.model())?;
        prepare::completion(session, body, salt, &shared.unknown)
    });
    respond(&app, caller, asked.await?, ResponseShape::new).await
}

/// Who shares cached prefixes with a caller.
pub(super) fn salt(app: &App, caller: &Caller) -> u64 {
    if app.settings.share_cache { 0 } else { caller.key }
}

/// Whether a request means the model that is loaded.
pub(super) fn is_this(app: &App, model: Option<&str>) -> Result<(), ApiError> {
    let own = &app.settings.model;
    match model {
        Some(model) if model != own => {
            let message = format!("there is no model {model:?} here; there is {own:?}");
            Err(ApiError::new(StatusCode::NOT_FOUND, message).code("model_not_found"))
        }
        _ => Ok(()),
    }
}

/// Ids of a text or a conversation, however long it is.
#[utoipa::path(post, path = "/tokenize", request_body = TokenizeRequest, responses(
    (status = 200, description = "The ids", body = TokensSchema),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema)))]
pub(super) async fn tokenize(State(app): Shared, request: Request) -> Result<Json<Value>, ApiError> {
    let session = app.session()?;
    let work = move |body: TokenizeRequest| {
        let special = body.add_special_tokens;
        let ids = match (body.prompt, body.messages) {
            (Some(text), None) => {
                let prompt = if special.unwrap_or(true) { Prompt::Text(text) } else { Prompt::Raw(text) };
                session.encode_all(&prompt).map_err(|error| ApiError::request(&error))?
            }
            (None, Some(messages)) => {
                let kwargs = body.chat_template_kwargs.unwrap_or_default();
                let mut rendering =
                    conversation::rendering(kwargs, body.add_generation_prompt, body.continue_final_message)?;
                let tools = tools::offered(session, body.tools, None, None)?;
                rendering.tools = tools.map(|tools| tools.list).unwrap_or_default();
                conversation::all_ids(session, &messages, &rendering)?
            }
            _ => return Err(ApiError::field("prompt", "expected either a prompt or messages")),
        };
        let names = || ids.iter().map(|id| session.tokenizer().id_to_token(*id)).collect::<Vec<_>>();
        let strings = body.return_token_strs.unwrap_or(false).then(names);
        Ok(json!({ "count": ids.len(), "max_model_len": session.context(), "tokens": ids, "token_strs": strings }))
    };
    Body::read(&app, request).await?.work(work).await.map(Json)
}

/// The text of ids.
#[utoipa::path(post, path = "/detokenize", request_body = DetokenizeRequest, responses(
    (status = 200, description = "The text", body = TextSchema), (status = "default", description = "An error in OpenAI's form", body = ErrorSchema)))]
pub(super) async fn detokenize(State(app): Shared, request: Request) -> Result<Json<Value>, ApiError> {
    let session = app.session()?;
    let work = move |body: DetokenizeRequest| {
        let ids = body.tokens.ok_or_else(|| ApiError::field("tokens", "expected a list of token ids, found none"))?;
        let vocab = session.model().spec().vocab;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(ApiError::field("tokens", format_args!("expected ids from 0 to {}, found {id}", vocab - 1)));
        }
        let text = session.tokenizer().decode_with_special(&ids).map_err(|error| ApiError::request(&error))?;
        Ok(json!({ "prompt": text }))
    };
    Body::read(&app, request).await?.work(work).await.map(Json)
}

/// Whether requests are taken: 200; 503 while the model loads and while the server ends; 500 once the device has failed.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "Ready", body = HealthSchema),
    (status = "default", description = "500: the device failed; 503: loading, or ending", body = ErrorSchema)))]
pub(super) async fn health(State(app): Shared) -> Result<Json<Value>, ApiError> {
    let session = app.session()?;
    if let Some(failure) = session.status().failure.as_ref().or(app.failure()) {
        return Err(ApiError::engine(failure));
    }
    if app.is_draining() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends").code("draining"));
    }
    Ok(Json(json!({ "status": "ok" })))
}

/// The program's version.
#[utoipa::path(get, path = "/version", responses((status = 200, description = "The version", body = VersionSchema),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema)))]
pub(super) async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// What the server counts, as Prometheus reads it.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "OpenMetrics text", body = String,
    content_type = "application/openmetrics-text"),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema)))]
pub(super) async fn metrics(State(app): Shared) -> Response {
    let queued = app.admission().map_or(0, |admission| admission.waiting());
    let text = app.metrics.text(app.session().ok(), queued);
    ([(header::CONTENT_TYPE, HeaderValue::from_static(METRICS))], text).into_response()
}
