//! What every request passes: its name, where it comes from, whose it is, and whether the server takes any.
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::anthropic::errors;
use super::app::App;
use super::caller::{Caller, RequestLog};
use super::error::ApiError;
use super::unread::drop_body;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a name that a client may give its request.
const MOST_ID: usize = 128;

/// Lets a request pass, and logs it when all of it is done.
pub async fn gate(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let id = name(request.headers());
    let what = format!("{} {}", request.method(), request.uri().path().chars().take(100).collect::<String>());
    let anthropic = errors::is_theirs(request.uri().path(), request.headers());
    let checked = check(&app, &request);
    let key = *checked.as_ref().unwrap_or(&0);
    let log = Arc::new(RequestLog::new(&id, what, key, app.open.clone()));
    let caller = Caller { id: id.clone(), key, arrived: Instant::now(), log: log.clone() };
    let mut response = match checked {
        Ok(_) => {
            request.extensions_mut().insert(caller);
            tokio::select! {
                // What is ready is told, whatever the time.
                biased;
                response = next.run(request) => response,
                // A stream has its response already, and is told inside.
                error = app.is_cut() => error.into_response(),
            }
        }
        Err(error) => {
            drop_body(request.into_body()).await;
            error.into_response()
        }
    };
    log.status(response.status());
    if anthropic {
        response = errors::in_their_form(response, &id);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        if anthropic {
            response.headers_mut().insert("request-id", id.clone());
        }
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The number of the request's key.
fn check(app: &App, request: &Request) -> Result<u64, ApiError> {
    let path = request.uri().path();
    if app.is_loopback {
        of_this_machine(request.headers(), request.uri(), &app.settings.host)?;
    }
    // The page says by itself why nothing can be asked now.
    if ["/", "/health"].contains(&path) {
        return Ok(0);
    }
    let key = app.keys.check(request.headers())?;
    if app.is_draining() && path != "/metrics" && path != "/version" {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends").code("draining").retry_after(5));
    }
    match app.failure() {
        Some(failure) if path != "/metrics" && path != "/version" => Err(ApiError::engine(failure)),
        _ => Ok(key),
    }
}

/// A web page of elsewhere must not reach a server of this machine: neither under a name of its own (the Host), nor from a
/// page of its own (the Origin).
fn of_this_machine(headers: &HeaderMap, uri: &Uri, host: &str) -> Result<(), ApiError> {
    let refused = |what: &str| ApiError::new(StatusCode::FORBIDDEN, format!("{what}: not a name of this machine"));
    let named = headers.get(header::HOST).and_then(|value| value.to_str().ok()).or_else(|| uri.host());
    if !named.is_some_and(|name| is_loopback(name, host)) {
        return Err(refused("Host"));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let name = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, name)| name);
        if !name.is_some_and(|name| is_loopback(name, host)) {
            return Err(refused("Origin"));
        }
    }
    Ok(())
}

/// Whether `name`, with a port or without, is this machine for itself.
fn is_loopback(name: &str, host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let plain = match name.rsplit_once(':') {
        Some((plain, port)) if is_port(port) && (!plain.contains(':') || plain.ends_with(']')) => plain,
        _ => name,
    };
    let plain = plain.trim_start_matches('[').trim_end_matches(']');
    let loopback = plain.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback || plain.eq_ignore_ascii_case("localhost") || plain.eq_ignore_ascii_case(host)
}

/// The client's name for its request, if it is one that can be logged; else one that no other request has.
fn name(headers: &HeaderMap) -> String {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (1..=MOST_ID).contains(&id.len()) && id.bytes().all(letter));
    // Every `RandomState` has keys of its own.
    given.map_or_else(|| format!("{:016x}", RandomState::new().build_hasher().finish()), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_few_names() {
        for name in
            ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000", "[::1]", "here.test:80"]
        {
            assert!(is_loopback(name, "here.test"), "{name}");
        }
        for name in ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test:8000", "", "0.0.0.0", "10.0.0.1", "null"]
        {
            assert!(!is_loopback(name, "127.0.0.1"), "{name}");
        }
    }

    #[test]
    fn a_name_that_could_break_the_log_is_replaced() {
        let of = |id: &str| name(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).unwrap())]));
        assert_eq!(of("Ada-1.2_3"), "Ada-1.2_3");
        for wrong in ["", "a b", "a\"b", &"a".repeat(129)] {
            assert_eq!(of(wrong).len(), 16, "{wrong}");
        }
        assert_ne!(name(&HeaderMap::new()), name(&HeaderMap::new()));
    }
}
