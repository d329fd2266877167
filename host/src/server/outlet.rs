//! `Outlet`: events of a stream on their way to a reader, in a bounded room.
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

/// Bytes of events that wait for a reader; one who lets more come up is cut off.
const MOST_WAITING: usize = 1 << 20;

/// How often a comment is sent where nothing else is.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where events go in.
#[derive(Clone)]
pub struct Outlet {
    sender: UnboundedSender<String>,
    waiting: Arc<AtomicUsize>,
}

/// Nobody reads: the connection is closed, or its reader is too slow.
#[derive(Debug)]
pub struct Gone;

impl Outlet {
    /// Sends an object.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn send(&self, object: &Value) -> Result<(), Gone> {
        self.text(object.to_string())
    }

    /// Says that nothing follows.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn done(&self) -> Result<(), Gone> {
        self.text("[DONE]".to_owned())
    }

    fn text(&self, text: String) -> Result<(), Gone> {
        let waiting = self.waiting.fetch_add(text.len(), Ordering::Relaxed);
        if waiting > MOST_WAITING {
            return Err(Gone);
        }
        self.sender.send(text).map_err(|_| Gone)
    }
}

/// Where they come out. What makes them ends when this is dropped.
struct Events {
    receiver: UnboundedReceiver<String>,
    waiting: Arc<AtomicUsize>,
    maker: AbortHandle,
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context).map(|text| {
            let text = text?;
            self.waiting.fetch_sub(text.len(), Ordering::Relaxed);
            Some(Ok(Event::default().data(text)))
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.maker.abort();
    }
}

/// A response whose events `make` sends.
pub fn response<F>(make: impl FnOnce(Outlet) -> F) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let maker = tokio::spawn(make(Outlet { sender, waiting: waiting.clone() })).abort_handle();
    let events = Events { receiver, waiting, maker };
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
