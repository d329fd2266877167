//! Sockets: how many, how long a header may take, and their end.
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};

use super::app::App;
use super::phase::Stage;
use super::routes;
use crate::error::{Category, Error, Result};

/// How long the head of a request may take, the wait for its first byte on a kept connection included.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Most headers of a request, and bytes of all of them.
const HEADERS: usize = 64;
const HEADER_BYTES: usize = 32 << 10;

/// How long connections may take to close once their requests are answered.
const CLOSING_TIME: Duration = Duration::from_secs(2);

/// How often the engine is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Serves until a signal or a failure ends it, and lets running requests end.
///
/// # Errors
/// The socket cannot be used.
pub async fn serve(app: Arc<App>, listener: TcpListener) -> Result<()> {
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = listener.map_err(|error| {
        Error::new(Category::Io, "The socket cannot be used").details(error).hint("try again, or another --port")
    })?;
    let room = Arc::new(Semaphore::new(app.options.max_connections));
    let router = routes::router(app.clone());
    let (closing, closed) = watch::channel(());
    let ended = ended(&app);
    tokio::pin!(ended);
    loop {
        let accepted = tokio::select! {
            accepted = async { (room.clone().acquire_owned().await, listener.accept().await) } => accepted,
            () = &mut ended => break,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let (router, closed, stage) = (router.clone(), closed.clone(), app.phase.watch());
                tokio::spawn(async move {
                    connection(stream, router, stage).await;
                    drop((place, closed));
                });
            }
            // No file descriptor is left: others must close first.
            (_, Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            (Err(_), _) => break,
        }
    }
    drop((listener, closed));
    let _ = tokio::time::timeout(CLOSING_TIME, closing.closed()).await;
    Ok(())
}

/// Answers the requests of a connection; once the server ends, that which is under way.
async fn connection(stream: TcpStream, router: axum::Router, mut stage: watch::Receiver<Stage>) {
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEADER_BYTES as u32);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ends = async { stage.wait_for(|stage| matches!(stage, Stage::Draining | Stage::Failed)).await.is_ok() };
    tokio::select! {
        // A client that sends nonsense or leaves is its own concern.
        _ = connection.as_mut() => return,
        _ = ends => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Returns when no request is under way and none may begin any more.
async fn ended(app: &App) {
    let mut stage = app.phase.watch();
    let failed = async { stage.wait_for(|stage| *stage == Stage::Failed).await.is_ok() };
    tokio::select! {
        () = signal() => app.phase.drain(),
        _ = failed => {}
        () = look(app) => {}
    }
    tracing::info!(under_way = app.phase.under_way(), "the server ends");
    let drained = async {
        while app.phase.under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(app.options.drain_timeout) => tracing::warn!("requests that still run are cut off"),
        () = signal() => tracing::warn!("a second signal: requests that still run are cut off"),
    }
}

/// Notices when the engine has failed.
async fn look(app: &App) {
    while app.phase.stage() != Stage::Failed {
        tokio::time::sleep(LOOK).await;
        app.phase.look();
    }
}

/// SIGINT or SIGTERM.
#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
async fn signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
