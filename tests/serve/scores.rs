//! Scored prompts among other requests.
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scripted::{Local, settings};
use crate::{Server, client, until};

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

/// A prompt of so many tokens, as a request that scores it.
fn scored(tokens: u32) -> Value {
    let prompt: Vec<u32> = (0..tokens).map(|i| 5 + i % 400).collect();
    json!({ "prompt": prompt, "max_tokens": 0, "echo": true, "logprobs": 1 })
}

#[test]
fn a_scored_prompt_is_answered_while_streams_run() {
    let server = Local::start(Duration::from_millis(5), settings(), |toy| toy);
    let address = server.address.to_string();
    let body = json!({ "prompt": [5, 6, 7], "max_tokens": 1000, "ignore_eos": true, "stream": true });
    let open = |_| client::open(&address, "POST", "/v1/completions", &JSON, &body.to_string());
    let streams: Vec<_> = (0..8).map(open).collect();
    until(|| server.busy() == 8.0);
    let start = Instant::now();
    let response = client::send(&address, "POST", "/v1/completions", &JSON, &scored(400).to_string());
    let took = start.elapsed();
    let found = response.json()["choices"][0]["logprobs"]["token_logprobs"].as_array().expect("numbers").clone();
    // The toy's logits are all alike.
    let same = found.iter().skip(1).all(|logprob| *logprob == found[1]);
    assert!((found.len(), &found[0], same) == (400, &Value::Null, true) && found[1].as_f64() < Some(-1.0), "{found:?}");
    // Six steps, 30 ms; the streams take 5 seconds.
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(server.busy(), 8.0, "and they run on");
    drop(streams);
    until(|| server.busy() == 0.0);
    let usage = server.engine.status().cache;
    assert_eq!((usage.free + usage.cached, usage.idle), (usage.pages, usage.cached));
}

#[test]
fn a_client_that_leaves_ends_its_scores() {
    let server = Local::start(Duration::from_millis(50), settings(), |toy| toy);
    let address = server.address.to_string();
    let stream = client::open(&address, "POST", "/v1/completions", &JSON, &scored(1000).to_string());
    until(|| server.busy() == 1.0);
    drop(stream);
    until(|| server.busy() == 0.0);
    let steps = server.steps.begun();
    assert!(steps < 12, "{steps} steps of 16 began");
}

#[test]
fn all_answers_to_a_scored_prompt_begin_with_it() {
    let server = Server::start(&["--max-sequences", "4"]);
    let prompt = "Once upon a time there was a dog. ".repeat(20);
    let fields = json!({ "echo": true, "logprobs": 1, "n": 3, "temperature": 1.0, "seed": 3, "max_tokens": 4, "ignore_eos": true });
    let whole = server.complete(&prompt, &fields);
    let mut fields = fields;
    fields["prompt"] = prompt.clone().into();
    fields["stream"] = true.into();
    let events = server.post("/v1/completions", &fields).events();
    for index in 0..3 {
        let of = |name: &str| -> Vec<Value> {
            let choices = events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == index);
            choices.flat_map(|choice| choice["logprobs"][name].as_array().cloned().unwrap_or_default()).collect()
        };
        for name in ["tokens", "token_logprobs", "text_offset"] {
            assert_eq!(json!(of(name)), whole["choices"][index]["logprobs"][name], "answer {index}, {name}");
        }
        let text: String = of("tokens").iter().map(|token| token.as_str().expect("a text")).collect();
        assert!(text.contains(prompt.trim_end()), "{text}");
    }
}
