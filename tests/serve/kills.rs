//! Clients that go away at any byte, a device that fails, readers that do not read, and the limits of connections.
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use nemotron::server::{Ended, Settings};
use serde_json::{Value, json};

use crate::scripted::{Local, memory_alone, resident, settings};
use crate::{client, toy, until};

const STEP: Duration = Duration::from_millis(5);
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

fn body(stream: bool, tokens: usize) -> Value {
    json!({ "prompt": [5, 6, 7], "max_tokens": tokens, "ignore_eos": true, "stream": stream, "return_token_ids": true })
}

fn open(server: &Local, body: &Value) -> TcpStream {
    client::open(&server.address.to_string(), "POST", "/v1/completions", &JSON, &body.to_string())
}

/// Whether at most two steps begin once a client is gone.
#[track_caller]
fn ends_within_two_steps(server: &Local, what: &str) {
    let gone = server.steps.begun();
    thread::sleep(8 * STEP);
    let later = server.steps.begun();
    assert!(later <= gone + 2, "{what}: {} steps began", later - gone);
}

#[test]
fn a_client_that_is_killed_at_any_byte_is_gone_within_two_steps() {
    let server = Local::start(STEP, settings(), |toy| toy);
    let request = body(true, 900).to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{request}",
        server.address,
        request.len()
    );
    let begun = server.steps.begun();
    for cut in (0..head.len()).step_by(3) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&head.as_bytes()[..cut]).unwrap();
        // One half closes, the other resets.
        if cut % 2 == 0 {
            stream.shutdown(Shutdown::Write).unwrap();
        }
    }
    thread::sleep(4 * STEP);
    assert_eq!((server.steps.begun(), server.busy()), (begun, 0.0), "no request was whole");
    // What is read of a response: with bytes left the connection is reset, without it is closed.
    for (index, count) in (1..3000).step_by(97).enumerate() {
        let mut stream = open(&server, &body(true, 900));
        stream.read_exact(&mut vec![0; count]).unwrap();
        if index % 2 == 0 {
            stream.shutdown(Shutdown::Both).unwrap();
        } else {
            drop(stream);
        }
        ends_within_two_steps(&server, &format!("{count} bytes of a stream"));
    }
    for wait in 0..10 {
        let stream = open(&server, &body(false, 900));
        let before = server.steps.begun();
        until(|| server.steps.begun() >= before + wait);
        drop(stream);
        ends_within_two_steps(&server, "one answer as a whole");
    }
    assert_eq!(server.busy(), 0.0);
    let status = server.engine.status();
    assert_eq!(status.cache.free + status.cache.cached, status.cache.pages);
    assert_eq!(status.cache.idle, status.cache.cached, "nobody reads what is cached");
}

#[test]
fn a_device_that_fails_is_told_to_all_and_ends_the_server() {
    let mut server = Local::start(STEP, settings(), |toy| toy.failing_at(40));
    let whole: Vec<_> = (0..80).map(|_| open(&server, &body(false, 900))).collect();
    let streamed: Vec<_> = (0..8).map(|_| open(&server, &body(true, 900))).collect();
    for stream in whole {
        let response = client::read(stream);
        assert_eq!((response.status, &response.json()["error"]["type"]), (500, &json!("server_error")), "{response:?}");
        assert!(response.body.contains(toy::FAILURE), "{response:?}");
    }
    for stream in streamed {
        let response = client::read(stream);
        // Those that had not begun have a status of their own.
        let error = if response.status == 200 { response.events().pop().unwrap() } else { response.json() };
        assert!(error["error"]["message"].as_str().is_some_and(|message| message.contains(toy::FAILURE)), "{error}");
        // A word or nothing, as OpenAI has it.
        assert_eq!(
            (&error["error"]["type"], &error["error"]["code"]),
            (&json!("server_error"), &json!(null)),
            "{error}"
        );
    }
    for path in ["/health", "/v1/models"] {
        assert_eq!(server.get(path).status, 500, "{path}");
    }
    assert_eq!(client::read(open(&server, &body(false, 3))).status, 500);
    // The command ends with 1 for every error.
    assert_eq!(server.end().expect_err("an error").message(), toy::FAILURE);
}

