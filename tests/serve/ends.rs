//! How a server begins and ends, and what becomes of clients that go away.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{Server, client, until};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// A request that takes long, as a stream.
fn long(server: &Server) -> TcpStream {
    let body =
        json!({ "prompt": "Once", "max_tokens": 4000, "ignore_eos": true, "stream": true, "logprobs": 20 }).to_string();
    let mut stream = client::open(&server.address, "POST", "/v1/completions", &JSON, &body);
    let mut begun = [0; 16];
    stream.read_exact(&mut begun).expect("it begins");
    stream
}

#[test]
fn a_server_that_drains_finishes_what_runs_and_takes_nothing_more() {
    let mut server = Server::start(&[]);
    assert_eq!(server.get("/health").status, 200);
    let running = long(&server);
    // A reader that stands still would be cancelled.
    let running = std::thread::spawn(move || client::read(running));
    server.signal("TERM");
    server.wait_for("ending");
    let health = server.get("/health");
    assert_eq!((health.status, health.json()["error"]["code"].clone()), (503, json!("draining")));
    assert_eq!(server.post("/v1/completions", &json!({ "prompt": "x" })).status, 503);
    let rest = running.join().expect("the stream is read");
    assert!(rest.body.contains("[DONE]") || rest.head.contains("[done]"), "{rest:?}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn what_does_not_end_in_time_is_told_so_and_logged() {
    let mut server = Server::start(&["--drain-timeout", "1", "--max-sequences", "1"]);
    let body = json!({ "prompt": "Once", "max_tokens": 4000, "ignore_eos": true, "logprobs": 20, "n": 64 });
    let send = |fields: &[(&str, bool)]| {
        let mut body = body.clone();
        fields.iter().for_each(|(name, value)| body[*name] = (*value).into());
        client::open(&server.address, "POST", "/v1/completions", &JSON, &body.to_string())
    };
    let mut stream = send(&[("stream", true)]);
    stream.read_exact(&mut [0; 16]).expect("it begins");
    let whole = send(&[]);
    until(|| server.metric("vllm:num_requests_waiting") > 64.0);
    let stream = std::thread::spawn(move || client::read(stream));
    server.signal("TERM");
    let whole = client::read(whole);
    assert_eq!((whole.status, whole.json()["error"]["code"].clone()), (503, json!("draining")), "{whole:?}");
    let stream = stream.join().expect("the stream is read");
    let text = format!("{}{}", stream.head, stream.body);
    let (_, last) = text.rsplit_once("data: {").expect("it has events");
    assert!(last.contains("\"code\":\"draining\"") && last.trim_end().ends_with("data: [DONE]"), "{last}");
    assert_eq!(server.wait().code(), Some(130));
    let cut = |line: &&str| line.contains("POST /v1/completions") && line.contains("status=503");
    assert_eq!(server.log().lines().filter(cut).count(), 2, "{}", server.log());
}

#[test]
fn a_slow_reader_has_all_of_its_answer_before_a_drained_server_ends() {
    let mut server = Server::start(&[]);
    // Megabytes: more than the system keeps for the reader.
    let body = json!({ "prompt": "Once", "max_tokens": 1000, "ignore_eos": true, "logprobs": 20 }).to_string();
    let answer = client::open(&server.address, "POST", "/v1/completions", &JSON, &body);
    until(|| server.metric("vllm:num_requests_running") == 1.0);
    server.signal("TERM");
    server.wait_for("ending");
    // From here on it waits for readers alone.
    until(|| TcpStream::connect(&server.address).is_err());
    std::thread::sleep(Duration::from_secs(2));
    let answer = client::read(answer).json();
    assert_eq!(answer["usage"]["completion_tokens"], 1000);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_head_without_an_end_keeps_no_server_that_drains() {
    let mut server = Server::start(&["--drain-timeout", "20"]);
    let mut half = TcpStream::connect(&server.address).expect("a connection");
    half.write_all(b"GET /health HT").expect("it is sent");
    // Connections are taken in their order: behind this answer the server has that one.
    assert_eq!(server.get("/health").status, 200);
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&[]);
    let _running = long(&server);
    server.signal("INT");
    server.wait_for("ending");
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(130));
}

#[test]
fn what_a_client_leaves_is_cancelled() {
    let server = Server::start(&["--max-sequences", "2"]);
    let running = || server.metric("vllm:num_requests_running");
    let streams: Vec<_> = (0..2).map(|_| long(&server)).collect();
    until(|| running() == 2.0);
    drop(streams);
    until(|| running() == 0.0);
    // One that waits for the whole answer.
    let body = json!({ "prompt": "Once", "max_tokens": 4000, "ignore_eos": true }).to_string();
    let whole = client::open(&server.address, "POST", "/v1/completions", &JSON, &body);
    until(|| running() == 1.0);
    drop(whole);
    until(|| running() == 0.0);
    until(|| server.metric_of("vllm:request_success_total", "abort") >= 3.0);
    assert_eq!(server.metric("vllm:kv_cache_usage_perc"), 0.0);
}

#[test]
fn a_full_queue_and_a_long_wait_are_told() {
    let server = Server::start(&[
        "--max-sequences",
        "1",
        "--max-queue",
        "1",
        "--queue-timeout",
        "1",
        "--request-timeout",
        "600",
    ]);
    // One more than run is with the engine. Log-probabilities make an answer slow.
    let _first = long(&server);
    let mut body = json!({ "prompt": "Once", "max_tokens": 4000, "ignore_eos": true, "stream": true });
    body["logprobs"] = 20.into();
    let body = body.to_string();
    let _second = client::open(&server.address, "POST", "/v1/completions", &JSON, &body);
    until(|| server.metric("vllm:num_requests_waiting") == 1.0);
    let waiting = client::open(&server.address, "POST", "/v1/completions", &JSON, &body);
    until(|| server.metric("vllm:num_requests_waiting") == 2.0);
    let full = server.post("/v1/completions", &json!({ "prompt": "x" }));
    assert_eq!((full.status, full.header("retry-after")), (429, Some("1")), "{full:?}");
    let late = client::read(waiting);
    assert_eq!((late.status, late.json()["error"]["code"].clone()), (503, json!("queue_timeout")));
}

#[test]
fn a_request_that_takes_too_long_ends_with_an_error_in_its_stream() {
    let server = Server::start(&["--request-timeout", "1"]);
    let body = json!({ "prompt": "Once", "max_tokens": 4000, "ignore_eos": true, "stream": true, "n": 64 }).to_string();
    let response = client::send(&server.address, "POST", "/v1/completions", &JSON, &body);
    let events = response.events();
    assert_eq!(events.last().unwrap()["error"]["code"], "timeout", "{:?}", events.last());
}
