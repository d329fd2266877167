//! The routes of a server.
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use super::anthropic::handlers::{count_tokens, messages};
use super::app::App;
use super::document;
use super::error::ApiError;
use super::gate::gate;
use super::handlers::{chat, completion, detokenize, health, metrics, tokenize, version};
use super::models::{model, models};
use super::page::page;
use super::responses::handlers::responses;
use super::unread::drop_body;

/// All routes.
pub fn routes(app: &Arc<App>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/responses", post(responses))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(document))
        .fallback(async |body| {
            drop_body(body).await;
            ApiError::new(StatusCode::NOT_FOUND, "there is no such route; /openapi.json lists all")
        })
        .method_not_allowed_fallback(async |body| {
            drop_body(body).await;
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "another method is expected")
        })
        .layer(from_fn_with_state(app.clone(), gate))
        .with_state(app.clone())
}

/// The OpenAPI document of the model that is loaded.
async fn document(State(app): State<Arc<App>>) -> Json<Value> {
    let vocab = app.session().ok().map(|session| session.model().spec().vocab);
    Json(document::document(&app.settings.model, vocab))
}
