//! The engine on its thread: requests of many clients, some of which are slow, go away, or meet a device that fails.
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gpu_kernels::gemv::SMALL_WEIGHT;
use nemotron::engine::{Engine, EngineConfig, EngineHandle, Finish, Request, Update, UpdateStream};
use nemotron::error::Error;

use crate::engine;
use crate::toy::{self, Toy};

const PAGES: usize = 40;

fn start(toy: Toy) -> EngineHandle {
    let sizes = EngineConfig {
        context: 320,
        max_sequences: 4,
        chunk: 100,
        pages: Some(1 + PAGES),
        spare_slots: 0,
        small_weight: SMALL_WEIGHT,
    };
    EngineHandle::new(engine("tests/golden/nemotron", Box::new(toy), sizes)).expect("a thread")
}

fn toy() -> Toy {
    Toy::new(true, false, 5)
}

fn request(first: u32, prompt: u32, max_tokens: usize) -> Request {
    Request { prompt: (0..prompt).map(|i| (first + i) % 500).collect(), max_tokens, ..Request::default() }
}

fn expected(request: &Request) -> Vec<u32> {
    let mut tokens = request.prompt.clone();
    (0..request.max_tokens).for_each(|_| tokens.push(toy::next(&tokens)));
    tokens.split_off(request.prompt.len())
}

/// Everything that comes, up to the end.
fn read(stream: &UpdateStream) -> (Vec<u32>, Result<Option<Finish>, Error>) {
    let mut tokens = Vec::new();
    loop {
        match stream.next() {
            Err(error) => return (tokens, Err(error)),
            Ok(Update::Prompt(_) | Update::Scores(_)) => {
                assert!(tokens.is_empty(), "a prompt is in front of its answer")
            }
            Ok(Update::Token(event)) => match event.token {
                Err(error) => return (tokens, Err(error)),
                Ok(token) => {
                    tokens.push(token);
                    if event.finish.is_some() {
                        return (tokens, Ok(event.finish));
                    }
                }
            },
        }
    }
}

/// Waits until nothing runs and waits.
fn settle(handle: &EngineHandle) {
    let started = Instant::now();
    loop {
        let status = handle.status();
        if (status.running, status.waiting) == (0, 0) {
            return assert_eq!(status.cache.free + status.cache.idle, PAGES, "every page came back");
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{status:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn clients_on_many_threads_get_the_texts_of_their_requests() {
    let handle = start(toy());
    std::thread::scope(|scope| {
        for client in 0..12 {
            let handle = handle.clone();
            scope.spawn(move || {
                for round in 0..10 {
                    let request =
                        request(client * round, 1 + client * 17 % 150, 1 + (client as usize * 7 + round as usize) % 60);
                    let stream = handle.submit(request.clone()).expect("it fits");
                    if (client + round) % 5 == 4 {
                        continue;
                    }
                    assert_eq!(read(&stream), (expected(&request), Ok(Some(Finish::Length))));
                    assert!(stream.next().is_err(), "nothing follows the end");
                }
            });
        }
    });
    settle(&handle);
    handle.call(Engine::forget).expect("it runs");
    assert_eq!(handle.status().cache.free, PAGES);
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let handle = start(toy());
    let lazy: Vec<_> = (0..3).map(|first| handle.submit(request(first * 9, 30, 200)).expect("it fits")).collect();
    let eager = request(70, 40, 200);
    assert_eq!(read(&handle.submit(eager.clone()).expect("it fits")).0, expected(&eager));
    settle(&handle);
    for (stream, first) in lazy.iter().zip(0..) {
        assert_eq!(read(stream).0, expected(&request(first * 9, 30, 200)), "all of it was kept");
    }
}

#[test]
fn a_request_ends_when_its_stream_is_dropped_or_cancelled() {
    let handle = start(toy().with_pause(Duration::from_millis(5)));
    let streams: Vec<_> = (0..6).map(|first| handle.submit(request(first * 50, 20, 290)).expect("it fits")).collect();
    assert!(matches!(streams[0].next(), Ok(Update::Prompt(20))));
    let steps = handle.status().counters.steps;
    streams[1].cancel();
    drop(streams);
    settle(&handle);
    assert!(handle.status().counters.steps <= steps + 4, "two steps, and one ahead, after each was told");
}

#[test]
fn an_error_of_the_device_ends_everything_and_is_remembered() {
    let handle = start(toy().with_pause(Duration::from_millis(2)).failing_at(30));
    let streams: Vec<_> = (0..6).map(|first| handle.submit(request(first * 50, 20, 200)).expect("it fits")).collect();
    for stream in &streams {
        let (_, end) = read(stream);
        assert_eq!(end.expect_err("the device failed").message(), toy::FAILURE);
    }
    assert_eq!(handle.status().failure.expect("a failure").message(), toy::FAILURE);
    for error in [handle.submit(request(1, 2, 3)).err(), handle.call(|_| ()).err()] {
        assert_eq!(error.expect("nothing more is done").message(), toy::FAILURE);
    }
}

#[test]
fn work_on_the_engine_waits_until_nothing_runs_and_holds_later_requests() {
    let handle = start(toy());
    let first = handle.submit(request(1, 20, 100)).expect("it fits");
    let (told, order) = mpsc::channel();
    let other = handle.clone();
    let asked = std::thread::spawn(move || {
        other.call(move |engine| {
            assert!(engine.is_idle());
            told.send("work").expect("the test listens");
        })
    });
    assert_eq!(read(&first).0.len(), 100);
    asked.join().expect("no panic").expect("it runs");
    assert_eq!(order.recv(), Ok("work"));
    assert_eq!(read(&handle.submit(request(1, 20, 10)).expect("it fits")).0.len(), 10);
}

#[test]
fn a_bad_request_is_refused_before_it_is_queued() {
    let handle = start(toy());
    let message = |request| handle.submit(request).err().expect("a bad request").message().to_owned();
    assert_eq!(message(request(0, 0, 5)), "The prompt is empty");
    assert_eq!(message(request(0, 320, 5)), "The prompt is longer than the context");
    assert_eq!(message(request(0, 5, 0)), "Nothing is to be generated");
    assert_eq!(handle.status().counters.steps, 0);
}

#[test]
fn a_shut_down_engine_says_so() {
    let handle = start(toy().with_pause(Duration::from_millis(1)));
    let stream = handle.submit(request(3, 20, 250)).expect("it fits");
    assert!(stream.next().is_ok());
    handle.clone().shutdown();
    handle.shutdown();
    assert_eq!(read(&stream).1.expect_err("no end").message(), "The engine has stopped");
    assert_eq!(handle.submit(request(3, 20, 5)).err().expect("refused").message(), "The engine has stopped");
    assert_eq!(handle.call(|_| ()).expect_err("refused").message(), "The engine has stopped");
}
