//! The routes, and what stands around all of them.
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::app::App;
use super::failure::Refusal;
use super::{access, chat, completions, document, health, metrics, tokens};

/// Every route of the server.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/completions", post(completions::answer))
        .route("/v1/models", get(health::models))
        .route("/v1/models/{*model}", get(health::model))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/health", get(health::health))
        .route("/version", get(health::version))
        .route("/metrics", get(metrics::text))
        .route("/openapi.json", get(document::json))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is no such route") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the route is not asked by this method")
        })
        .layer(CatchPanicLayer::custom(|_| {
            use axum::response::IntoResponse;
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the program made a mistake").into_response()
        }))
        .layer(middleware::from_fn_with_state(app.clone(), access::check))
        .with_state(app)
}
