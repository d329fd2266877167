//! `/openapi.json`: what the server can be asked, made of the table of fields.
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::app::App;
use super::fields::{FIELDS, Treatment};

/// The route.
pub async fn json(State(app): State<Arc<App>>) -> Json<Value> {
    Json(document(!app.options.api_keys.is_empty()))
}

fn document(keys: bool) -> Value {
    let error = json!({ "description": "An error", "content": { "application/json": { "schema": {
        "type": "object", "required": ["error"], "properties": { "error": { "type": "object", "required": ["message"] } }
    } } } });
    let answer = |types: &[&str]| {
        let content: Map<String, Value> =
            types.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": {} }))).collect();
        json!({ "description": "The answer", "content": content })
    };
    let post = |body: Value, types: &[&str]| {
        let body = json!({ "required": true, "content": { "application/json": { "schema": body } } });
        json!({ "post": { "requestBody": body, "responses": { "200": answer(types), "default": error } } })
    };
    let get = |kind: &str| json!({ "get": { "responses": { "200": answer(&[kind]), "default": error } } });
    let object = "application/json";
    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "nemotron", "version": env!("CARGO_PKG_VERSION") },
        "paths": {
            "/v1/chat/completions": post(schema(0, "messages"), &[object, "text/event-stream"]),
            "/v1/completions": post(schema(1, "prompt"), &[object, "text/event-stream"]),
            "/tokenize": post(json!({ "type": "object" }), &[object]),
            "/detokenize": post(json!({ "type": "object", "required": ["tokens"] }), &[object]),
            "/v1/models": get(object),
            "/health": get(object),
            "/version": get(object),
            "/metrics": get("text/plain"),
            "/openapi.json": get(object),
        },
    });
    if keys {
        document["components"] = json!({ "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } } });
        document["security"] = json!([{ "key": [] }]);
    }
    document
}

/// The fields of an endpoint that do something; `required` must be there.
fn schema(endpoint: usize, required: &str) -> Value {
    let honoured = FIELDS.iter().filter(|field| field.of[endpoint] && field.treatment == Treatment::Honoured);
    let property = |field: &super::fields::Field| {
        let schema = match (field.kind, field.name == required) {
            ("any", _) => json!({ "description": field.note }),
            (kind, true) => json!({ "type": kind, "description": field.note }),
            (kind, false) => json!({ "type": [kind, "null"], "description": field.note }),
        };
        (field.name.to_owned(), schema)
    };
    json!({ "type": "object", "required": [required], "properties": honoured.map(property).collect::<Map<_, _>>() })
}
