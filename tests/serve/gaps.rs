//! Time between tokens of streams over a device with steps of 5 ms, beside clients that are slow, silent, many or large.
//!
//! The bar is a p99 of 7 ms, which a test among others on a shared machine cannot keep:
//! `cargo test --release --test serve -- --ignored --nocapture --test-threads 1 gaps` measures it.
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::nice;
use serde_json::{Value, json};

use crate::client;
use crate::scripted::{Local, memory_alone, resident, settings};
use crate::toy;

const STEP: Duration = Duration::from_millis(5);
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// Streams that are measured.
const STREAMS: u32 = 16;

/// Most memory for bodies that are on their way: see docs/serving.md, "Memory".
const BODY_MEMORY: usize = (128 << 20) + 32 * (8 << 20) + 64 * (16 << 10);

fn request(first: u32, tokens: usize) -> (Vec<u32>, Value) {
    let prompt: Vec<u32> = (0..20).map(|i| 5 + (first * 31 + i) % 400).collect();
    let body = json!({ "prompt": prompt, "max_tokens": tokens, "ignore_eos": true, "stream": true, "return_token_ids": true, "temperature": 0 });
    (prompt, body)
}

/// Gaps between the tokens of a stream, which must be the toy's.
fn gaps(address: SocketAddr, first: u32, tokens: usize) -> Vec<Duration> {
    let (prompt, body) = request(first, tokens);
    let stream = client::open(&address.to_string(), "POST", "/v1/completions", &JSON, &body.to_string());
    let (mut last, mut gaps, mut ids): (Option<Instant>, Vec<Duration>, Vec<u32>) = (None, Vec::new(), prompt);
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Some(event) = line.strip_prefix("data: {") else { continue };
        let now = Instant::now();
        gaps.extend(last.replace(now).map(|last| now - last));
        let event: Value = serde_json::from_str(&format!("{{{event}")).expect("an object");
        for id in event["choices"][0]["token_ids"].as_array().expect("ids") {
            assert_eq!(id.as_u64(), Some(u64::from(toy::next(&ids))));
            ids.push(id.as_u64().expect("an id") as u32);
        }
    }
    assert_eq!(ids.len(), 20 + tokens);
    gaps
}

/// Gaps of all measured streams, sorted, while `others` run until they are told to end.
fn beside(server: &Local, tokens: usize, others: &[fn(SocketAddr, &AtomicBool)]) -> Vec<Duration> {
    let (address, ended) = (server.address, AtomicBool::new(false));
    thread::scope(|scope| {
        let _ends = Ends(&ended);
        for other in others {
            scope.spawn(|| {
                // These clients would have processors of their own: the server and who measures it come first.
                let _ = nice(19);
                other(address, &ended);
            });
        }
        thread::sleep(Duration::from_millis(300 * others.len().min(1) as u64));
        let streams: Vec<_> = (0..STREAMS).map(|first| scope.spawn(move || gaps(address, first, tokens))).collect();
        let mut gaps: Vec<Duration> = streams.into_iter().flat_map(|stream| stream.join().unwrap()).collect();
        gaps.sort();
        gaps
    })
}

/// Ends what runs beside a test, when this is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn p99(gaps: &[Duration]) -> Duration {
    gaps[gaps.len() * 99 / 100]
}

