//! The model that a server has, in OpenAI's form and in Anthropic's.
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::anthropic::errors;
use super::app::App;
use super::error::ApiError;
use super::handlers::is_this;
use super::schemas::{ErrorSchema, ModelSchema, ModelsSchema};

/// The model that is loaded; where there is an anthropic-version header, in Anthropic's form.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, description = "A list of one model", body = ModelsSchema),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema)))]
pub(super) async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let model = object(&app, &headers)?;
    let name = model["id"].clone();
    Ok(Json(match errors::asks_for_their_form(&headers) {
        true => json!({ "data": [model], "has_more": false, "first_id": name, "last_id": name }),
        false => json!({ "object": "list", "data": [model] }),
    }))
}

/// A model by its name, which may have slashes.
#[utoipa::path(get, path = "/v1/models/{name}", params(("name" = String, Path, description = "The model's name")),
    responses((status = 200, description = "The model", body = ModelSchema),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema)))]
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    is_this(&app, Some(&name))?;
    object(&app, &headers).map(Json)
}

fn object(app: &App, headers: &HeaderMap) -> Result<Value, ApiError> {
    let (context, name) = (app.session()?.context(), &app.settings.model);
    if errors::asks_for_their_form(headers) {
        // What their API says of a model whose day of release is not known.
        let unknown = "1970-01-01T00:00:00Z";
        return Ok(json!({ "type": "model", "id": name, "display_name": name, "created_at": unknown,
            "max_input_tokens": context, "max_tokens": context }));
    }
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    Ok(json!({ "id": name, "object": "model", "created": created, "owned_by": "nemotron", "max_model_len": context }))
}