#[test]
fn a_failure_behind_a_drain_is_an_error_too() {
    let mut server = Local::start(STEP, settings(), |toy| toy.failing_at(40));
    let running = open(&server, &body(false, 900));
    until(|| server.busy() > 0.0);
    server.stop();
    assert_eq!(client::read(running).status, 500);
    assert_eq!(server.end().expect_err("an error").message(), toy::FAILURE);
    let mut server = Local::start(STEP, settings(), |toy| toy);
    let running = open(&server, &body(false, 30));
    until(|| server.busy() > 0.0);
    server.stop();
    assert_eq!(client::read(running).status, 200);
    assert_eq!(server.end(), Ok(Ended::Drained));
}

#[test]
fn a_reader_that_does_not_read_is_cut_off_and_what_waits_for_it_is_bounded() {
    let settings = Settings { reader_timeout: Duration::from_millis(500), ..settings() };
    let server = Local::start(Duration::from_millis(1), settings, |toy| toy);
    let _alone = memory_alone();
    let before = resident();
    let mut long = body(true, 900);
    long["logprobs"] = 20.into();
    let mut whole = body(false, 900);
    (whole["logprobs"], whole["n"]) = (20.into(), 4.into());
    let lazy: Vec<_> = [&long, &long, &long, &long, &whole].map(|body| open(&server, body)).into();
    until(|| server.busy() > 0.0);
    // Another one, who reads, has all of it: an object for each token, and one for the end.
    assert_eq!(client::read(open(&server, &body(true, 300))).events().len(), 301);
    until(|| server.busy() == 0.0);
    // All is there by now, and they had their time.
    thread::sleep(Duration::from_millis(1500));
    for mut stream in lazy {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut came = Vec::new();
        // It ends, though not all of it came.
        let ended = stream.read_to_end(&mut came);
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it hangs");
        assert!(!came.ends_with(b"[DONE]\n\n\r\n0\r\n\r\n") && !came.ends_with(b"}"), "{} bytes", came.len());
    }
    let more = resident().saturating_sub(before) >> 20;
    assert!(more < 100, "{more} MiB");
}

#[test]
fn no_large_bodies_wait_for_each_other() {
    let _alone = memory_alone();
    let server = Local::start(STEP, settings(), |toy| toy);
    let begin = "{\"prompt\": \"";
    let body = format!("{begin}{}\"}}", "a".repeat((8 << 20) - begin.len() - 2));
    // Together they have more than the memory for bodies.
    let clients = 24;
    let answers: Vec<client::Response> = thread::scope(|scope| {
        let ask = || client::send(&server.address.to_string(), "POST", "/v1/completions", &JSON, &body);
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(count(400) + count(503), clients, "{statuses:?}");
    assert!(count(400) > 0, "some are read as a whole, and too long for the context");
    let full = answers.iter().filter(|answer| answer.status == 503);
    assert!(full.clone().all(|answer| answer.json()["error"]["code"] == "bodies_full"), "{full:?}");
}

#[test]
fn connections_heads_and_silence_have_limits() {
    let quick = Duration::from_millis(300);
    let settings = Settings { max_connections: 3, idle_timeout: quick, ..settings() };
    let server = Local::start(STEP, settings, |toy| toy);
    let address = server.address.to_string();
    let many: Vec<_> = (0..120).map(|_| ("X-A", "b")).collect();
    assert_eq!(client::send(&address, "GET", "/health", &many, "").status, 431);
    let long = "a".repeat(100_000);
    assert_eq!(client::send(&address, "GET", "/health", &[("X-A", &long)], "").status, 431);
    // Nothing, half a head, and half a body.
    let begun = [
        ("", 0),
        ("GET /health HTTP/1.1\r\nHo", 0),
        (
            "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
            408,
        ),
    ];
    let start = Instant::now();
    let silent: Vec<_> = begun
        .iter()
        .map(|(text, _)| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream
        })
        .collect();
    thread::sleep(quick / 3);
    // All places are taken: the next one waits until the silent are closed.
    assert_eq!(server.get("/health").status, 200);
    assert!(start.elapsed() >= quick, "{:?}", start.elapsed());
    for (stream, (text, status)) in silent.into_iter().zip(begun) {
        assert_eq!(client::read(stream).status, status, "{text}");
    }
}
