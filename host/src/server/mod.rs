//! `nemotron serve`: a model behind OpenAI's and Anthropic's APIs. It stands on the session alone.
mod admission;
mod answers;
mod anthropic;
mod app;
mod blocks;
mod body;
mod caller;
mod conversation;
mod document;
mod error;
mod gate;
mod grammar;
mod handlers;
mod keys;
mod listen;
mod logprobs;
mod metrics;
mod models;
mod other_fields;
mod outline;
mod pace;
mod page;
mod parts;
mod patient;
mod prepare;
mod prompt_input;
mod requests;
mod respond;
mod responses;
mod routes;
mod schemas;
mod shape;
mod stream;
mod thinking;
mod tools;
mod turns;
mod unread;
mod whole;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
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

/// Threads for connections; the engine has its own.
const THREADS: usize = 2;

/// Threads for texts of requests; large bodies have their own.
const TEXT_THREADS: usize = 4;

/// How long connections have to say that the device failed, or that the time is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves the model that `load` gives until a signal comes; the port answers before the model is loaded.
///
/// # Errors
/// The port cannot be opened, the model cannot be loaded, or the device failed.
pub fn serve(settings: Settings, load: impl FnOnce() -> Result<Session> + Send + 'static) -> Result<Ended> {
    start_log(settings.json_log);
    let server = Server::bind(settings)?;
    let stopper = server.stopper();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let _threads = server.threads.enter();
        let mut signals = signal(kind).map_err(|error| system("Signals cannot be handled", &error))?;
        let stopper = stopper.clone();
        server.threads.spawn(async move {
            while signals.recv().await.is_some() {
                stopper.stop();
            }
        });
    }
    server.run(load)
}

/// A server whose port is open; nobody is answered before it runs.
pub struct Server {
    threads: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    stopper: Stopper,
    stops: mpsc::UnboundedReceiver<()>,
}

/// Ends a server from any thread.
#[derive(Clone)]
pub struct Stopper(mpsc::UnboundedSender<()>);

impl Stopper {
    /// Asks the server to end: what runs may end too. Asked again, it ends at once.
    pub fn stop(&self) {
        let _ = self.0.send(());
    }
}

impl Server {
    /// Opens the port of `settings`.
    ///
    /// # Errors
    /// The port or threads are not to be had.
    pub fn bind(settings: Settings) -> Result<Server> {
        let threads = threads()?;
        listen::allow_files(settings.max_connections);
        let listener = threads.block_on(listen::bind(&settings))?;
        let address = listener.local_addr().map_err(|error| system("The port cannot be opened", &error))?;
        let app = Arc::new(App::new(settings, address.ip().is_loopback()));
        let (sender, stops) = mpsc::unbounded_channel();
        Ok(Server { threads, listener, address, app, stopper: Stopper(sender), stops })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What ends it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves the model that `load` gives until the server is stopped. The model is kept until the process ends.
    ///
    /// # Errors
    /// The model cannot be loaded, or the device failed.
    pub fn run(self, load: impl FnOnce() -> Result<Session> + Send + 'static) -> Result<Ended> {
        let Server { threads, listener, address, app, stopper, stops } = self;
        let ended = threads.block_on(run(app, listener, address, stops, load));
        drop(stopper);
        // Texts that are being tokenized are of no use to anybody.
        threads.shutdown_background();
        ended
    }
}

/// The threads that hand on tokens, and those that work on texts. Only the former park, so only they take turns soon.
fn threads() -> Result<Runtime> {
    let threads = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(TEXT_THREADS)
        .on_thread_start(turns::as_usual)
        .on_thread_park(turns::soon_once)
        .enable_all()
        .build();
    threads.map_err(|error| system("Threads cannot be started", &error))
}

async fn run(
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    mut stops: mpsc::UnboundedReceiver<()>,
    load: impl FnOnce() -> Result<Session> + Send + 'static,
) -> Result<Ended> {
    if !app.is_loopback && app.settings.api_keys.is_empty() {
        tracing::warn!("whoever reaches this address may use the model: there is no API key");
    }
    let (end, ends) = oneshot::channel();
    let connections = tokio::spawn(listen::serve(app.clone(), listener, routes::routes(&app), ends));
    tracing::info!(%address, "listening; the model is being loaded");
    let (sender, loaded) = oneshot::channel();
    let thread = std::thread::Builder::new().name("load".to_owned());
    let thread = thread.spawn(move || drop(sender.send(load())));
    thread.map_err(|error| system("Threads cannot be started", &error))?;
    let session = tokio::select! {
        _ = stops.recv() => return Ok(Ended::Cut),
        session = loaded => session.map_err(|error| system("The model cannot be loaded", &error))??,
    };
    session.model().engine().call(|_| turns::soon())?;
    let (context, sequences) = (session.context(), session.sequences());
    app.ready(session);
    tracing::info!(model = app.settings.model, context, sequences, "ready: http://{address}");
    tokio::select! {
        _ = stops.recv() => {}
        () = app.failed() => return failure(&app).await,
    }
    drain(&app, stops, (end, connections)).await
}

/// Lets what runs end, and then the connections.
async fn drain(
    app: &App,
    mut stops: mpsc::UnboundedReceiver<()>,
    (end, connections): (oneshot::Sender<()>, JoinHandle<()>),
) -> Result<Ended> {
    app.drain();
    let open = app.open.load(Ordering::Relaxed);
    tracing::info!(open, "ending: no further requests are taken; a second signal ends at once");
    let mut drained = pin!(async {
        while app.open.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(20)).await;
        }
        // An answer is no longer open when its last bytes are handed to its connection, which may have to wait for its reader.
        let _ = end.send(());
        let _ = connections.await;
    });
    tokio::select! {
        biased;
        () = app.failed() => return failure(app).await,
        drained = timeout(app.settings.drain_timeout, &mut drained) => if drained.is_ok() {
            return Ok(Ended::Drained);
        },
        _ = stops.recv() => return Ok(Ended::Cut),
    }
    app.cut();
    // Clients hear why, as far as they read it.
    tokio::select! {
        _ = timeout(LAST_WORDS, drained) => {}
        () = app.failed() => return failure(app).await,
        _ = stops.recv() => {}
    }
    let unread = app.open.load(Ordering::Relaxed);
    if unread > 0 {
        tracing::warn!(unread, "ended in front of clients that read nothing");
    }
    Ok(Ended::Cut)
}

/// Lets clients hear why the device failed.
async fn failure(app: &App) -> Result<Ended> {
    sleep(LAST_WORDS).await;
    Err(app.failure().cloned().unwrap_or_else(|| system("The device failed", &"no reason is known")))
}

fn start_log(json: bool) {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    // Another log of the same program stays.
    let _ = if json { log.json().flatten_event(true).try_init() } else { log.with_ansi(false).compact().try_init() };
}

fn system(message: &str, found: &dyn std::fmt::Display) -> Error {
    Error::new(Category::Io, message).details(found).hint("see the log above, and the system's limits (ulimit -a)")
}