/// Streams of which a few bytes are read now and then.
fn slow_readers(address: SocketAddr, ended: &AtomicBool) {
    let open = |first: u32| {
        let body = request(1000 + first, 900).1.to_string();
        client::open(&address.to_string(), "POST", "/v1/completions", &JSON, &body)
    };
    let mut readers: Vec<TcpStream> = (0..16).map(open).collect();
    while !ended.load(Ordering::Relaxed) {
        for reader in &mut readers {
            let _ = reader.read(&mut [0; 100]);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Requests of which a byte is written now and then: a large body is announced.
fn slow_writers(address: SocketAddr, ended: &AtomicBool) {
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n{{\"prompt\": \""
    );
    let mut writers: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    for round in 0.. {
        for (index, writer) in writers.iter_mut().enumerate() {
            // Half of them are through with their head.
            let byte = if index % 2 == 0 && round == 0 { &head[..] } else { &head[round % head.len()..][..1] };
            let _ = writer.write_all(byte.as_bytes());
        }
        if ended.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A thousand connections that say nothing.
fn idle(address: SocketAddr, ended: &AtomicBool) {
    let connections: Vec<TcpStream> = (0..1000).map(|_| TcpStream::connect(address).unwrap()).collect();
    while !ended.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
    drop(connections);
}

/// Bodies of the greatest length whose values take the most memory, from eight clients.
fn flood(address: SocketAddr, ended: &AtomicBool) {
    let most = 8 << 20;
    let list = |begin: &str, of: &str| format!("{begin}[{}1]}}", of.repeat((most - begin.len() - 8) / of.len()));
    let bodies = [
        list("{\"messages\": ", "1,"),
        list("{\"prompt\": ", "1,"),
        list("{\"prompt\": \"x\", \"colour\": ", "[],"),
        format!("{{\"prompt\": \"{}\"}}", "once upon a time ".repeat(most / 18)),
    ];
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..8 {
            let (bodies, answered) = (&bodies, &answered);
            scope.spawn(move || {
                // Some of it must come through, however busy the machine is.
                let ends = || ended.load(Ordering::Relaxed) && answered.load(Ordering::Relaxed) > 0;
                for round in 0.. {
                    if ends() {
                        return;
                    }
                    let path = ["/v1/completions", "/v1/chat/completions"][(client + round) % 2];
                    let body = &bodies[(client + round) % bodies.len()];
                    let mut stream = client::open(&address.to_string(), "POST", path, &JSON, body);
                    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                    let mut status = [0; 12];
                    while let Err(error) = stream.read_exact(&mut status) {
                        if error.kind() != ErrorKind::WouldBlock || ends() {
                            return;
                        }
                    }
                    // A field that nobody knows is ignored.
                    assert!([b"HTTP/1.1 400", b"HTTP/1.1 200"].contains(&&status), "{}", status.escape_ascii());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let answered = answered.into_inner();
    assert!(answered > 0, "the flood came through");
    println!("{answered} bodies of 8 MiB were answered");
}

/// The most memory that the process has while `work` runs, more than before.
fn memory_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let (before, ended, most) = (resident(), AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                most.fetch_max(resident(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let _ends = Ends(&ended);
        let value = work();
        (value, most.load(Ordering::Relaxed).saturating_sub(before))
    })
}

#[test]
fn tokens_come_in_time_beside_clients_that_are_slow_silent_many_and_large() {
    let _alone = memory_alone();
    let server = Local::start(STEP, settings(), |toy| toy);
    let others = [slow_readers, slow_writers, idle, flood];
    let gaps = beside(&server, 150, &others);
    let median = gaps[gaps.len() / 2];
    assert!((4..20).contains(&median.as_millis()), "a step takes 5 ms, the median is {median:?}");
    assert!(p99(&gaps) < Duration::from_millis(250), "{:?}", p99(&gaps));
    crate::until(|| server.busy() == 0.0);
}

/// How late a thread wakes up that only sleeps, while `work` runs: no server on this machine can be more exact.
fn lateness_of<T>(work: impl FnOnce() -> T) -> (T, Vec<Duration>) {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let ruler = scope.spawn(|| {
            let mut late = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let due = Instant::now() + STEP;
                thread::sleep(STEP);
                late.push(due.elapsed());
            }
            late.sort();
            late
        });
        let value = {
            let _ends = Ends(&ended);
            work()
        };
        (value, ruler.join().unwrap())
    })
}

#[test]
#[ignore = "a measurement, for a machine that does nothing else"]
fn the_p99_of_gaps_is_at_most_7_ms() {
    let server = Local::start(STEP, settings(), |toy| toy);
    beside(&server, 50, &[]);
    type Other = fn(SocketAddr, &AtomicBool);
    let rows: [(&str, &[Other]); 6] = [
        ("alone", &[]),
        ("slow readers", &[slow_readers]),
        ("slow writers", &[slow_writers]),
        ("1 000 idle connections", &[idle]),
        ("maximal bodies", &[flood]),
        ("all of them", &[slow_readers, slow_writers, idle, flood]),
    ];
    let mut missed = Vec::new();
    for (name, others) in rows {
        let ((gaps, memory), late) = lateness_of(|| memory_of(|| beside(&server, 600, others)));
        let [median, most] = [gaps[gaps.len() / 2], gaps[gaps.len() - 1]];
        let late = p99(&late);
        println!(
            "{name:24} p50 {median:.1?}  p99 {:.1?}  max {most:.1?}  memory {} MiB  a thread that sleeps: {late:.1?} late",
            p99(&gaps),
            memory >> 20
        );
        // The flood's own bodies are in this process.
        missed.extend((p99(&gaps) > Duration::from_millis(7) || memory > BODY_MEMORY + (64 << 20)).then_some(name));
        crate::until(|| server.busy() == 0.0);
    }
    assert!(missed.is_empty(), "{missed:?}");
}
