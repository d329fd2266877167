//! The texts of a server are those of `generate`, to the bit.
use serde_json::{Value, json};

use crate::{Server, generate};

const PROMPTS: [&str; 4] = ["Once upon a time", "The capital of France is", "Hello", "My name is"];

#[test]
fn a_completion_is_what_generate_makes_of_the_prompt_whole_and_streamed() {
    let server = Server::start(&[]);
    for prompt in PROMPTS {
        let own = generate(&["-p", prompt, "-n", "40"]);
        let whole = server.complete(prompt, &json!({ "max_tokens": 40, "return_token_ids": true }));
        let choice = &whole["choices"][0];
        assert_eq!((&choice["text"], &choice["token_ids"]), (&own["text"], &own["ids"]), "{prompt}");
        let count = own["ids"].as_array().unwrap().len();
        assert_eq!(whole["usage"]["completion_tokens"], count);
        let body =
            json!({ "prompt": prompt, "max_tokens": 40, "stream": true, "stream_options": { "include_usage": true } });
        let response = server.post("/v1/completions", &body);
        assert_eq!(response.header("x-accel-buffering"), Some("no"));
        let events = response.events();
        let (last, pieces) = events.split_last().unwrap();
        let texts: String = pieces.iter().map(|piece| piece["choices"][0]["text"].as_str().unwrap()).collect();
        assert_eq!(texts, own["text"], "{prompt}");
        assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(count)));
        assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], choice["finish_reason"]);
    }
}

#[test]
fn a_chat_is_what_generate_makes_of_the_conversation() {
    let server = Server::start(&[]);
    let own = generate(&["--chat", "-p", "Hello, who are you?", "--system", "Be kind.", "-n", "-1"]);
    let parts = json!([{ "type": "text", "text": "Hello, who are you?" }]);
    for content in [json!("Hello, who are you?"), parts] {
        let messages = json!([{ "role": "system", "content": "Be kind." }, { "role": "user", "content": content }]);
        let whole = server.ask("/v1/chat/completions", &json!({ "messages": messages }));
        let choice = &whole["choices"][0];
        assert_eq!((&choice["message"]["content"], &choice["message"]["role"]), (&own["text"], &json!("assistant")));
        assert_eq!(whole["object"], "chat.completion");
        let body = json!({ "messages": messages, "stream": true, "max_completion_tokens": 500 });
        let events = server.post("/v1/chat/completions", &body).events();
        let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, own["text"]);
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(events[0]["object"], "chat.completion.chunk");
        assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], choice["finish_reason"]);
    }
}

#[test]
fn answers_of_n_and_of_lists_are_those_of_their_streams() {
    let server = Server::start(&[]);
    let drawn = json!({ "temperature": 3.0, "seed": 7, "max_tokens": 12 });
    let body = json!({ "prompt": PROMPTS, "n": 3, "temperature": 3.0, "seed": 7, "max_tokens": 12 });
    let all = server.ask("/v1/completions", &body);
    let texts: Vec<&Value> = all["choices"].as_array().unwrap().iter().map(|choice| &choice["text"]).collect();
    assert_eq!(texts.len(), 12);
    for (prompt, three) in PROMPTS.iter().zip(texts.chunks(3)) {
        assert_eq!(server.complete(prompt, &drawn)["choices"][0]["text"], *three[0]);
        assert!(three[0] != three[1] || three[1] != three[2], "{prompt}: {three:?}");
    }
    // The same as ids.
    let ids: Vec<Value> =
        PROMPTS.iter().map(|prompt| server.ask("/tokenize", &json!({ "prompt": prompt }))["tokens"].clone()).collect();
    let mut lists = body.clone();
    lists["prompt"] = json!(ids);
    assert_eq!(server.ask("/v1/completions", &lists)["choices"], all["choices"]);
    lists["prompt"] = ids[0].clone();
    let one = server.ask("/v1/completions", &lists);
    assert_eq!(one["choices"].as_array().unwrap()[..], all["choices"].as_array().unwrap()[..3]);
    // A stream of several.
    lists["stream"] = true.into();
    let mut streamed = [String::new(), String::new(), String::new()];
    for event in server.post("/v1/completions", &lists).events() {
        let choice = &event["choices"][0];
        streamed[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
    }
    assert_eq!(json!(streamed), json!(texts[..3]));
}

#[test]
fn ids_and_texts_go_both_ways() {
    let server = Server::start(&[]);
    let tokens = server.ask("/tokenize", &json!({ "prompt": "Once upon a time", "return_token_strs": true }));
    assert_eq!(tokens["count"], tokens["tokens"].as_array().unwrap().len());
    assert_eq!(tokens["count"], tokens["token_strs"].as_array().unwrap().len());
    let plain = server.ask("/tokenize", &json!({ "prompt": "Once upon a time", "add_special_tokens": false }));
    assert_eq!(server.ask("/detokenize", &json!({ "tokens": plain["tokens"] }))["prompt"], "Once upon a time");
    let chat = server.ask("/tokenize", &json!({ "messages": [{ "role": "user", "content": "Hi" }] }));
    let text = server.ask("/detokenize", &json!({ "tokens": chat["tokens"] }));
    assert!(text["prompt"].as_str().unwrap().contains("<extra_id_1>User\nHi"), "{text}");
    assert_eq!(server.post("/detokenize", &json!({ "tokens": [99999] })).status, 400);
}
