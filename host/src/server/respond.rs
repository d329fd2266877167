//! The two ways to answer: one object, or server-sent events.
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response, Sse as Stream};
use futures_util::stream::unfold;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use super::answers::{self, AnswerEvent};
use super::app::App;
use super::caller::Caller;
use super::error::ApiError;
use super::prepare::Asked;
use super::shape::ResponseShape;

/// How often a stream without events says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events that are taken together where they are there.
const TOGETHER: usize = 64;

/// Answers a request.
///
/// # Errors
/// It could not begin, or failed before there was a response.
pub async fn respond(app: &Arc<App>, caller: Caller, asked: Asked) -> Result<Response, ApiError> {
    let asked = Arc::new(asked);
    let mut events = answers::start(app, &caller, &asked)?;
    let mut shape = ResponseShape::new(app.session()?, asked.clone(), &caller.id, &app.settings.model);
    if !asked.stream {
        while !shape.is_done() {
            let event = events.recv().await.ok_or_else(ended)?;
            shape.take(event)?;
        }
        return Ok(Json(shape.whole()).into_response());
    }
    // What goes wrong before the first event has a status of its own.
    let first = events.recv().await.ok_or_else(ended)?;
    if let AnswerEvent::Failed(error) = first {
        return Err(error);
    }
    let mut writer = Writer { events, shape, ready: VecDeque::new(), done: false, _caller: caller };
    writer.take(first);
    let stream = Stream::new(unfold(writer, next)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, stream).into_response())
}

fn ended() -> ApiError {
    ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the answer ended early")
}

/// A stream of events.
struct Writer {
    events: Receiver<AnswerEvent>,
    shape: ResponseShape,
    ready: VecDeque<String>,
    done: bool,
    /// The request is logged when the stream has ended.
    _caller: Caller,
}

async fn next(mut writer: Writer) -> Option<(Result<Sse, Infallible>, Writer)> {
    while writer.ready.is_empty() && !writer.done {
        match writer.events.recv().await {
            None => writer.fail(&ended()),
            Some(event) => writer.take(event),
        }
        for _ in 0..TOGETHER {
            let Ok(event) = writer.events.try_recv() else { break };
            writer.take(event);
        }
    }
    let data = writer.ready.pop_front()?;
    Some((Ok(Sse::default().data(data)), writer))
}

impl Writer {
    fn take(&mut self, event: AnswerEvent) {
        if self.done {
            return;
        }
        let index = match &event {
            AnswerEvent::Piece { index, .. } | AnswerEvent::End { index, .. } => Some(*index),
            AnswerEvent::Scored { .. } | AnswerEvent::Failed(_) => None,
        };
        match self.shape.take(event) {
            Err(error) => self.fail(&error),
            Ok(()) => {
                let chunk = index.and_then(|index| self.shape.chunk(index));
                self.ready.extend(chunk.as_ref().map(Value::to_string));
                if self.shape.is_done() {
                    self.ready.extend(self.shape.last().as_ref().map(Value::to_string));
                    self.end();
                }
            }
        }
    }

    fn fail(&mut self, error: &ApiError) {
        let mut body = error.body();
        if body["error"]["code"].is_null() {
            body["error"]["code"] = error.status.as_u16().into();
        }
        self.ready.push_back(body.to_string());
        self.end();
    }

    fn end(&mut self) {
        self.ready.push_back("[DONE]".to_owned());
        self.done = true;
    }
}
