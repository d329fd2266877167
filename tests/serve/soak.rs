//! Requests of all kinds, each with a status and a text that are known beforehand, twice: what a server holds afterwards is
//! what it held before.
//!
//! Threads, files and memory are the process', so it runs in one of its own, started by the test. The whole of it:
//! `NEMOTRON_SOAK=2000 cargo test --test serve -- --nocapture soak`.
use std::collections::HashMap;
use std::io::Read;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nemotron::engine::{Engine, EngineStatus};
use nemotron::session::{DeviceChoice, GenerateOptions, LoadOptions, Prompt, Sampling, Session};
use serde_json::{Value, json};

use crate::client;
use crate::scripted::{CONTEXT, Local, resident, settings};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// Clients at a time.
const CLIENTS: usize = 24;

/// Room for two contexts: sixteen long answers do not fit, and make room for each other.
const CACHE_BYTES: u64 = 10 << 20;

/// What is asked, and what must come back.
struct Row {
    path: &'static str,
    body: Value,
    expected: Expected,
}

enum Expected {
    Texts(Vec<String>),
    Status(u16),
    /// The client goes away when something has come.
    Leaves,
}

fn options(cache_bytes: u64, sequences: usize) -> LoadOptions {
    let model = crate::root().join("models/storyteller");
    LoadOptions {
        device: DeviceChoice::Cpu,
        context: Some(CONTEXT),
        max_sequences: sequences,
        cache_bytes,
        ..LoadOptions::new(model.to_str().expect("a path in UTF-8"))
    }
}

/// The body of a request of some kind.
fn body(index: usize) -> (&'static str, Value) {
    let prompts = ["Once upon a time", "Hello", "My name is", "The capital of France is", "one two three", "A fox"];
    let prompt = prompts[index % prompts.len()].repeat(1 + index / 7 % 9);
    let mut body = json!({ "max_tokens": 3 + index * 5 % 23, "stream": index.is_multiple_of(3), "seed": index % 17 });
    match index % 8 {
        1 => body["temperature"] = json!(0.9),
        2 => body["repetition_penalty"] = json!(1.3),
        3 => (body["presence_penalty"], body["frequency_penalty"]) = (json!(0.7), json!(0.4)),
        4 => (body["temperature"], body["n"]) = (json!(1.1), json!(3)),
        5 => body["stop"] = json!(["a", "the "]),
        6 => (body["ignore_eos"], body["max_tokens"]) = (json!(true), json!(20)),
        _ => {}
    }
    if index % 5 == 4 {
        body["messages"] = json!([{ "role": "user", "content": prompt }]);
        return ("/v1/chat/completions", body);
    }
    body["prompt"] = if index.is_multiple_of(8) { json!([prompt, "Hello"]) } else { json!(prompt) };
    ("/v1/completions", body)
}

/// The texts that the command line would give: the session's own, one after the other.
fn texts(session: &mut Session, body: &Value) -> Vec<String> {
    let number = |name: &str, neutral: f64| body[name].as_f64().unwrap_or(neutral) as f32;
    let prompts: Vec<Prompt> = match (&body["messages"], &body["prompt"]) {
        (Value::Array(messages), _) => vec![Prompt::Chat(messages.clone())],
        (_, Value::Array(texts)) => texts.iter().map(|text| Prompt::Text(text.as_str().unwrap().to_owned())).collect(),
        (_, text) => vec![Prompt::Text(text.as_str().unwrap().to_owned())],
    };
    let stop = body["stop"].as_array().map_or(&[][..], Vec::as_slice);
    let stop = stop.iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut texts = Vec::new();
    for prompt in prompts {
        let ids = session.encode(&prompt).expect("a good prompt");
        for stream in 0..body["n"].as_u64().unwrap_or(1) as u32 {
            let sampling = Sampling {
                temperature: number("temperature", 0.0),
                repeat_penalty: number("repetition_penalty", 1.0),
                presence_penalty: number("presence_penalty", 0.0),
                frequency_penalty: number("frequency_penalty", 0.0),
                seed: body["seed"].as_u64().unwrap(),
                stream,
                ..session.model().sampling().clone()
            };
            let max_tokens = body["max_tokens"].as_u64().unwrap() as usize;
            let options = GenerateOptions { max_tokens, sampling, stop: stop.clone(), ..GenerateOptions::default() };
            texts.push(session.generate_from(ids.clone(), &options, |_| {}).expect("it runs").text);
        }
    }
    texts
}

fn rows(count: usize) -> Vec<Row> {
    let mut session = Session::load(&options(u64::MAX, 1), &mut |_| {}).expect("the demo model");
    let ends = LoadOptions { ignore_eos: true, ..options(u64::MAX, 1) };
    let mut endless = Session::load(&ends, &mut |_| {}).expect("the demo model");
    let mut known: HashMap<String, Vec<String>> = HashMap::new();
    let wrong = [
        (json!({ "prompt": 3 }), 400),
        (json!({ "prompt": "x", "temperature": -1 }), 400),
        (json!({ "prompt": "x", "tools": [{}] }), 400),
        (json!({ "prompt": "x", "model": "nobody" }), 404),
        (json!({ "prompt": "x ".repeat(3000) }), 400),
    ];
    (0..count)
        .map(|index| {
            let (path, mut body) = body(index % 840);
            if index % 11 == 10 {
                let (body, status) = wrong[index % wrong.len()].clone();
                return Row { path: "/v1/completions", body, expected: Expected::Status(status) };
            }
            if index % 13 == 12 {
                (body["max_tokens"], body["ignore_eos"]) = (json!(800), json!(true));
                return Row { path, body, expected: Expected::Leaves };
            }
            let session = if body["ignore_eos"] == true { &mut endless } else { &mut session };
            let expected = known.entry(body.to_string()).or_insert_with(|| texts(session, &body)).clone();
            Row { path, body, expected: Expected::Texts(expected) }
        })
        .collect()
}

