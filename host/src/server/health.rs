//! `/health`, `/version`, `/v1/models`.
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::app::App;
use super::failure::Refusal;
use super::phase::Stage;

/// Whether requests are answered: 200, or 503 while the model loads or the server ends, or 500 after a failure.
pub async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    app.phase.look();
    let (status, word) = match app.phase.stage() {
        Stage::Ready => (StatusCode::OK, "ready"),
        Stage::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        Stage::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Stage::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    (status, Json(json!({ "status": word })))
}

/// The program's version.
pub async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// The one model.
pub async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [card(&app)] }))
}

/// The model of that name.
pub async fn model(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    known(&app, &name)?;
    Ok(Json(card(&app)))
}

fn card(app: &App) -> Value {
    let context = app.phase.session().map(|session| session.context());
    json!({
        "id": app.model, "object": "model", "created": app.created, "owned_by": "nemotron", "max_model_len": context
    })
}

/// Whether the model has that name.
///
/// # Errors
/// 404: it has another.
pub fn known(app: &App, name: &str) -> Result<(), Refusal> {
    if name == app.model {
        return Ok(());
    }
    let message = format!("the model {name:?} does not exist; {:?} does", app.model);
    Err(Refusal::new(StatusCode::NOT_FOUND, message))
}
