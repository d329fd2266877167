//! The port: connections in bounded number, each closed when it is silent, or takes nothing, for too long.
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tower::ServiceExt;

use super::app::{App, Settings};
use super::patient::Patient;
use crate::error::{Category, Error, Result};

/// Most bytes of a request's head, and of a response that waits in front of the system's buffer.
const HEAD_BYTES: usize = 64 * 1024;

/// Most header lines of a request.
const HEADERS: usize = 100;

/// Bytes that the system keeps for a client that does not read; Linux takes twice as much, and megabytes unless it is told.
const SEND_BYTES: u32 = 128 * 1024;

/// Connections that the system keeps until they are taken.
const BACKLOG: u32 = 1024;

/// Open files beside connections.
const OTHER_FILES: u64 = 64;

/// Binds the port.
///
/// # Errors
/// The address cannot be had.
pub async fn bind(settings: &Settings) -> Result<TcpListener> {
    let Settings { host, port, .. } = settings;
    listen_at(host, *port).await.map_err(|error| {
        Error::new(Category::Io, "The port cannot be opened")
            .details(format_args!("{host}:{port}: {error}"))
            .hint("choose another --host or --port, or end what listens there")
    })
}

async fn listen_at(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match listener(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_send_buffer_size(SEND_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Raises the process' limit on open files to what `connections` need, as far as the system allows.
pub fn allow_files(connections: usize) {
    let wanted = connections as u64 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(now) = current.filter(|now| *now < wanted) else { return };
    let most = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).map_or(now, |()| most);
    if raised < wanted {
        tracing::warn!(
            connections,
            files = raised,
            "the limit on open files is below --max-connections; raise it with ulimit -n or LimitNOFILE"
        );
    }
}

/// Serves connections until `end` is told, and then waits until what was given to them is written.
pub async fn serve(app: Arc<App>, listener: TcpListener, routes: Router, end: oneshot::Receiver<()>) {
    let (connections, ends) = (GracefulShutdown::new(), Arc::new(Notify::new()));
    tokio::select! {
        _ = end => {}
        () = take(&app, &listener, &routes, (&connections, &ends)) => {}
    }
    drop(listener);
    ends.notify_waiters();
    connections.shutdown().await;
}

/// Takes connections, for ever.
async fn take(
    app: &Arc<App>,
    listener: &TcpListener,
    routes: &Router,
    (connections, ends): (&GracefulShutdown, &Arc<Notify>),
) {
    let room = Arc::new(Semaphore::new(app.settings.max_connections));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                // From here on, so that no end is missed.
                let end = ends.clone().notified_owned();
                let served = connection(app.clone(), stream, routes.clone(), (place, connections.watcher()), end);
                drop(tokio::spawn(served));
            }
            Err(error) => {
                // Such as too many open files: that passes.
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    app: Arc<App>,
    stream: TcpStream,
    routes: Router,
    (_place, watcher): (OwnedSemaphorePermit, Watcher),
    end: OwnedNotified,
) {
    // Pieces of text are small, and each is waited for.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Patient::new(stream, app.settings.reader_timeout));
    let has_asked = Arc::new(AtomicBool::new(false));
    let asks = has_asked.clone();
    let service = routes.map_request(move |request: hyper::Request<hyper::body::Incoming>| -> Request {
        asks.store(true, Ordering::Relaxed);
        request.map(axum::body::Body::new)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(app.settings.idle_timeout)
        .max_buf_size(HEAD_BYTES)
        .max_header_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let unasked = async {
        end.await;
        if has_asked.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    };
    let served = watcher.watch(http.serve_connection(stream, TowerToHyperService::new(service)));
    tokio::select! {
        biased;
        // A client that goes away or speaks no HTTP is no fault of the server.
        ended = served => if ended.is_err_and(|error| is_timeout(&error)) {
            tracing::warn!("a client reads nothing for longer than --reader-timeout; its connection is closed");
        },
        // Hyper would wait for the rest of a first request's head: nobody is owed anything.
        () = unasked => {}
    }
}

fn is_timeout(error: &hyper::Error) -> bool {
    let inner = std::error::Error::source(error).and_then(|inner| inner.downcast_ref::<io::Error>());
    inner.is_some_and(|inner| inner.kind() == io::ErrorKind::TimedOut)
}
