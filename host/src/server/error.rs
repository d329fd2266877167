//! `ApiError`: what a client is told, in OpenAI's form.
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::{Category, Error};

/// An answer that is no success.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The status of the response, where that has not begun.
    pub status: StatusCode,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    /// Seconds after which it is worth a try.
    retry_after: Option<u64>,
}

impl ApiError {
    /// An error of this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// A field of the request that cannot be honoured.
    pub fn field(name: impl Into<String>, message: impl std::fmt::Display) -> ApiError {
        let name = name.into();
        let error = ApiError::new(StatusCode::BAD_REQUEST, format!("{name}: {message}"));
        ApiError { param: Some(name), code: Some("invalid_value"), ..error }
    }

    /// What is wrong at a place of the request, as `place: what`.
    pub fn placed(message: &str) -> ApiError {
        let (place, what) = message.split_once(": ").unwrap_or(("messages", message));
        ApiError::field(place, what)
    }

    /// Says that it is about `field`, unless it says already which field it is about.
    pub fn about(mut self, field: &str) -> ApiError {
        self.param.get_or_insert_with(|| field.to_owned());
        self
    }

    /// With a word that programs look for.
    pub fn code(self, code: &'static str) -> ApiError {
        ApiError { code: Some(code), ..self }
    }

    /// With the seconds after which it is worth a try.
    pub fn retry_after(self, seconds: u64) -> ApiError {
        ApiError { retry_after: Some(seconds), ..self }
    }

    /// What is wrong with a request by the judgement of the session. Hints speak of the command line, so they are left out.
    pub fn request(error: &Error) -> ApiError {
        let details = error.details_text();
        let named = details.split_once(": expected").map(|(option, rest)| (field_of(option), rest));
        let message = match &named {
            Some((name, rest)) => format!("{}: {name}: expected{rest}", error.message()),
            None => format!("{}: {details}", error.message()),
        };
        let code = if error.message().contains("longer than the context") {
            "context_length_exceeded"
        } else {
            "invalid_value"
        };
        let param = named.map(|(name, _)| name);
        ApiError { param, ..ApiError::new(StatusCode::BAD_REQUEST, message).code(code) }
    }

    /// What went wrong with a request that was taken.
    pub fn engine(error: &Error) -> ApiError {
        match error.category() {
            Category::Input => ApiError::request(error),
            _ => ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("{}: {}", error.message(), error.details_text()),
            ),
        }
    }

    /// With the names that an API has for fields: pairs of a chat's name and its own, without the numbers of tools.
    pub fn renamed(mut self, names: &[(&str, &str)]) -> ApiError {
        let begins = |text: &str, name: &str| {
            text.strip_prefix(name).filter(|rest| rest.starts_with([':', '.', '['])).map(str::to_owned)
        };
        let inner = |(chat, own): &(&str, &str)| {
            let (begin, rest) = self.message.split_once(&format!(": {chat}: "))?;
            Some(format!("{begin}: {own}: {rest}")).filter(|_| self.param.as_deref() == Some(*chat))
        };
        if let Some(message) = names.iter().find_map(inner) {
            self.message = message;
        }
        // The first pair that fits.
        let renamed = |text: &str| {
            let (number, text) = without_number(text);
            let (chat, own) = names.iter().find(|(chat, _)| begins(&text, chat).is_some())?;
            let own = own.replacen("tools", &format!("tools{number}"), usize::from(!number.is_empty()));
            Some(format!("{own}{}", begins(&text, chat)?))
        };
        if let Some(message) = renamed(&self.message) {
            self.message = message;
        }
        if let Some(param) = renamed(&format!("{}:", self.param.as_deref().unwrap_or_default())) {
            self.param = Some(param.trim_end_matches(':').to_owned());
        }
        self
    }

    /// What the client is told, in words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body.
    pub fn body(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            408 | 504 => "timeout_error",
            503 => "service_unavailable_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

/// The number of the tool that a place begins with, in its brackets, and the place without it.
fn without_number(place: &str) -> (&str, String) {
    let end = place.strip_prefix("tools[").and_then(|rest| rest.find(']')).map_or(0, |end| "tools[".len() + end + 1);
    let begin = "tools".len().min(end);
    (&place[begin..end], format!("{}{}", &place[..begin], &place[end..]))
}

/// The field of a request that stands for an option of the command line; other words stay.
fn field_of(option: &str) -> String {
    match option {
        "repeat-penalty" => "repetition_penalty".to_owned(),
        "thinking-budget" => "thinking_token_budget".to_owned(),
        option if option.contains(' ') => option.to_owned(),
        option => option.replace('-', "_"),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        // For who writes it in another API's form.
        response.extensions_mut().insert(self.clone());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
