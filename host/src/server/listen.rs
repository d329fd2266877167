//! The port: connections in bounded number, each closed when it is silent for too long.
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::app::{App, Settings};
use super::caller::HangUp;
use crate::error::{Category, Error, Result};

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;

/// Most header lines of a request.
const HEADERS: usize = 100;

/// Binds the port, and says whether only this machine reaches it.
///
/// # Errors
/// The address cannot be had.
pub async fn bind(settings: &Settings) -> Result<(TcpListener, bool)> {
    let Settings { host, port, .. } = settings;
    let failed = |error| {
        Error::new(Category::Io, "The port cannot be opened")
            .details(format_args!("{host}:{port}: {error}"))
            .hint("choose another --host or --port, or end what listens there")
    };
    let listener = TcpListener::bind((host.as_str(), *port)).await.map_err(failed)?;
    let address: IpAddr = listener.local_addr().map_err(failed)?.ip();
    Ok((listener, address.is_loopback()))
}

/// Serves connections, for ever.
pub async fn serve(app: Arc<App>, listener: TcpListener, routes: Router) {
    let room = Arc::new(Semaphore::new(app.settings.max_connections));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(app.clone(), stream, routes.clone(), place))),
            Err(error) => {
                // Such as too many open files: that passes.
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(app: Arc<App>, stream: TcpStream, routes: Router, _place: OwnedSemaphorePermit) {
    // Pieces of text are small, and each is waited for.
    let _ = stream.set_nodelay(true);
    let hang_up = HangUp::default();
    let service = routes.layer(Extension(hang_up.clone())).map_request(
        |request: hyper::Request<hyper::body::Incoming>| -> Request { request.map(axum::body::Body::new) },
    );
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(app.settings.idle_timeout)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::select! {
        // A client that goes away or speaks no HTTP is no fault of the server.
        _ = served => {}
        () = hang_up.notified() => {}
    }
}
