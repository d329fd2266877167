//! `Refusal`: an error as OpenAI's API has it, with its HTTP status.
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::{Category, Error};

/// Seconds after which a refused client may come again.
const RETRY_AFTER: u32 = 1;

/// Why a request gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    kind: &'static str,
    message: String,
    /// The field that is wrong.
    param: Option<String>,
}

impl Refusal {
    /// A refusal with that status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        Refusal { status, kind, message: message.into(), param: None }
    }

    /// 400: the request is wrong.
    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 of a field, whose name stands in front of a colon in the message where it has one.
    pub fn field(message: String) -> Refusal {
        let name = message.split([':', '[', '.', ' ']).next().map(|name| name.trim_matches('"').to_owned());
        Refusal { param: name.filter(|name| !name.is_empty()), ..Refusal::bad(message) }
    }

    /// 503: another time.
    pub fn unavailable(message: &str) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 500: the device has failed.
    pub fn failed(error: Option<&Error>) -> Refusal {
        let message = error.map_or_else(|| "the server has failed".to_owned(), |error| error.message().to_owned());
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The error object.
    pub fn object(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.status.as_u16()
        } })
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let text = format!("{}: {}", error.message(), error.details_text());
        match error.category() {
            // A prompt, a parameter, a template that refuses its conversation.
            Category::Input | Category::Tokenizer | Category::Model => Refusal::bad(text),
            _ => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.object())).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
