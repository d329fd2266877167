//! `nemotron bench serve` against this server, which counts the same, and against one that knows less.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread;

use serde_json::{Value, json};

use crate::{Server, command};

fn bench(url: &str, options: &[&str]) -> Output {
    let base = ["bench", "serve", "--json", "--url", url];
    command().env_remove("OPENAI_API_KEY").args(base).args(options).output().expect("the command starts")
}

/// What it prints of a run without a failure.
#[track_caller]
fn measured(server: &Server, options: &[&str]) -> Value {
    let output = bench(&format!("http://{}", server.address), options);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("an object")
}

#[test]
fn figures_are_those_that_the_server_counts() {
    let server = Server::start(&["--max-sequences", "8"]);
    let short = ["--prompt-tokens", "70:90", "--output-tokens", "3:9"];
    let seen = measured(&server, &[&short[..], &["--requests", "24", "--concurrency", "6", "--seed", "5"]].concat());
    assert_eq!((&seen["requests"], &seen["failed"], &seen["cached_tokens"]), (&json!(24), &json!(0), &json!(0)));
    // What was asked for first is no part of them: ids that do not exist, and then four that do.
    let metrics = ["prompt_tokens_total", "generation_tokens_total"].map(|name| server.metric(&format!("vllm:{name}")));
    assert_eq!(
        [seen["prompt_tokens"].as_f64().unwrap() + 4.0, seen["generated_tokens"].as_f64().unwrap() + 1.0],
        metrics
    );
    let [first, whole] = ["ttft_ms", "e2e_ms"].map(|name| seen[name]["p50"].as_f64().unwrap());
    assert!(0.0 < first && first < whole, "{seen}");
    assert!(seen["itl_ms"]["p99"].as_f64() >= seen["itl_ms"]["p50"].as_f64(), "{seen}");

    // Turns go on where the last ended: all but the newest page is there.
    let turns = [&short[..], &["--requests", "6", "--turns", "3", "--concurrency", "2"]].concat();
    let seen = measured(&server, &turns);
    assert!(seen["requests"] == 6 && seen["cached_tokens"].as_u64().unwrap() >= 2 * (64 + 128), "{seen}");
    // Log-probabilities come with the events, and are no tokens.
    let seen = measured(&server, &[&short[..], &["--requests", "4", "--logprobs", "20"]].concat());
    assert_eq!((&seen["requests"], &seen["logprobs"], &seen["counted_by"]), (&json!(4), &json!(20), &json!("usage")));

    // An empty variable is no key.
    let base = ["bench", "serve", "--requests", "1", "--url", &format!("http://{}", server.address)];
    let output = command().env("OPENAI_API_KEY", "").env("NEMOTRON_MODEL", "other").args(base).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("\n1 requests in "), "{output:?}");

    // With a prefix that all have, and at random times.
    let shared = [&short[..], &["--shared-prefix", "64", "--requests", "5", "--rate", "40"]].concat();
    let seen = measured(&server, &shared);
    assert_eq!(
        (&seen["cached_tokens"], &seen["rate"], &seen["concurrency"]),
        (&json!(4 * 64), &json!(40.0), &Value::Null)
    );

    // The same prompts again are in the cache, and that is no measurement.
    let again = [&short[..], &["--requests", "24", "--seed", "5"]].concat();
    let output = bench(&format!("http://{}/v1", server.address), &again);
    let (seen, errors): (Value, _) =
        (serde_json::from_slice(&output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!((output.status.code(), &seen["failed"]), (Some(1), &json!(24)));
    assert!(errors.contains("24 × a prompt that was cached, such as: ") && errors.contains("--seed"), "{errors}");
}

/// A server that takes texts alone, counts nothing, and writes events in another way.
fn modest(listener: &TcpListener) {
    let serve = |mut stream: TcpStream| -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let from = head.len();
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
                length = head[from..]
                    .to_lowercase()
                    .strip_prefix("content-length: ")
                    .map_or(length, |n| n.trim().parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let (status, kind, answer) = if head.starts_with("GET /v1/models ") {
                ("200 OK", "application/json", r#"{"data": [{"id": "small"}]}"#.to_owned())
            } else if !body["prompt"].is_string() && body["model"] == "wordless" {
                // One that takes ids below 2000, and whose single token has no text.
                match body["prompt"][0].as_u64() {
                    Some(..2000) if body["max_tokens"] == 1 => {
                        let whole = "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n";
                        ("200 OK", "text/event-stream", whole.to_owned())
                    }
                    Some(..2000) => {
                        let whole = "data: {\"choices\":[{\"text\":\"all\",\"finish_reason\":\"length\"}]}\n\n";
                        ("200 OK", "text/event-stream", whole.to_owned())
                    }
                    _ => ("500 Internal Server Error", "text/plain", "index out of range".to_owned()),
                }
            } else if !body["prompt"].is_string() {
                ("400 Bad Request", "application/json", r#"{"error": {"message": "no ids here"}}"#.to_owned())
            } else if body["model"] == "broken" {
                ("500 Internal Server Error", "text/plain", "broken".to_owned())
            } else if body["max_tokens"] == 3 {
                ("429 Too Many Requests", "text/plain", "later".to_owned())
            } else {
                let event = ": wait\r\n\r\ndata:{\"choices\":[{\"text\":\" a\"}]}\r\n\r\n";
                let last = "data:{\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\r\n\r\n";
                ("200 OK", "text/event-stream", event.repeat(body["max_tokens"].as_u64().unwrap() as usize) + last)
            };
            let length = answer.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{answer}")?;
        }
    };
    thread::scope(|scope| {
        for stream in listener.incoming().map_while(Result::ok) {
            scope.spawn(move || serve(stream));
        }
    });
}

#[test]
fn a_server_that_counts_nothing_is_measured_by_its_events_and_its_refusals_are_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // It serves until the tests end.
    thread::spawn(move || modest(&listener));
    let output = bench(&url, &["--requests", "40", "--output-tokens", "3:4", "--seed", "1"]);
    let (seen, errors): (Value, _) =
        (serde_json::from_slice(&output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    let [requests, failed] = ["requests", "failed"].map(|name| seen[name].as_u64().unwrap());
    assert!(requests > 5 && failed > 5 && requests + failed == 40, "{seen}");
    assert_eq!(
        (&seen["model"], &seen["prompt_ids"], &seen["cached_tokens"]),
        (&json!("small"), &json!(false), &Value::Null)
    );
    assert_eq!(seen["generated_tokens"].as_u64(), Some(4 * requests));
    assert_eq!(
        (&seen["counted_by"], &seen["prompt_tokens"], &seen["prompt_tokens_per_second"]),
        (&json!("events"), &Value::Null, &Value::Null)
    );
    assert_eq!(seen["errors"], json!([{ "kind": "HTTP 429", "count": failed, "what": "later" }]));
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains(&format!("{failed} × HTTP 429, such as: later")), "{errors}");
}

#[test]
fn a_server_is_asked_in_several_ways_and_what_it_does_not_tell_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // It serves until the tests end.
    thread::spawn(move || modest(&listener));
    let output = bench(&url, &["--requests", "5", "--model", "wordless"]);
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&seen["requests"], &seen["prompt_ids"]), (&json!(5), &json!(true)));
    // Each answer was one event: no time passed between tokens.
    assert_eq!((&seen["tpot_ms"], &seen["itl_ms"]), (&Value::Null, &Value::Null));

    let base = ["bench", "serve", "--requests", "2", "--model", "wordless", "--url", &url];
    let output = command().env_remove("OPENAI_API_KEY").args(base).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = ["ids below 2000", "\nunknown tokens of prompts: the server does not count them\n2 events with text, "];
    assert!(lines.iter().all(|line| text.contains(line)) && !text.contains("per output token"), "{text}");

    let errors = |options: &[&str]| {
        let output = bench(&url, options);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        assert_eq!(errors.lines().count(), 3, "{errors}");
        errors
    };
    let broken = errors(&["--model", "broken"]);
    let tried =
        "ids below 30000: HTTP 400: no ids here; ids below 2000: HTTP 400: no ids here; letters: HTTP 500: broken";
    assert!(broken.contains(tried), "{broken}");
    // 13 letters begin 13 prompts of one.
    let few = errors(&["--prompt-tokens", "1", "--requests", "14"]);
    assert!(few.contains("14 conversations, of which 13 begin as no other with letters"), "{few}");
    let none = errors(&["--rate", "0.0001", "--duration", "1", "--seed", "1"]);
    assert!(none.contains("at 0.0001 conversations per second none began within 1 s"), "{none}");
}

#[test]
fn a_server_that_is_not_there_is_said_in_three_lines() {
    for (url, words) in [
        ("http://127.0.0.1:1", "connection: client error (Connect): tcp connect error: Connection refused"),
        ("https://127.0.0.1:1", "expected http://HOST:PORT, found \"https://127.0.0.1:1\""),
        ("nowhere", "expected http://HOST:PORT, found \"nowhere\""),
    ] {
        let output = bench(url, &[]);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && errors.contains(words) && errors.lines().count() == 3, "{errors}");
    }
}
