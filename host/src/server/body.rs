//! A request's body: its type, its limits, its JSON.
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};

use tokio::sync::SemaphorePermit;

use super::app::App;
use super::failure::Refusal;
use crate::openai::fields::Fields;

/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The fields of a JSON body, and the room that it has until it is understood: taken before it is read, so that many bodies
/// take a bounded memory together.
///
/// # Errors
/// It is not declared to be JSON, too long, or no object.
pub async fn read<'a>(app: &'a App, headers: &HeaderMap, body: Body) -> Result<(Fields, SemaphorePermit<'a>), Refusal> {
    if !is_json(headers) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json"));
    }
    let most = app.options.max_body_bytes;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let expected = declared.unwrap_or(most);
    if expected > most {
        return Err(too_long(most));
    }
    // The text, and about as much again for what is made of it.
    let room = u32::try_from(expected.div_ceil(1 << 10) * 2 + 1).unwrap_or(u32::MAX);
    let room = app.bodies.acquire_many(room).await.map_err(|_| Refusal::unavailable("the server is shutting down"))?;
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, most)).await;
    let read = read.map_err(|_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come"))?;
    let bytes = read.map_err(|error| match is_limit(&error) {
        true => too_long(most),
        false => Refusal::bad(format!("the body cannot be read: {error}")),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Refusal::bad("the body is not UTF-8"))?;
    let fields = Fields::parse(text)
        .map_err(|what| Refusal::bad(format!("the body is no JSON object that can be used: {what}")))?;
    Ok((fields, room))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn is_limit(error: &axum::Error) -> bool {
    error.to_string().contains("length limit")
}

fn too_long(most: usize) -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {most} bytes"))
}
