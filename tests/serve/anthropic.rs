//! Anthropic's API: `/v1/messages` and `/v1/messages/count_tokens`. Published clients ask it in `clients.py`.
use std::time::Duration;

use serde_json::{Value, json};

use crate::client;
use crate::scripted::{CONTEXT, Local, settings};
use crate::tools::{NANO, Talker};

const PATH: &str = "/v1/messages";

fn weather() -> Value {
    let properties = json!({ "town": { "type": "string" }, "days": { "type": "integer" } });
    let schema = json!({ "type": "object", "required": ["town"], "properties": properties });
    json!({ "name": "weather", "description": "Of a town.", "input_schema": schema })
}

fn body() -> Value {
    let turns = json!([{ "role": "user", "content": "Weather in Nara and Kyoto?" }]);
    json!({ "max_tokens": 4000, "messages": turns, "tools": [weather()] })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = body();
    body[name] = value;
    body
}

/// The message of a stream, put together as clients do it.
#[track_caller]
fn put_together(events: &[Value]) -> Value {
    let (mut message, mut inputs) = (Value::Null, String::new());
    for event in events {
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!(index, blocks.len());
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let (delta, block) = (&event["delta"], &mut message["content"][index]);
                match delta["type"].as_str().unwrap() {
                    "input_json_delta" => inputs += delta["partial_json"].as_str().unwrap(),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    kind => {
                        let name = kind.strip_suffix("_delta").unwrap();
                        let more = delta[name].as_str().unwrap();
                        block[name] = format!("{}{more}", block[name].as_str().unwrap()).into();
                    }
                }
            }
            "content_block_stop" => {
                let text = std::mem::take(&mut inputs);
                if !text.is_empty() {
                    message["content"][index]["input"] = serde_json::from_str(&text).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            other => assert!(["ping", "message_stop"].contains(&other), "{other}"),
        }
    }
    message
}

/// A message without what differs each time.
fn plain(mut message: Value) -> Value {
    for block in message["content"].as_array_mut().unwrap() {
        block.as_object_mut().unwrap().remove("id");
    }
    json!({ "content": message["content"], "stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"] })
}

#[test]
fn reasoning_text_and_calls_are_blocks_whole_and_streamed() {
    let talker = Talker::of("nemotron_3_nano", NANO);
    let whole = talker.ask(PATH, &body());
    assert_eq!(
        (&whole["type"], &whole["role"], &whole["model"]),
        (&json!("message"), &json!("assistant"), &json!("toy"))
    );
    assert!(whole["id"].as_str().unwrap().starts_with("msg_"));
    let content = json!([
        { "type": "thinking", "thinking": "I ask both.", "signature": "" },
        { "type": "text", "text": "A moment.", "citations": null },
        { "type": "tool_use", "name": "weather", "input": { "town": "Nara", "days": 3 }, "caller": { "type": "direct" } },
        { "type": "tool_use", "name": "weather", "input": { "town": "Kyoto" }, "caller": { "type": "direct" } },
    ]);
    let expected = json!({ "content": content, "stop_reason": "tool_use", "stop_sequence": null });
    assert_eq!(plain(whole.clone()), expected);
    assert!(whole["content"][2]["id"] != whole["content"][3]["id"]);

    let events = talker.post(PATH, &with("stream", true.into())).named_events();
    let names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[1], names[2]), ("message_start", "ping", "content_block_start"));
    assert_eq!(names[names.len() - 2..], ["message_delta", "message_stop"]);
    assert_eq!(events[0]["message"]["content"], json!([]));
    let streamed = put_together(&events);
    assert_eq!(plain(streamed.clone()), expected);
    assert_eq!(streamed["usage"]["output_tokens"], whole["usage"]["output_tokens"]);

    // As the chat has it, of which other tests know the right values.
    let one = with("tool_choice", json!({ "type": "auto", "disable_parallel_tool_use": true }));
    assert_eq!(plain(talker.ask(PATH, &one))["content"].as_array().unwrap().len(), 3);
    let none = plain(talker.ask(PATH, &with("tool_choice", json!({ "type": "none" }))));
    assert_eq!((&none["stop_reason"], none["content"].as_array().unwrap().len()), (&json!("end_turn"), 2));
}

