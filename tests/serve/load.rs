//! Many requests at once: each has the text that it has alone, beside cancelled neighbours and with scarce pages; and
//! afterwards all is as before.
use std::thread;

use serde_json::{Value, json};

use crate::{Server, client};

/// Requests of many kinds.
fn requests() -> Vec<Value> {
    let prompts = ["Once upon a time", "Hello", "My name is", "The capital of France is", "one two three ", "A fox"];
    (0..64)
        .map(|index: usize| {
            let prompt = prompts[index % prompts.len()].repeat(1 + index % 5);
            let mut body =
                json!({ "prompt": prompt, "max_tokens": 4 + index % 37, "stream": index % 2 == 0, "seed": index });
            match index % 4 {
                1 => body["temperature"] = json!(0.9),
                2 => body["repetition_penalty"] = json!(1.3),
                3 => body["ignore_eos"] = json!(true),
                _ => {}
            }
            body
        })
        .collect()
}

fn text(server: &Server, body: &Value) -> String {
    let response = server.post("/v1/completions", body);
    assert_eq!(response.status, 200, "{response:?}");
    if body["stream"] == true {
        let events = response.events();
        return events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
    }
    response.json()["choices"][0]["text"].as_str().unwrap().to_owned()
}

fn together(server: &Server, requests: &[Value]) -> Vec<String> {
    thread::scope(|scope| {
        let running: Vec<_> = requests.iter().map(|body| scope.spawn(|| text(server, body))).collect();
        running.into_iter().map(|text| text.join().unwrap()).collect()
    })
}

#[test]
fn sixty_four_streams_have_the_texts_that_each_has_alone_and_leave_nothing() {
    let requests = requests();
    let alone = Server::start(&["--max-sequences", "1"]);
    let expected: Vec<String> = requests.iter().map(|body| text(&alone, body)).collect();
    drop(alone);
    let server = Server::start(&["--max-sequences", "16"]);
    thread::scope(|scope| {
        let neighbours = scope.spawn(|| {
            for index in 0..16 {
                let body =
                    json!({ "prompt": "Once", "max_tokens": 3000, "ignore_eos": true, "stream": index % 2 == 0 });
                let json = [("Content-Type", "application/json")];
                let stream = client::open(&server.address, "POST", "/v1/completions", &json, &body.to_string());
                thread::sleep(std::time::Duration::from_millis(20));
                drop(stream);
            }
        });
        assert_eq!(together(&server, &requests), expected);
        neighbours.join().unwrap();
    });
    assert_eq!(together(&server, &requests), expected, "with what is cached");
    let start = std::time::Instant::now();
    let busy = || server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting");
    while busy() > 0.0 && start.elapsed().as_secs() < 30 {
        thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!((busy(), server.metric("vllm:kv_cache_usage_perc")), (0.0, 0.0));
    let ended = ["\"stop\"", "\"length\""].map(|reason| server.metric_of("vllm:request_success_total", reason));
    let ended: f64 = ended.iter().sum();
    assert!(ended >= 128.0, "{ended}");
}
