//! Errors in Anthropic's form.
use axum::Json;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::error::ApiError;

/// Whether a request is one of Anthropic's API.
pub fn is_theirs(path: &str, headers: &HeaderMap) -> bool {
    let is_at = |route: &str| path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_at("/v1/messages") || is_at("/v1/models") && asks_for_their_form(headers)
}

/// Whether a request is one of their clients', on a route that others have too.
pub fn asks_for_their_form(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// The object of an error of the request with this name.
pub fn object(error: &ApiError, id: &str) -> Value {
    let kind = match error.status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        503 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": error.message() }, "request_id": id })
}

/// A response whose body is in their form if it is an error; status and headers stay.
pub fn in_their_form(mut response: Response, id: &str) -> Response {
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        *response.body_mut() = Json(object(&error, id)).into_response().into_body();
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}
