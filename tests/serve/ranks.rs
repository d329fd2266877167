//! A server whose model stands on two ranks of the CPU: many requests at a time, each with the text that one device gives it.
use std::thread;

use serde_json::json;

use crate::{Server, generate};

#[test]
fn a_server_of_two_ranks_gives_the_texts_of_one_device() {
    let server = Server::start(&["--devices", "cpu:2"]);
    let prompts = ["Once upon a time", "Hello, my name is Ada.", "The capital of France is", "A fox"];
    let ask =
        |prompt: &str| server.complete(prompt, &json!({}))["choices"][0]["text"].as_str().expect("a text").to_owned();
    let together: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = prompts.iter().map(|prompt| scope.spawn(|| ask(prompt))).collect();
        running.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    for (prompt, text) in prompts.iter().zip(together) {
        assert_eq!(
            text,
            generate(&["--prompt", prompt, "--max-tokens", "20"])["text"].as_str().expect("a text"),
            "{prompt}"
        );
    }
}
