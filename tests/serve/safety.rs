//! Who may ask, from where, and how much at a time.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Response};
use crate::{Server, command};

const BODY: &str = r#"{"prompt": "Hello", "max_tokens": 2}"#;

fn post(server: &Server, headers: &[(&str, &str)], body: &str) -> Response {
    client::send(&server.address, "POST", "/v1/completions", headers, body)
}

#[test]
fn a_web_page_does_not_reach_a_server_of_this_machine() {
    let server = Server::start(&[]);
    let json = ("Content-Type", "application/json");
    assert_eq!(post(&server, &[json], BODY).status, 200);
    assert_eq!(post(&server, &[json, ("Origin", "http://localhost:3000")], BODY).status, 200);
    for (header, value) in [("Origin", "https://evil.test"), ("Origin", "null"), ("Host", "evil.test")] {
        assert_eq!(post(&server, &[json, (header, value)], BODY).status, 403, "{header}: {value}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        assert_eq!(post(&server, &[("Content-Type", kind)], BODY).status, 415, "{kind}");
    }
    assert_eq!(post(&server, &[], BODY).status, 415);
}

#[test]
fn keys_guard_everything_but_health_and_page_and_are_never_logged() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret-one\n\n  secret-two \n").unwrap();
    let server = Server::start(&["--api-key-file", file.path().to_str().unwrap()]);
    let ask = |key: &str| post(&server, &[("Content-Type", "application/json"), ("Authorization", key)], BODY);
    assert_eq!(server.get("/health").status, 200);
    for path in ["/v1/models", "/metrics", "/version", "/openapi.json", "/nothing"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    for wrong in ["", "Bearer", "Bearer secret", "Bearer secret-one2", "secret-one"] {
        assert_eq!(ask(wrong).status, 401, "{wrong}");
    }
    assert_eq!((ask("Bearer secret-one").status, ask("Bearer secret-two").status), (200, 200));
    let log = server.log();
    assert!(!log.contains("secret") && !log.contains("Hello"), "{log}");
    let cached = |key: &str| {
        let body = json!({ "prompt": "one two three ".repeat(30), "max_tokens": 2 }).to_string();
        let headers = [("Content-Type", "application/json"), ("Authorization", key)];
        post(&server, &headers, &body).json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached("Bearer secret-one"), 0);
    assert!(cached("Bearer secret-one") > 0);
    assert_eq!(cached("Bearer secret-two"), 0, "another key does not learn what was asked");
}

#[test]
fn an_open_address_needs_a_key_or_a_word() {
    let output = command().args(["serve", "-m", "models/storyteller", "--host", "0.0.0.0"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("--allow-no-key"), "{said}");
}

#[test]
fn names_of_requests_come_back_and_errors_have_one_form() {
    let server = Server::start(&["--max-body-bytes", "1000", "--log-format", "json"]);
    let named = client::send(&server.address, "GET", "/v1/models", &[("X-Request-Id", "Ada-1")], "");
    assert_eq!(named.header("x-request-id"), Some("ada-1"), "{named:?}");
    let line: Value = serde_json::from_str(&server.wait_for("Ada-1")).expect("the log is JSON");
    assert_eq!((&line["what"], &line["status"]), (&json!("GET /v1/models"), &json!(200)));
    assert_eq!(server.get("/v1/models").header("x-request-id").map(str::len), Some(16));
    let json = ("Content-Type", "application/json");
    for (response, status) in [
        (server.get("/nothing"), 404),
        (server.get("/v1/completions"), 405),
        (post(&server, &[json], "{"), 400),
        (post(&server, &[json], &format!("{{\"prompt\": \"{}\"}}", "x".repeat(1000))), 413),
    ] {
        let error = &response.json()["error"];
        assert_eq!(response.status, status, "{response:?}");
        assert!(error["message"].is_string() && error["type"].is_string(), "{error}");
    }
    let document = server.get("/openapi.json").json();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert!(paths.len() >= 8 && document["paths"]["/v1/chat/completions"]["post"].is_object(), "{paths:?}");
    assert_eq!(server.get("/version").json()["version"], env!("CARGO_PKG_VERSION"));
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "models/storyteller");
    assert_eq!(server.get("/v1/models/models/storyteller").json()["object"], "model");
    let (status, code) = (404, json!("model_not_found"));
    let missing = server.get("/v1/models/nobody");
    assert_eq!((missing.status, &missing.json()["error"]["code"]), (status, &code));
}

/// A client that writes its body behind the head finds the connection open, the answer there, and may ask again.
#[test]
fn a_body_that_nobody_reads_is_taken_all_the_same() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret").unwrap();
    let server = Server::start(&["--api-key-file", file.path().to_str().unwrap()]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = vec![b' '; 300_000];
    for (path, key, status) in [
        ("/v1/none", "secret", "404"),
        ("/version", "secret", "405"),
        ("/v1/completions", "other", "401"),
        ("/v1/none", "secret", "404"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            server.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        sleep(Duration::from_millis(100));
        stream.write_all(&body).unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}