/// The same conversation as a chat, which other tests hold against transformers, has as many tokens.
#[test]
fn a_conversation_is_that_of_the_chat() {
    let talker = Talker::of("nemotron_3_nano", NANO);
    let input = json!({ "town": "Nara", "days": 3 });
    let turns = json!([
        { "role": "user", "content": [{ "type": "text", "text": "Weather?" }] },
        { "role": "assistant", "content": [{ "type": "thinking", "thinking": "I ask.", "signature": "" },
            { "type": "tool_use", "id": "c1", "name": "weather", "input": input }] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c1", "content": "Rain." }, { "type": "text", "text": "And?" }] },
    ]);
    let system = json!([{ "type": "text", "text": "Be kind.", "cache_control": { "type": "ephemeral" } }]);
    let own = json!({ "system": system, "messages": turns, "tools": [weather()] });
    let call =
        json!({ "id": "c1", "type": "function", "function": { "name": "weather", "arguments": input.to_string() } });
    let chat = json!([{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "Weather?" },
        { "role": "assistant", "content": null, "reasoning_content": "I ask.", "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c1", "content": "Rain." }, { "role": "user", "content": "And?" }]);
    let function = json!({ "name": "weather", "description": "Of a town.", "parameters": weather()["input_schema"] });
    let tokens = |extra: Value| {
        let tools = json!([{ "type": "function", "function": function }]);
        talker.ask("/tokenize", &json!({ "messages": chat, "tools": tools, "chat_template_kwargs": extra }))["count"]
            .clone()
    };
    let count = |thinking: Value| {
        let mut body = own.clone();
        body["thinking"] = thinking;
        talker.ask("/v1/messages/count_tokens", &body)["input_tokens"].clone()
    };
    let (on, off) = (tokens(json!({ "enable_thinking": true })), tokens(json!({ "enable_thinking": false })));
    assert_ne!(on, off);
    assert_eq!(count(json!({ "type": "enabled", "budget_tokens": 1024 })), on);
    assert_eq!((count(json!({ "type": "disabled" })), count(Value::Null)), (off, tokens(json!({}))));

    // What comes from the cache is told apart from what was computed; together they are the prompt.
    let mut asked = own;
    asked["max_tokens"] = 1.into();
    let first = talker.ask(PATH, &asked)["usage"].clone();
    let again = talker.ask(PATH, &asked)["usage"].clone();
    let of = |usage: &Value, name: &str| usage[name].as_u64().unwrap();
    assert_eq!((of(&first, "cache_read_input_tokens"), &first["input_tokens"]), (0, &on));
    assert!(of(&again, "cache_read_input_tokens") >= 64, "{again}");
    assert_eq!(of(&again, "cache_read_input_tokens") + of(&again, "input_tokens"), of(&first, "input_tokens"));
}

#[test]
fn each_way_to_end_has_its_name() {
    let talker = Talker::of("nemotron_mini", "One two three.");
    let ask = |fields: Value| {
        let mut body = json!({ "max_tokens": 100, "messages": [{ "role": "user", "content": "Count." }] });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let whole = plain(talker.ask(PATH, &body));
        body["stream"] = true.into();
        assert_eq!(plain(put_together(&talker.post(PATH, &body).named_events())), whole);
        (whole["content"][0]["text"].clone(), whole["stop_reason"].clone(), whole["stop_sequence"].clone())
    };
    assert_eq!(ask(json!({})), (json!("One two three."), json!("end_turn"), Value::Null));
    assert_eq!(
        ask(json!({ "stop_sequences": [" three"] })),
        (json!("One two"), json!("stop_sequence"), json!(" three"))
    );
    assert_eq!(ask(json!({ "max_tokens": 1 })).1, "max_tokens");
    // Nothing but the end of the context ends this one.
    let local = Local::start(Duration::ZERO, settings(), |toy| toy.saying(&[100]));
    let body = json!({ "max_tokens": 100_000, "messages": [{ "role": "user", "content": "x" }] }).to_string();
    let headers = [("Content-Type", "application/json")];
    let full = client::send(&local.address.to_string(), "POST", PATH, &headers, &body).json();
    assert_eq!(full["stop_reason"], "model_context_window_exceeded", "{full}");
    let tokens = |name: &str| full["usage"][name].as_u64().unwrap();
    assert_eq!(tokens("input_tokens") + tokens("output_tokens"), CONTEXT as u64);
}

#[test]
fn errors_have_anthropics_form() {
    let talker = Talker::of("nemotron_3_nano", "x");
    let error = |body: &Value, path: &str| {
        let response = talker.post(path, body);
        let object = response.json();
        assert_eq!((&object["type"], object["request_id"].as_str()), (&json!("error"), response.header("request-id")));
        let text = |name: &str| object["error"][name].as_str().unwrap().to_owned();
        (response.status, text("type"), text("message"))
    };
    let missing = |name: &str| {
        let mut body = body();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let image = json!([{ "role": "user", "content": [{ "type": "image", "source": {} }] }]);
    let search = json!([{ "type": "web_search_20250305", "name": "web_search" }]);
    for (body, status, kind, begins) in [
        (missing("max_tokens"), 400, "invalid_request_error", "max_tokens: expected a whole number"),
        (missing("messages"), 400, "invalid_request_error", "messages: expected at least one"),
        (with("max_tokens", 0.into()), 400, "invalid_request_error", "max_tokens: expected a whole number"),
        (with("model", "other".into()), 404, "not_found_error", "there is no model"),
        (with("temperature", "warm".into()), 400, "invalid_request_error", "temperature: "),
        (
            with("stop_sequences", json!(vec!["x"; 1025])),
            400,
            "invalid_request_error",
            "stop_sequences: expected at most",
        ),
        (with("messages", image), 400, "invalid_request_error", "messages[0].content[0].type: expected text"),
        (with("tools", search), 400, "invalid_request_error", "tools[0].type: expected a tool of the client's own"),
        (with("tool_choice", json!({ "type": "all" })), 400, "invalid_request_error", "tool_choice.type: expected"),
        (with("mcp_servers", json!([{}])), 400, "invalid_request_error", "mcp_servers: the server cannot"),
        (with("output_config", json!({ "format": {} })), 400, "invalid_request_error", "output_config.format.type: "),
        (with("thinking", json!({ "type": "much" })), 400, "invalid_request_error", "thinking.type: expected"),
        (
            with("system", json!(vec![json!([]); 100_001])),
            400,
            "invalid_request_error",
            "system: expected at most 100000",
        ),
    ] {
        let (got, of, message) = error(&body, PATH);
        assert!(got == status && of == kind && message.starts_with(begins), "{got} {of}: {message}");
    }
    assert_eq!(error(&missing("messages"), "/v1/messages/count_tokens").0, 400);
    let address = talker.local.address.to_string();
    let wrong = client::send(&address, "GET", PATH, &[], "");
    assert_eq!((wrong.status, &wrong.json()["type"]), (405, &json!("error")));
    let wrong = client::send(&address, "POST", PATH, &[("Content-Type", "text/plain")], "x");
    assert_eq!((wrong.status, &wrong.json()["error"]["type"]), (415, &json!("invalid_request_error")));
}

#[test]
fn what_claude_code_sends_beside_is_taken() {
    let talker = Talker::of("nemotron_3_nano", "x");
    let mut ours = body();
    for (name, value) in [
        ("metadata", json!({ "user_id": "x" })),
        ("context_management", json!({ "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] })),
        ("output_config", json!({ "effort": "high" })),
        ("thinking", json!({ "type": "adaptive" })),
    ] {
        ours[name] = value;
    }
    assert_eq!(talker.post("/v1/messages?beta=true", &ours).status, 200);
}

#[test]
fn keys_are_known_and_a_stream_that_fails_says_so() {
    let mut settings = settings();
    settings.api_keys = vec!["secret".to_owned()];
    settings.request_timeout = Duration::from_millis(500);
    let local = Local::start(Duration::from_millis(10), settings, |toy| toy);
    let body =
        json!({ "max_tokens": 900, "stream": true, "messages": [{ "role": "user", "content": "x" }] }).to_string();
    let ask = |key: (&str, &str)| {
        let headers = [("Content-Type", "application/json"), ("anthropic-version", "2023-06-01"), key];
        client::send(&local.address.to_string(), "POST", PATH, &headers, &body)
    };
    let refused = ask(("x-api-key", "other"));
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (401, &json!("authentication_error")));
    assert_eq!(ask(("Authorization", "Bearer secret")).status, 200);
    let events = ask(("x-api-key", "secret")).named_events();
    let last = events.last().unwrap();
    assert_eq!(
        (&events[0]["type"], &last["error"]["type"]),
        (&json!("message_start"), &json!("timeout_error")),
        "{last}"
    );
}
