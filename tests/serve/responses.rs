//! OpenAI's Responses API: `/v1/responses`. Published clients ask it in `clients.py`.
use std::time::Duration;

use serde_json::{Value, json};

use crate::client;
use crate::scripted::{Local, settings};
use crate::tools::{NANO, Talker};

const PATH: &str = "/v1/responses";

fn weather() -> Value {
    let properties = json!({ "town": { "type": "string" }, "days": { "type": "integer" } });
    let schema = json!({ "type": "object", "required": ["town"], "properties": properties });
    json!({ "type": "function", "name": "weather", "description": "Of a town.", "parameters": schema, "strict": false })
}

fn body() -> Value {
    json!({ "input": "Weather in Nara and Kyoto?", "tools": [weather()] })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = body();
    body[name] = value;
    body
}

/// The items of an output without what differs each time.
fn plain(output: &Value) -> Value {
    let mut output = output.clone();
    for item in output.as_array_mut().unwrap() {
        let item = item.as_object_mut().unwrap();
        item.retain(|name, _| !["id", "call_id"].contains(&name.as_str()));
    }
    output
}

#[test]
fn reasoning_text_and_calls_are_items_whole_and_streamed() {
    let talker = Talker::of("nemotron_3_nano", NANO);
    let whole = talker.ask(PATH, &body());
    assert_eq!(
        (&whole["object"], &whole["status"], &whole["store"]),
        (&json!("response"), &json!("completed"), &json!(false))
    );
    let call = |arguments: &str| json!({ "type": "function_call", "status": "completed", "name": "weather", "arguments": arguments });
    let text = json!({ "type": "output_text", "text": "A moment.", "annotations": [], "logprobs": [] });
    let expected = json!([
        { "type": "reasoning", "status": "completed", "summary": [], "content": [{ "type": "reasoning_text", "text": "I ask both." }] },
        { "type": "message", "status": "completed", "role": "assistant", "content": [text] },
        call(r#"{"town": "Nara", "days": 3}"#),
        call(r#"{"town": "Kyoto"}"#),
    ]);
    assert_eq!(plain(&whole["output"]), expected);
    let mut told = weather();
    told["strict"] = false.into();
    assert_eq!((&whole["tools"], &whole["tool_choice"]), (&json!([told]), &json!("auto")));

    let events = talker.post(PATH, &with("stream", true.into())).named_events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let mut names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    names.dedup();
    let item =
        |kind: &[&'static str]| [&["response.output_item.added"][..], kind, &["response.output_item.done"]].concat();
    let parts = |delta, done| item(&["response.content_part.added", delta, done, "response.content_part.done"]);
    let call = || item(&["response.function_call_arguments.delta", "response.function_call_arguments.done"]);
    let order = [
        vec!["response.created", "response.in_progress"],
        parts("response.reasoning_text.delta", "response.reasoning_text.done"),
        parts("response.output_text.delta", "response.output_text.done"),
        call(),
        call(),
        vec!["response.completed"],
    ];
    assert_eq!(names, order.concat());
    let last = &events.last().unwrap()["response"];
    assert_eq!(plain(&last["output"]), expected);
    assert_eq!(last["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
    // Deltas and what is done say the same.
    for (index, of) in
        [(0, "reasoning_text"), (1, "output_text"), (2, "function_call_arguments"), (3, "function_call_arguments")]
    {
        let named = |end: &str| format!("response.{of}.{end}");
        let own = || events.iter().filter(|event| event["output_index"] == index);
        let deltas: String = own()
            .filter(|event| event["type"] == named("delta"))
            .map(|event| event["delta"].as_str().unwrap())
            .collect();
        let done = own().find(|event| event["type"] == named("done")).unwrap();
        assert_eq!(done["text"].as_str().or(done["arguments"].as_str()), Some(deltas.as_str()));
        let item = own().find(|event| event["type"] == "response.output_item.done").unwrap();
        assert_eq!(item["item"], last["output"][index]);
    }
}

/// The same conversation as a chat, which other tests hold against transformers, has as many tokens.
#[test]
fn items_that_are_sent_back_are_the_conversation_of_the_chat() {
    let talker = Talker::of("nemotron_3_nano", NANO);
    let arguments = r#"{"town": "Nara", "days": 3}"#;
    let input = json!([
        { "role": "user", "content": [{ "type": "input_text", "text": "Weather?" }] },
        { "type": "reasoning", "id": "rs_1", "summary": [], "content": [{ "type": "reasoning_text", "text": "I ask." }] },
        { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": arguments },
        { "type": "function_call_output", "call_id": "c1", "output": "Rain." },
    ]);
    let body = json!({ "instructions": "Be kind.", "input": input, "tools": [weather()], "max_output_tokens": 1 });
    let answer = talker.ask(PATH, &body);
    let call = json!({ "id": "c1", "type": "function", "function": { "name": "weather", "arguments": arguments } });
    let chat = json!([{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "Weather?" },
        { "role": "assistant", "content": null, "reasoning_content": "I ask.", "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "c1", "content": "Rain." }]);
    let function = json!({ "name": "weather", "description": "Of a town.", "parameters": weather()["parameters"] });
    let tokens =
        talker.ask("/tokenize", &json!({ "messages": chat, "tools": [{ "type": "function", "function": function }] }));
    assert_eq!(answer["usage"]["input_tokens"], tokens["count"]);
    assert_eq!(
        (&answer["status"], &answer["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    let again = talker.ask(PATH, &body);
    assert!(again["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap() >= 64, "{again}");
    assert_eq!(again["usage"]["input_tokens"], tokens["count"]);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let talker = Talker::of("nemotron_3_nano", "x");
    for (body, name) in [
        (with("store", true.into()), "store"),
        (with("previous_response_id", "resp_1".into()), "previous_response_id"),
        (with("background", true.into()), "background"),
        (with("truncation", "auto".into()), "truncation"),
        (with("top_logprobs", 3.into()), "top_logprobs"),
        (with("include", json!(["message.output_text.logprobs"])), "include"),
        (with("text", json!({ "format": { "type": "xml" } })), "text.format.type"),
        (with("text", json!({ "format": { "type": "json_schema", "schema": { "not": {} } } })), "text.format.schema"),
        (with("tool_choice", "any".into()), "tool_choice"),
        (with("tools", json!([{ "type": "web_search" }])), "tools[0].type"),
        (with("reasoning", json!({ "effort": "much" })), "reasoning.effort"),
        (with("max_output_tokens", 0.into()), "max_output_tokens"),
        (with("input", Value::Null), "input"),
        (with("input", json!([{ "type": "item_reference", "id": "msg_1" }])), "input[0].type"),
        (with("input", json!(vec![json!({}); 100_001])), "input"),
    ] {
        let response = talker.post(PATH, &body);
        let error = &response.json()["error"];
        assert_eq!((response.status, &error["param"]), (400, &json!(name)), "{error}");
        assert!(error["message"].as_str().unwrap().starts_with(&format!("{name}: ")), "{error}");
    }
    let neutral = json!({ "input": "x", "store": false, "truncation": "disabled", "top_logprobs": 0, "background": false,
        "text": { "format": { "type": "text" }, "verbosity": "low" }, "reasoning": { "effort": null, "summary": "auto" },
        "include": ["reasoning.encrypted_content"], "stream_options": { "include_obfuscation": false } });
    assert_eq!(talker.post(PATH, &neutral).status, 200);
}

#[test]
fn a_stream_that_fails_says_so() {
    let mut settings = settings();
    settings.request_timeout = Duration::from_millis(500);
    let local = Local::start(Duration::from_millis(10), settings, |toy| toy);
    let body = json!({ "input": "x", "stream": true }).to_string();
    let headers = [("Content-Type", "application/json")];
    let events = client::send(&local.address.to_string(), "POST", PATH, &headers, &body).named_events();
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    assert!(last["response"]["error"]["message"].as_str().unwrap().contains("--request-timeout"), "{last}");
}
