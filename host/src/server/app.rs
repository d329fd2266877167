//! `App`: what all requests of a server share.
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{Notify, Semaphore};

use super::admission::Admission;
use super::error::ApiError;
use super::keys::Keys;
use super::metrics::Metrics;
use super::other_fields::Unknown;
use super::pace::Pace;
use crate::error::Error;
use crate::session::Session;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host name or address that is listened at.
    pub host: String,
    /// Port; 0 for one that is free.
    pub port: u16,
    /// The model's name for clients.
    pub model: String,
    /// Keys of which a request has to have one; none for no such check.
    pub api_keys: Vec<String>,
    /// Answers that may wait for their turn.
    pub max_queue: usize,
    /// How long one may wait.
    pub queue_timeout: Duration,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// How long requests that run may take after a signal to end.
    pub drain_timeout: Duration,
    /// How long a connection may be silent before a request, and while it sends one.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of what it is sent.
    pub reader_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Whether keys share cached prefixes.
    pub share_cache: bool,
    /// Whether the log is JSON.
    pub json_log: bool,
}

/// Bytes of all bodies that are read and tokenized at a time, less the first [`SMALL_BODY`] of each.
const BODY_BYTES: usize = 128 << 20;

/// A body of so many bytes waits for no other one; connections bound how many there are.
pub const SMALL_BODY: usize = 16 * 1024;

/// Bodies that are parsed and tokenized at a time, of those that are longer than [`SMALL_BODY`]: their values take many times
/// as much memory as they, and threads that running answers need.
pub fn large_bodies() -> usize {
    (processors() / 4).clamp(1, 4)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Bytes per second that are read of large bodies, for each processor: reading them takes time from running answers.
const BODY_RATE: u64 = 16 << 20;

/// A sequence more with the engine for each so many that run: it begins without a turn of the queue between.
const SPARE: usize = 4;

/// What all requests share.
pub struct App {
    pub settings: Settings,
    pub keys: Keys,
    pub metrics: Metrics,
    pub unknown: Unknown,
    /// Bounds the bodies in memory, by bytes.
    pub bodies: Arc<Semaphore>,
    /// Bounds the large bodies that are parsed and tokenized at a time.
    pub large: Arc<Semaphore>,
    /// The same of those that [`is_largest`](super::turns::is_largest), which may take long: one at a time.
    pub largest: Arc<Semaphore>,
    /// Bounds how fast they are read.
    pub pace: Pace,
    /// Requests that have no line in the log yet.
    pub open: Arc<AtomicUsize>,
    /// Whether only loopback is listened at.
    pub is_loopback: bool,
    loaded: OnceLock<(&'static Session, Arc<Admission>)>,
    draining: AtomicBool,
    /// Closed when the time to drain is over.
    cut: Semaphore,
    failure: OnceLock<Error>,
    failed: Notify,
}

impl App {
    /// A server that has no model yet.
    pub fn new(settings: Settings, is_loopback: bool) -> App {
        App {
            keys: Keys::new(&settings.api_keys),
            metrics: Metrics::new(&settings.model),
            unknown: Unknown::default(),
            bodies: Arc::new(Semaphore::new(BODY_BYTES.max(settings.max_body_bytes))),
            large: Arc::new(Semaphore::new(large_bodies())),
            largest: Arc::new(Semaphore::new(1)),
            pace: Pace::new(BODY_RATE * processors() as u64),
            open: Arc::default(),
            is_loopback,
            settings,
            loaded: OnceLock::new(),
            draining: AtomicBool::new(false),
            cut: Semaphore::new(0),
            failure: OnceLock::new(),
            failed: Notify::new(),
        }
    }

    /// Gives the server its model, which it keeps until the process ends.
    pub fn ready(&self, session: Session) {
        // Tasks of any length borrow it, and it is never given up.
        let session: &'static Session = Box::leak(Box::new(session));
        let sequences = session.sequences();
        let admission = Admission::new(sequences + sequences.div_ceil(SPARE), self.settings.max_queue);
        let _ = self.loaded.set((session, admission));
    }

    /// The model.
    ///
    /// # Errors
    /// It is not loaded yet.
    pub fn session(&self) -> Result<&'static Session, ApiError> {
        self.loaded.get().map(|(session, _)| *session).ok_or_else(loading)
    }

    /// Who is next.
    ///
    /// # Errors
    /// The model is not loaded yet.
    pub fn admission(&self) -> Result<&Arc<Admission>, ApiError> {
        self.loaded.get().map(|(_, admission)| admission).ok_or_else(loading)
    }

    /// Takes no further requests.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it takes no further requests.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Ends what still runs: the time to drain is over.
    pub fn cut(&self) {
        self.cut.close();
    }

    /// Comes back, with what clients are told, when what still runs is to end.
    pub async fn is_cut(&self) -> ApiError {
        // It has no permit to give: this ends when it is closed.
        let _ = self.cut.acquire().await;
        let message = "the server ends, and the request took longer than --drain-timeout";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("draining").retry_after(5)
    }

    /// Ends the server, because the device failed.
    pub fn fail(&self, error: Error) {
        if self.failure.set(error).is_ok() {
            self.failed.notify_one();
        }
    }

    /// Why the device failed, if it did.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// Comes back when the device has failed.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }
}

fn loading() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the model is being loaded").code("loading").retry_after(5)
}
