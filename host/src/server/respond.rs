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
use tokio::sync::mpsc::Receiver;

use super::answers::{self, AnswerEvent};
use super::app::App;
use super::caller::Caller;
use super::error::ApiError;
use super::prepare::Asked;
use super::stream::{AnswerShape, StreamEvent};
use crate::session::Session;

/// How often a stream without events says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events that are taken together where they are there.
const TOGETHER: usize = 64;

/// Answers a request with what `shape` makes of it: from the session, the request, its name and the model's.
///
/// # Errors
/// It could not begin, or failed before there was a response.
pub async fn respond<S: AnswerShape>(
    app: &Arc<App>,
    caller: Caller,
    asked: Asked,
    shape: impl FnOnce(&'static Session, Arc<Asked>, &str, &str) -> S,
) -> Result<Response, ApiError> {
    let asked = Arc::new(asked);
    let mut events = answers::start(app, &caller, &asked)?;
    let mut shape = shape(app.session()?, asked.clone(), &caller.id, &app.settings.model);
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
    let stream = Stream::new(unfold(writer, next)).keep_alive(keep_alive::<S>().interval(KEEP_ALIVE));
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, stream).into_response())
}

fn keep_alive<S: AnswerShape>() -> KeepAlive {
    S::PING.map_or_else(KeepAlive::new, |(name, data)| KeepAlive::new().event(Sse::default().event(name).data(data)))
}

fn ended() -> ApiError {
    ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "the answer ended early")
}

/// A stream of events.
struct Writer<S> {
    events: Receiver<AnswerEvent>,
    shape: S,
    ready: VecDeque<StreamEvent>,
    done: bool,
    /// The request is logged when the stream has ended.
    _caller: Caller,
}

async fn next<S: AnswerShape>(mut writer: Writer<S>) -> Option<(Result<Sse, Infallible>, Writer<S>)> {
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
    let StreamEvent { name, data } = writer.ready.pop_front()?;
    let event = match name {
        Some(name) => Sse::default().event(name),
        None => Sse::default(),
    };
    Some((Ok(event.data(data)), writer))
}

impl<S: AnswerShape> Writer<S> {
    fn take(&mut self, event: AnswerEvent) {
        if self.done {
            return;
        }
        match self.shape.stream(event) {
            Err(error) => self.fail(&error),
            Ok(events) => {
                self.ready.extend(events);
                self.done = self.shape.is_done();
            }
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.ready.extend(self.shape.failed(error));
        self.done = true;
    }
}
