//! The body of a request: JSON of a bounded length, in bounded memory, that comes in bounded time.
use std::sync::Arc;

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::app::{App, BODY_UNIT};
use super::error::ApiError;
use crate::error::plain_words;

/// A body, and its share of the memory for bodies.
pub struct Body {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl Body {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// It is no JSON by its type, too long, or takes too long to come.
    pub async fn read(app: &Arc<App>, request: Request) -> Result<Body, ApiError> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !is_json(kind) {
            let message = format!("Content-Type: expected application/json, found {kind:?}");
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let most = app.settings.max_body_bytes;
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let length: usize = length.unwrap_or(most);
        let too_long = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {most} bytes"));
        if length > most {
            return Err(too_long());
        }
        let units = u32::try_from(length.div_ceil(BODY_UNIT).max(1)).unwrap_or(u32::MAX);
        let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come");
        let reading = async {
            let share = app.bodies.clone().acquire_many_owned(units).await;
            let share = share.map_err(|_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends"))?;
            let bytes = to_bytes(request.into_body(), most).await.map_err(|error| {
                let inner = std::error::Error::source(&error);
                let long = inner.is_some_and(|inner| inner.to_string().contains("length limit"));
                if long { too_long() } else { ApiError::new(StatusCode::BAD_REQUEST, "the body ended early") }
            })?;
            Ok(Body { bytes, _share: share })
        };
        timeout(app.settings.idle_timeout, reading).await.map_err(late)?
    }

    /// What `work` makes of the body's value, on a thread where it may take its time.
    ///
    /// # Errors
    /// The body is not what is expected, or those of `work`.
    pub async fn work<B: DeserializeOwned, T: Send + 'static>(
        self,
        work: impl FnOnce(B) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let done = tokio::task::spawn_blocking(move || work(parse(&self.bytes)?)).await;
        done.unwrap_or_else(|error| {
            tracing::error!(%error, "a request could not be prepared");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be prepared"))
        })
    }
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The value of a body, or which field is wrong.
fn parse<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, ApiError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "the body is no JSON object").code("invalid_json"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data if path != "." => ApiError::field(path, without_place(error.inner())),
            serde_json::error::Category::Data => {
                ApiError::new(StatusCode::BAD_REQUEST, error.inner().to_string()).code("invalid_value")
            }
            _ => ApiError::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {}", error.inner()))
                .code("invalid_json"),
        }
    })?;
    reader.end().map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")).code("invalid_json")
    })?;
    Ok(value)
}

/// What serde says of a value, in plain words, without line and column: the field is named.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    plain_words(text.rfind(" at line ").map_or(text.clone(), |end| text[..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::requests::ChatRequest;
    use super::*;

    #[test]
    fn a_wrong_field_is_named_and_null_is_no_field() {
        let error = |text: &str| parse::<ChatRequest>(text.as_bytes()).unwrap_err().body()["error"].clone();
        assert_eq!(error(r#"{"temperature": "warm"}"#)["param"], "temperature");
        assert_eq!(error(r#"{"stream_options": {"include_usage": 3}}"#)["param"], "stream_options.include_usage");
        assert_eq!(error(r#"{"stop": 3}"#)["message"], "stop: expected a text or a list of texts");
        assert_eq!(error(r#"{"messages": "hi"}"#)["message"], "messages: expected a list, found the text \"hi\"");
        for text in ["", "[]", "3", "{", "{\"a\": 1,}", "{} x"] {
            assert_eq!(error(text)["code"], "invalid_json", "{text}");
        }
        let null = br#"{"temperature": null, "stop": null, "n": null, "messages": null, "colour": null}"#;
        assert!(parse::<ChatRequest>(null).is_ok());
    }

    #[test]
    fn json_is_known_by_its_type() {
        assert!(is_json("application/json") && is_json("Application/JSON; charset=utf-8"));
        assert!(!is_json("text/plain") && !is_json("") && !is_json("application/jsonx"));
    }
}
