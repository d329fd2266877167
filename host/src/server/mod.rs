//! `nemotron serve`: a model behind OpenAI's APIs. It stands on the session alone.
mod admission;
mod answers;
mod app;
mod body;
mod caller;
mod error;
mod gate;
mod keys;
mod listen;
mod logprobs;
mod metrics;
mod other_fields;
mod prepare;
mod requests;
mod respond;
mod routes;
mod shape;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::error::{Category, Error, Result};
use crate::session::Session;
use app::App;

pub use app::Settings;

/// How a server ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal asked for it, and what ran could end.
    Drained,
    /// A second signal came, or the time to end was over.
    Cut,
}

/// Threads for connections and texts; the engine has its own.
const THREADS: usize = 2;

/// How long clients are told that the device failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves the model that `load` gives until a signal comes; the port answers before the model is loaded.
///
/// # Errors
/// The port cannot be opened, the model cannot be loaded, or the device failed.
pub fn serve(settings: Settings, load: impl FnOnce() -> Result<Session> + Send + 'static) -> Result<Ended> {
    start_log(settings.json_log);
    let threads = runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
    let threads = threads.map_err(|error| system("Threads cannot be started", &error))?;
    let ended = threads.block_on(run(settings, load));
    // Texts that are being tokenized are of no use to anybody.
    threads.shutdown_background();
    ended
}

async fn run(settings: Settings, load: impl FnOnce() -> Result<Session> + Send + 'static) -> Result<Ended> {
    let signals = |kind| signal(kind).map_err(|error| system("Signals cannot be handled", &error));
    let mut stop = Stop { terminate: signals(SignalKind::terminate())?, interrupt: signals(SignalKind::interrupt())? };
    let (listener, is_loopback) = listen::bind(&settings).await?;
    if !is_loopback && settings.api_keys.is_empty() {
        tracing::warn!("whoever reaches this address may use the model: there is no API key");
    }
    let address = listener.local_addr().map_err(|error| system("The port cannot be opened", &error))?;
    let app = Arc::new(App::new(settings, is_loopback));
    tokio::spawn(listen::serve(app.clone(), listener, routes::routes(&app)));
    tracing::info!(%address, "listening; the model is being loaded");
    let (sender, loaded) = oneshot::channel();
    std::thread::spawn(move || drop(sender.send(load())));
    let session = tokio::select! {
        () = stop.next() => return Ok(Ended::Cut),
        session = loaded => session.map_err(|error| system("The model cannot be loaded", &error))??,
    };
    let (context, sequences) = (session.context(), session.sequences());
    app.ready(session);
    tracing::info!(model = app.settings.model, context, sequences, "ready: http://{address}");
    tokio::select! {
        () = stop.next() => {}
        () = app.failed() => {
            sleep(LAST_WORDS).await;
            return Err(app.failure().cloned().unwrap_or_else(|| system("The device failed", &"no reason is known")));
        }
    }
    app.drain();
    let open = app.open.load(Ordering::Relaxed);
    tracing::info!(open, "ending: no further requests are taken; a second signal ends at once");
    let drained = async {
        while app.open.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        drained = timeout(app.settings.drain_timeout, drained) => Ok(if drained.is_ok() { Ended::Drained } else { Ended::Cut }),
        () = stop.next() => Ok(Ended::Cut),
    }
}

/// The signals that end a server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn start_log(json: bool) {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    // Another log of the same program stays.
    let _ = if json { log.json().flatten_event(true).try_init() } else { log.with_ansi(false).compact().try_init() };
}

fn system(message: &str, found: &dyn std::fmt::Display) -> Error {
    Error::new(Category::Io, message).details(found).hint("see the log above, and the system's limits (ulimit -a)")
}
