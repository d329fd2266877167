//! `Phase`: whether the model is there, and why not; and how many requests are under way.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::failure::Refusal;
use crate::error::Error;
use crate::session::Session;

/// Where a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Loading,
    Ready,
    /// Running requests end, no new one begins.
    Draining,
    /// The model could not be loaded, or the device failed.
    Failed,
}

/// The stage and what belongs to it, as all threads see it.
pub struct Phase {
    stage: watch::Sender<Stage>,
    session: OnceLock<Arc<Session>>,
    failure: OnceLock<Error>,
    under_way: Arc<AtomicUsize>,
}

/// Counts a request for as long as it lives.
pub struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Phase {
    pub fn new() -> Phase {
        let (stage, _) = watch::channel(Stage::Loading);
        Phase { stage, session: OnceLock::new(), failure: OnceLock::new(), under_way: Arc::default() }
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Told of every change.
    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    pub fn ready(&self, session: Session) {
        let _ = self.session.set(Arc::new(session));
        self.stage.send_if_modified(|stage| {
            let loaded = *stage == Stage::Loading;
            *stage = if loaded { Stage::Ready } else { *stage };
            loaded
        });
    }

    pub fn drain(&self) {
        self.stage.send_if_modified(|stage| {
            let goes_on = *stage != Stage::Failed;
            *stage = if goes_on { Stage::Draining } else { *stage };
            goes_on
        });
    }

    pub fn fail(&self, error: Error) {
        let _ = self.failure.set(error);
        self.stage.send_replace(Stage::Failed);
    }

    /// Why the server has failed, if it has.
    pub fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    /// Notes a failure of the engine, if there is one.
    pub fn look(&self) {
        if let Some(error) = self.session.get().and_then(|session| session.status().failure) {
            self.fail(error);
        }
    }

    /// The model, whatever the stage.
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.session.get()
    }

    /// The model, for a request that begins now.
    ///
    /// # Errors
    /// It loads, or the server ends or has failed.
    pub fn begin(&self) -> Result<(Arc<Session>, UnderWay), Refusal> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        let counted = UnderWay(self.under_way.clone());
        match (self.stage(), self.session.get()) {
            (Stage::Ready, Some(session)) => Ok((session.clone(), counted)),
            (Stage::Failed, _) => Err(Refusal::failed(self.failure().as_ref())),
            (Stage::Draining, _) => Err(Refusal::unavailable("the server is shutting down")),
            _ => Err(Refusal::unavailable("the model is being loaded")),
        }
    }

    /// Requests that are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// Ends the engine.
    pub fn stop(&self) {
        if let Some(session) = self.session.get() {
            session.shutdown();
        }
    }
}
