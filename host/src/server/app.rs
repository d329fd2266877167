//! `App`: what all requests share.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Semaphore;

use super::admission::Admission;
use super::metrics::Metrics;
use super::options::ServeOptions;
use super::phase::Phase;
use crate::error::Result;
use crate::session::LoadOptions;

/// Bytes of bodies that are read or understood at the same time, over all connections, in units of 1 024.
const BODY_KIB: usize = 256 << 10;

/// Names of unknown fields that are remembered, so that each is logged once.
const MOST_NAMES: usize = 256;

/// What all requests share.
pub struct App {
    pub options: ServeOptions,
    /// The model's name in answers.
    pub model: String,
    pub phase: Phase,
    pub admission: Arc<Admission>,
    pub metrics: Metrics,
    /// Room for bodies.
    pub bodies: Semaphore,
    /// Whose prompt is scored: that waits for an idle engine, and so do all that come later.
    pub scoring: tokio::sync::Mutex<()>,
    /// When the server started, and in seconds since 1970.
    pub started: Instant,
    pub created: u64,
    requests: AtomicU64,
    unknown: Mutex<Vec<String>>,
}

impl App {
    /// # Errors
    /// A metric's name is wrong.
    pub fn new(load: &LoadOptions, options: ServeOptions) -> Result<App> {
        let model = options.served_model_name.clone().unwrap_or_else(|| load.model.clone());
        // A few wait in the engine, so that a place is taken without a step between.
        let running = load.max_sequences + (load.max_sequences / 4).max(2);
        Ok(App {
            admission: Arc::new(Admission::new(running, options.max_queue)),
            metrics: Metrics::new(&model)?,
            options,
            model,
            phase: Phase::new(),
            bodies: Semaphore::new(BODY_KIB),
            scoring: tokio::sync::Mutex::default(),
            started: Instant::now(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            requests: AtomicU64::new(0),
            unknown: Mutex::default(),
        })
    }

    /// A number that no other request has.
    pub fn number(&self) -> String {
        format!("{:08x}{:08x}", self.created, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// Logs a field that nobody knows, the first time.
    pub fn unknown_field(&self, name: &str) {
        let mut known = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_NAMES && !known.iter().any(|known| known == name) {
            tracing::info!(field = name, "a field that is not known is ignored");
            known.push(name.to_owned());
        }
    }
}
