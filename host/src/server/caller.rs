//! `Caller`: who asks, since when, and the one line about it in the log.
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use axum::http::StatusCode;

/// Who asks.
#[derive(Clone)]
pub struct Caller {
    /// The name of the request.
    pub id: String,
    /// The number of its key; 0 where there are no keys.
    pub key: u64,
    pub arrived: Instant,
    pub log: Arc<RequestLog>,
}

/// What is known of a request. The line is written when the last who knows of the request lets it go.
pub struct RequestLog {
    id: String,
    what: String,
    key: u64,
    arrived: Instant,
    status: AtomicU16,
    prompt: AtomicU64,
    tokens: AtomicU64,
    open: Arc<AtomicUsize>,
}

impl RequestLog {
    /// A request; it is one of `open` until it is logged.
    pub fn new(id: &str, what: String, key: u64, open: Arc<AtomicUsize>) -> RequestLog {
        open.fetch_add(1, Ordering::Relaxed);
        let [prompt, tokens] = [0, 0].map(AtomicU64::new);
        RequestLog {
            id: id.to_owned(),
            what,
            key,
            arrived: Instant::now(),
            status: AtomicU16::new(0),
            prompt,
            tokens,
            open,
        }
    }

    /// The status of the response.
    pub fn status(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// An error, which may come when the status is sent already.
    pub fn fail(&self, status: StatusCode) {
        self.status(status);
    }

    /// A prompt of so many tokens.
    pub fn prompt(&self, tokens: usize) {
        self.prompt.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    /// A generated token.
    pub fn token(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let status = match self.status.load(Ordering::Relaxed) {
            // The client went before there was a response.
            0 => 499,
            status => status,
        };
        tracing::info!(
            request = self.id,
            what = self.what,
            key = self.key,
            status,
            prompt_tokens = self.prompt.load(Ordering::Relaxed),
            completion_tokens = self.tokens.load(Ordering::Relaxed),
            ms = self.arrived.elapsed().as_millis() as u64,
            "request"
        );
    }
}
