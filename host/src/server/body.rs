//! The body of a request: JSON of a bounded length, in bounded memory, that comes in bounded time.
use std::sync::Arc;
use std::thread;

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::app::{App, SMALL_BODY};
use super::error::ApiError;
use super::outline::{MOST_VALUES, Outline, RequestBody};
use super::turns;
use crate::error::plain_words;

/// A body, and its share of the memory for bodies.
pub struct Body {
    bytes: Vec<u8>,
    app: Arc<App>,
    /// None of a small body.
    share: Option<OwnedSemaphorePermit>,
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
        if length > most {
            return Err(too_long(most));
        }
        let mut body = Body { bytes: Vec::with_capacity(length.min(SMALL_BODY)), app: app.clone(), share: None };
        body.fill(request.into_body().into_data_stream(), most).await?;
        Ok(body)
    }

    /// Takes what comes, and for each piece its share of the memory: a body that is announced and does not come takes none.
    async fn fill(&mut self, mut incoming: BodyDataStream, most: usize) -> Result<(), ApiError> {
        let late = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come");
        let mut deadline = Instant::now() + self.app.settings.idle_timeout;
        while let Some(piece) = timeout_at(deadline, incoming.next()).await.map_err(late)? {
            let piece = piece.map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "the body ended early"))?;
            if self.bytes.len() + piece.len() > most {
                return Err(too_long(most));
            }
            timeout_at(deadline, self.take_share(self.bytes.len() + piece.len())).await.map_err(late)??;
            if self.share.is_some() {
                // The client does not answer for what it is made to wait.
                let asked = Instant::now();
                self.app.pace.take(piece.len()).await;
                deadline += asked.elapsed();
            }
            self.bytes.extend_from_slice(&piece);
        }
        Ok(())
    }

    /// Takes the memory of so many bytes in all. Only a body that has no share waits for one: bodies that waited for more with what
    /// they have could wait for each other.
    async fn take_share(&mut self, bytes: usize) -> Result<(), ApiError> {
        let has = SMALL_BODY + self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(more) = bytes.checked_sub(has).filter(|more| *more > 0) else { return Ok(()) };
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let memory = self.app.bodies.clone();
        if let Some(share) = &mut self.share {
            let busy = "the server reads as many large bodies as its memory is for: try again";
            let more = memory.try_acquire_many_owned(more);
            share.merge(more.map_err(|_| {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, busy).code("bodies_full").retry_after(1)
            })?);
            return Ok(());
        }
        let share = memory.acquire_many_owned(more).await;
        self.share = Some(share.map_err(|_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends"))?);
        Ok(())
    }

    /// What `work` makes of the body's value, on a thread where it may take its time.
    ///
    /// # Errors
    /// The body is not what is expected, or those of `work`.
    pub async fn work<B: DeserializeOwned + RequestBody, T: Send + 'static>(
        self,
        work: impl FnOnce(B) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = match &self.share {
            None => None,
            Some(_) if turns::is_largest(self.bytes.len()) => self.app.largest.clone().acquire_owned().await.ok(),
            Some(_) => self.app.large.clone().acquire_owned().await.ok(),
        };
        let (is_large, bytes) = (turn.is_some(), self.bytes.len());
        let work = move || {
            // They end with the work, not with a client that goes away meanwhile.
            let Body { bytes, share, app: _ } = self;
            let _kept = (turn, share);
            let value = parse(&bytes)?;
            drop(bytes);
            work(value)
        };
        let done = if is_large { behind_others(bytes, work).await } else { spawn_blocking(work).await.ok() };
        done.unwrap_or_else(|| {
            tracing::error!("a request could not be prepared: its thread panicked, or there is none");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be prepared"))
        })
    }
}

/// What `work` makes of a body of so many bytes, on a thread that takes what the others leave of the processors.
async fn behind_others<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = oneshot::channel();
    let thread = thread::Builder::new().name("large-body".to_owned()).spawn(move || {
        turns::behind_others(bytes);
        drop(sender.send(work()));
    });
    thread.ok()?;
    done.await.ok()
}

fn too_long(most: usize) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {most} bytes"))
}

fn is_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The value of a body, or which field is wrong.
fn parse<B: DeserializeOwned + RequestBody>(bytes: &[u8]) -> Result<B, ApiError> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "the body is no JSON object").code("invalid_json"));
    }
    let broken = |error: &serde_json::Error| {
        ApiError::new(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")).code("invalid_json")
    };
    let outline: Outline<B> = serde_json::from_slice(bytes).map_err(|error| broken(&error))?;
    if let Some(name) = outline.too_many {
        return Err(ApiError::field(name, format_args!("expected at most {MOST_VALUES} values, found more")));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut value: B = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data if path != "." => ApiError::field(path, without_place(error.inner())),
            serde_json::error::Category::Data => {
                ApiError::new(StatusCode::BAD_REQUEST, error.inner().to_string()).code("invalid_value")
            }
            _ => broken(error.inner()),
        }
    })?;
    value.take_others(outline.others);
    Ok(value)
}

/// What serde says of a value, in plain words, without line and column: the field is named.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    plain_words(text.rfind(" at line ").map_or(text.clone(), |end| text[..end].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::requests::{ChatRequest, CompletionRequest};
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
    fn a_body_of_too_many_values_is_refused_before_they_are_made() {
        let long = format!("{{\"messages\": [{}1]}}", "[],".repeat(MOST_VALUES));
        let error = parse::<ChatRequest>(long.as_bytes()).unwrap_err().body()["error"].clone();
        assert_eq!(error["message"], "messages: expected at most 100000 values, found more");
        let prompts = format!("{{\"prompt\": [{}[1]]}}", "[1],".repeat(256));
        let error = parse::<CompletionRequest>(prompts.as_bytes()).unwrap_err().body()["error"].clone();
        assert_eq!(error["message"], "prompt: expected 1 to 256 prompts, found more");
        assert!(parse::<CompletionRequest>(prompts.replace(", [1]]", "]").replacen("[1],", "", 1).as_bytes()).is_ok());
    }

    #[test]
    fn json_is_known_by_its_type() {
        assert!(is_json("application/json") && is_json("Application/JSON; charset=utf-8"));
        assert!(!is_json("text/plain") && !is_json("") && !is_json("application/jsonx"));
    }
}