/// Answers that grow to several pages each: those that run together do not fit.
fn long_rows() -> Vec<Row> {
    let ends = LoadOptions { ignore_eos: true, ..options(u64::MAX, 1) };
    let mut endless = Session::load(&ends, &mut |_| {}).expect("the demo model");
    (0..20)
        .map(|index| {
            let mut body = json!({ "max_tokens": 140 + index % 7 * 20, "ignore_eos": true, "seed": index });
            body["prompt"] = json!(format!("Story number {index}"));
            body["stream"] = json!(index % 2 == 0);
            if index % 3 == 0 {
                body["repetition_penalty"] = json!(1.2);
            } else if index % 3 == 1 {
                body["temperature"] = json!(0.8);
            }
            Row { path: "/v1/completions", expected: Expected::Texts(texts(&mut endless, &body)), body }
        })
        .collect()
}

fn ask(server: &Local, row: &Row) {
    let mut stream = client::open(&server.address.to_string(), "POST", row.path, &JSON, &row.body.to_string());
    let expected = match &row.expected {
        Expected::Leaves => {
            if row.body["stream"] == true {
                let _ = stream.read(&mut [0; 40]);
            } else {
                thread::sleep(Duration::from_millis(7));
            }
            return;
        }
        Expected::Status(status) => return assert_eq!(client::read(stream).status, *status, "{}", row.body),
        Expected::Texts(texts) => texts,
    };
    let response = client::read(stream);
    assert_eq!(response.status, 200, "{}: {response:?}", row.body);
    let mut texts = vec![String::new(); expected.len()];
    let objects = if row.body["stream"] == true { response.events() } else { vec![response.json()] };
    for choice in objects.iter().flat_map(|object| object["choices"].as_array().expect("choices")) {
        let text = [&choice["text"], &choice["message"]["content"], &choice["delta"]["content"]];
        let text = text.into_iter().find_map(Value::as_str).unwrap_or_default();
        texts[choice["index"].as_u64().expect("an index") as usize] += text;
    }
    assert_eq!(&texts, expected, "{}", row.body);
}

fn round(server: &Local, rows: &[Row]) {
    let next = Mutex::new(rows.iter());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let row = next.lock().unwrap().next();
                    let Some(row) = row else { return };
                    ask(server, row);
                }
            });
        }
    });
}

/// Threads and files of this process.
fn held() -> [usize; 2] {
    ["/proc/self/task", "/proc/self/fd"].map(|folder| std::fs::read_dir(folder).expect("Linux tells it").count())
}

/// The status when nothing runs and no connection is open any more.
fn rest(server: &Local, before: [usize; 2]) -> EngineStatus {
    crate::until(|| server.busy() == 0.0);
    let start = Instant::now();
    while held() != before {
        assert!(start.elapsed() < Duration::from_secs(20), "threads and files: {:?}, before {before:?}", held());
        thread::sleep(Duration::from_millis(20));
    }
    let status = server.engine.status();
    assert_eq!(status.cache.free + status.cache.cached, status.cache.pages, "pages are free or cached");
    assert_eq!(status.cache.idle, status.cache.cached, "nobody reads what is cached");
    status
}

#[test]
fn requests_of_all_kinds_leave_a_server_as_it_was() {
    let program = std::env::current_exe().expect("it runs");
    let arguments = ["--exact", "--ignored", "--nocapture", "--test-threads", "1", "soak::the_rounds"];
    let output = Command::new(program).args(arguments).output().expect("it starts");
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
    out.lines().filter(|line| line.contains("MiB")).for_each(|line| println!("{line}"));
}

#[test]
#[ignore = "needs a process of its own: the test above starts it"]
fn the_rounds() {
    let count = std::env::var("NEMOTRON_SOAK").ok().and_then(|count| count.parse().ok()).unwrap_or(120);
    let rows = rows(count);
    let long = long_rows();
    let server = Local::serve(settings(), || Session::load(&options(CACHE_BYTES, 16), &mut |_| {}));
    round(&server, &rows[..count.min(50)]);
    round(&server, &long);
    let preempted = server.engine.status().counters.preempted;
    assert!(preempted > 0, "pages were scarce");
    crate::until(|| server.busy() == 0.0);
    thread::sleep(Duration::from_millis(300));
    let before = held();
    let mut memory = Vec::new();
    for number in 1..=2 {
        let start = Instant::now();
        round(&server, &rows);
        let status = rest(&server, before);
        memory.push(resident());
        println!(
            "\nround {number}: {count} requests in {:.1?}, {} MiB, {} of {} pages cached, {preempted} preempted before",
            start.elapsed(),
            resident() >> 20,
            status.cache.cached,
            status.cache.pages
        );
    }
    // Few requests do not meet every shape of a step, whose plan stays.
    let more = if count < 1000 { 1.2 } else { 1.05 };
    assert!(memory[1] as f64 <= memory[0] as f64 * more, "{memory:?} bytes");
    server.engine.call(Engine::forget).expect("it runs");
    let cache = server.engine.status().cache;
    assert_eq!((cache.free, cache.cached), (cache.pages, 0), "without prefixes every page is free");
    assert_eq!(server.engine.limits().sequences, 16);
}
