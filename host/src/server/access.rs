//! Who may ask: the key, and on a loopback address Host and Origin, so that a web page cannot reach the server.
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::app::App;
use super::failure::Refusal;

/// The header that names a request.
const REQUEST_ID: &str = "x-request-id";

/// Most characters of a name that a client gives its request.
const MOST_NAME: usize = 128;

/// Who asks: the index of the key, and the request's name.
#[derive(Clone, Debug)]
pub struct Caller {
    pub key: usize,
    pub request: String,
    pub began: Instant,
}

/// Lets a request pass or refuses it, names it, and logs it.
pub async fn check(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let caller = caller(&app, request.headers());
    let allowed = match path.as_str() {
        "/health" => Ok(0),
        _ => reachable(&app, &request).and_then(|()| key(&app, request.headers())),
    };
    let mut response = match (allowed, caller) {
        (Err(refusal), _) | (_, Err(refusal)) => refusal.into_response(),
        (Ok(key), Ok(name)) => {
            request.extensions_mut().insert(Caller { key, request: name.clone(), began });
            let mut response = next.run(request).await;
            if let Ok(name) = HeaderValue::from_str(&name) {
                response.headers_mut().insert(REQUEST_ID, name);
            }
            response
        }
    };
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    let status = response.status();
    let milliseconds = began.elapsed().as_millis();
    // A generation logs its own end.
    let is_quiet =
        matches!(path.as_str(), "/health" | "/metrics") || path.ends_with("/completions") && status.is_success();
    if !is_quiet {
        tracing::info!(%method, path, status = status.as_u16(), milliseconds, "request");
    }
    response
}

/// The name of a request: the client's, or one of the server's.
fn caller(app: &App, headers: &HeaderMap) -> Result<String, Refusal> {
    let Some(name) = headers.get(REQUEST_ID) else { return Ok(app.number()) };
    let text = name.to_str().ok().filter(|text| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        !text.is_empty() && text.len() <= MOST_NAME && text.chars().all(is_plain)
    });
    text.map(str::to_owned).ok_or_else(|| {
        Refusal::bad(format!("{REQUEST_ID}: expected up to {MOST_NAME} letters, digits and -_.: of ASCII"))
    })
}

/// On a loopback address, only what a program on this machine would send.
fn reachable(app: &App, request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    if !app.options.is_loopback() {
        return Ok(());
    }
    // HTTP/2 has it in the address.
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default()).or(authority);
    if host.is_some_and(|host| !is_local(host)) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "Host: expected localhost or a loopback address"));
    }
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let foreign = |origin: &str| !origin.split_once("://").is_some_and(|(_, host)| is_local(host));
    if origin.is_some_and(foreign) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "Origin: web pages of other hosts may not ask"));
    }
    Ok(())
}

/// Whether a host, with or without a port, is this machine.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The index of the key that a request brings. Each key is compared, in a time that does not depend on what it has.
fn key(app: &App, headers: &HeaderMap) -> Result<usize, Refusal> {
    let keys = &app.options.api_keys;
    if keys.is_empty() {
        return Ok(0);
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let given = bearer.or_else(|| text("x-api-key")).unwrap_or_default().as_bytes();
    let found = keys.iter().enumerate().fold(None, |found, (index, key)| {
        let same = bool::from(key.as_bytes().ct_eq(given));
        if same { Some(index) } else { found }
    });
    found.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "the API key is missing or wrong"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_known() {
        for local in ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.3.2.1", "[::1]:8000", "[::1]"] {
            assert!(is_local(local), "{local}");
        }
        for foreign in ["example.org", "localhost.example.org", "10.0.0.1:80", "", "[::2]", "127.0.0.1.nip.io"] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }
}
