//! Every field of a request that docs/serving.md calls honoured changes what it is to change, and nothing silently fails.
use std::collections::HashSet;

use serde_json::{Value, json};

use crate::Server;

const FRANCE: &str = "The capital of France is";

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

fn reason(answer: &Value) -> &str {
    answer["choices"][0]["finish_reason"].as_str().unwrap()
}

#[test]
fn fields_that_end_a_text() {
    let server = Server::start(&[]);
    let whole = server.complete(FRANCE, &json!({ "return_token_ids": true }));
    assert_eq!((text(&whole), reason(&whole)), (" Paris.", "stop"));
    assert_eq!(whole["choices"][0]["stop_reason"], Value::Null);
    let stopped = server.complete(FRANCE, &json!({ "stop": "ris" }));
    assert_eq!((text(&stopped), reason(&stopped)), (" Pa", "stop"));
    assert_eq!(stopped["choices"][0]["stop_reason"], "ris");
    let included = server.complete(FRANCE, &json!({ "stop": ["xyz", "ris"], "include_stop_str_in_output": true }));
    assert_eq!(text(&included), " Paris");
    let ids = whole["choices"][0]["token_ids"].as_array().unwrap().clone();
    let by_id = server.complete(FRANCE, &json!({ "stop_token_ids": [ids[1]], "return_token_ids": true }));
    assert_eq!((&by_id["choices"][0]["token_ids"], &by_id["choices"][0]["stop_reason"]), (&json!(ids[..2]), &ids[1]));
    let shown = server.complete(FRANCE, &json!({ "skip_special_tokens": false, "include_stop_str_in_output": true }));
    assert_eq!(text(&shown), " Paris.</s>");
    let on = server.complete(FRANCE, &json!({ "ignore_eos": true }));
    assert_eq!((reason(&on), &on["usage"]["completion_tokens"]), ("length", &json!(20)));
    assert!(text(&on).starts_with(" Paris."));
    // The token that ends a text may not come yet.
    let longer = server.complete(FRANCE, &json!({ "min_tokens": 12 }));
    assert!(longer["usage"]["completion_tokens"].as_u64() >= Some(12), "{longer}");
    // A stop text does not count before that either.
    let late = server.complete(FRANCE, &json!({ "min_tokens": 12, "stop": "ris" }));
    assert!(text(&late).starts_with(" Paris"), "{late}");
    let short = server.complete(FRANCE, &json!({ "max_tokens": 1 }));
    assert_eq!((reason(&short), &short["usage"]["completion_tokens"]), ("length", &json!(1)));
    let default = server.ask("/v1/completions", &json!({ "prompt": FRANCE, "ignore_eos": true }));
    assert_eq!(default["usage"]["completion_tokens"], 16);
}

/// A character that the vocabulary lacks comes as its bytes, a token each.
#[test]
fn a_character_of_several_tokens_is_there_with_the_last_of_them() {
    let server = Server::start(&[]);
    let form = |regex: &str| json!({ "regex": regex });
    let stopped = json!({ "max_tokens": 300, "structured_outputs": form("x(🙂){50}"), "stop": ["🙂"] });
    let stopped = server.complete("a", &stopped);
    assert_eq!((text(&stopped), &stopped["choices"][0]["stop_reason"]), ("x", &json!("🙂")), "{stopped}");
    assert_eq!(stopped["usage"]["completion_tokens"], 5);

    // 102 bytes: two of the last character's four are missing.
    let mut body = json!({ "prompt": "a", "max_tokens": 102, "structured_outputs": form("(🙂){50}") });
    let whole = server.ask("/v1/completions", &body);
    assert_eq!((text(&whole), reason(&whole)), ((&*("🙂".repeat(25) + "\u{FFFD}\u{FFFD}")), "length"));
    body["stream"] = true.into();
    let events = server.post("/v1/completions", &body).events();
    let pieces: Vec<&str> = events.iter().map(text).filter(|piece| !piece.is_empty()).collect();
    assert_eq!(pieces.concat(), text(&whole));
    assert!(pieces.len() >= 25 && pieces[..25].iter().all(|piece| *piece == "🙂"), "{pieces:?}");
    let own = crate::generate(&["-p", "a", "-n", "102", "--regex", "(🙂){50}"]);
    assert_eq!(own["text"], text(&whole));
}

#[test]
fn fields_that_choose_tokens() {
    let server = Server::start(&[]);
    let ids = |fields: Value| {
        let mut fields = fields;
        fields["return_token_ids"] = true.into();
        fields["ignore_eos"] = true.into();
        server.complete("Once upon a time", &fields)["choices"][0]["token_ids"].clone()
    };
    let greedy = ids(json!({}));
    let first = greedy[0].clone();
    for fields in [
        json!({ "temperature": 0 }),
        json!({ "temperature": 5, "top_k": 1 }),
        json!({ "temperature": 5, "top_p": 1e-6 }),
        json!({ "temperature": 5, "min_p": 1 }),
        json!({ "top_k": 1, "seed": 3 }),
    ] {
        assert_eq!(ids(fields.clone()), greedy, "{fields}");
    }
    let drawn = |seed: i128| ids(json!({ "temperature": 3, "seed": seed }));
    assert_eq!(drawn(5), drawn(5));
    assert_ne!(drawn(5), drawn(6));
    assert_ne!(drawn(-1), drawn(-1), "another one each time");
    // A seed of 64 bits with a sign or without one, and the same on the command line.
    assert_eq!(drawn(-2), drawn(i128::from(u64::MAX - 1)));
    let arguments = ["-p", "Once upon a time", "-n", "20", "--temperature", "3", "--ignore-eos", "--seed", "-2"];
    assert_eq!(crate::generate(&arguments)["ids"], drawn(-2));
    for fields in
        [json!({ "repetition_penalty": 50 }), json!({ "presence_penalty": 50 }), json!({ "frequency_penalty": 50 })]
    {
        let ids = ids(fields.clone());
        let ids: Vec<&Value> = ids.as_array().unwrap().iter().collect();
        let distinct: HashSet<String> = ids.iter().map(|id| id.to_string()).collect();
        assert_eq!(distinct.len(), ids.len(), "{fields}: a token comes twice");
    }
    let unwanted = ids(json!({ "logit_bias": { first.to_string(): -100 } }));
    assert_ne!(unwanted[0], first);
    let wanted = ids(json!({ "logit_bias": { "70": 100 } }));
    assert!(wanted.as_array().unwrap().iter().all(|id| *id == 70), "{wanted}");
    let word = server.complete(FRANCE, &json!({ "bad_words": ["Paris"] }));
    assert!(!text(&word).contains("Paris"), "{word}");
}

#[test]
fn log_probabilities_are_those_of_the_choice_and_have_true_bytes() {
    let server = Server::start(&[]);
    let messages = json!([{ "role": "user", "content": "Hello" }]);
    let body = json!({ "messages": messages, "logprobs": true, "top_logprobs": 3, "max_tokens": 8 });
    let chat = server.ask("/v1/chat/completions", &body);
    let content = chat["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(json!(content.len()), chat["usage"]["completion_tokens"]);
    let mut bytes: Vec<u8> = Vec::new();
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["token"]), (3, &token["token"]), "the choice is greedy");
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
        bytes.extend(token["bytes"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8));
    }
    let answer = chat["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(String::from_utf8(bytes).unwrap().trim_start().starts_with(answer.trim_start()));
    // Of a stream they are the same, piece by piece.
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let events = server.post("/v1/chat/completions", &streamed).events();
    let tokens = events.iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(tokens.flatten().collect::<Vec<_>>(), content.iter().collect::<Vec<_>>());
    // A part of a character has its own byte.
    let fox = server.ask("/tokenize", &json!({ "prompt": "\u{1F98A}", "add_special_tokens": false }));
    let last = fox["tokens"].as_array().unwrap().last().unwrap().to_string();
    let fields = json!({ "messages": messages, "logprobs": true, "max_tokens": 1, "logit_bias": { last: 100 } });
    let byte = server.ask("/v1/chat/completions", &fields);
    assert_eq!(byte["choices"][0]["logprobs"]["content"][0]["bytes"], json!(["\u{1F98A}".as_bytes()[3]]));
}

#[test]
fn a_prompt_is_scored_with_echo_and_no_token_as_by_a_completion_of_its_pieces() {
    let server = Server::start(&[]);
    let prompt = "The capital of France is Paris.";
    let scored =
        server.complete(prompt, &json!({ "echo": true, "max_tokens": 0, "logprobs": 1, "prompt_logprobs": 1 }));
    let choice = &scored["choices"][0];
    assert_eq!((text(&scored), &scored["usage"]["completion_tokens"]), (prompt, &json!(0)));
    let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
    let ids = server.ask("/tokenize", &json!({ "prompt": prompt }))["tokens"].as_array().unwrap().clone();
    assert_eq!((logprobs.len(), &logprobs[0]), (ids.len(), &Value::Null));
    assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), ids.len());
    for (index, id) in ids.iter().enumerate().skip(1) {
        let entry = &choice["prompt_logprobs"][index][id.to_string()];
        assert_eq!(entry["logprob"], logprobs[index], "{index}");
        // The token as the model's answer to those in front of it.
        let body =
            json!({ "prompt": ids[..index], "max_tokens": 1, "logprobs": 0, "logit_bias": { id.to_string(): 100 } });
        let forced = server.ask("/v1/completions", &body);
        let expected = forced["choices"][0]["logprobs"]["token_logprobs"][0].as_f64().unwrap();
        let found = logprobs[index].as_f64().unwrap();
        assert!(entry["rank"] != 1 || (found - expected).abs() < 1e-4, "{index}: {found}, {expected}");
    }
    let echoed = server.complete(FRANCE, &json!({ "echo": true }));
    assert_eq!(text(&echoed), format!("{FRANCE} Paris."));
}

#[test]
fn fields_of_a_conversation() {
    let server = Server::start(&[]);
    let prompt = |fields: Value| {
        let mut body =
            json!({ "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "I am" }] });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let ids = server.ask("/tokenize", &body)["tokens"].clone();
        body["max_tokens"] = 4.into();
        body["return_token_ids"] = true.into();
        assert_eq!(server.ask("/v1/chat/completions", &body)["prompt_token_ids"], ids, "{fields}");
        let text = server.ask("/detokenize", &json!({ "tokens": ids }))["prompt"].clone();
        text.as_str().unwrap().to_owned()
    };
    let plain = prompt(json!({}));
    assert!(plain.ends_with("<extra_id_1>Assistant\n"), "{plain:?}");
    assert!(prompt(json!({ "continue_final_message": true, "add_generation_prompt": false })).ends_with("I am"));
    let without = prompt(json!({ "add_generation_prompt": false }));
    assert!(plain.starts_with(&without) && plain.len() > without.len(), "{without:?}");
    assert_eq!(prompt(json!({ "chat_template_kwargs": { "colour": "blue" } })), plain);
}

/// The demo model's template knows a system, a user and an assistant.
#[test]
fn nobody_in_a_conversation_goes_unheard() {
    let server = Server::start(&[]);
    let told = |role: &str| json!([{ "role": role, "content": "Be brief" }, { "role": "user", "content": "hi" }]);
    let count = |role: &str| server.ask("/tokenize", &json!({ "messages": told(role) }))["count"].clone();
    assert_eq!(count("developer"), count("system"));
    let chat = server.ask("/v1/chat/completions", &json!({ "messages": told("developer"), "max_tokens": 1 }));
    assert_eq!(chat["usage"]["prompt_tokens"], count("system"));
    let chats = ["foo", "tool", "content", "role"].map(|role| ("/v1/chat/completions", role));
    for (path, role) in chats.into_iter().chain([("/tokenize", "foo")]) {
        let response = server.post(path, &json!({ "messages": told(role) }));
        let error = response.json()["error"].clone();
        assert_eq!((response.status, &error["param"]), (400, &json!("messages[0].role")), "{error}");
        let roles = "expected one of system, developer, user, assistant, found";
        assert!(error["message"].as_str().unwrap().contains(roles), "{error}");
    }
}

#[test]
fn a_text_of_any_length_is_counted() {
    let server = Server::start(&[]);
    let long = "long ".repeat(20_000);
    let count = server.ask("/tokenize", &json!({ "prompt": long }))["count"].as_u64().unwrap();
    assert!(count > 20_000, "{count}");
    let messages = json!([{ "role": "user", "content": long }]);
    let chat = server.ask("/tokenize", &json!({ "messages": messages }))["count"].as_u64().unwrap();
    assert!(chat > count, "{chat}");
    let theirs = server.ask("/v1/messages/count_tokens", &json!({ "messages": messages }));
    assert_eq!(theirs["input_tokens"], chat);
    // More bytes than a context of the longest tokens has.
    let longest = server.ask("/tokenize", &json!({ "prompt": "long ".repeat(400_000) }));
    // Two tokens stand around the words, however many there are.
    assert_eq!(longest["count"], (count - 2) * 20 + 2);
}

/// What the tokenizer puts in front of a text is there without one.
#[test]
fn no_text_is_continued_from_its_begin() {
    let server = Server::start(&[]);
    let ids = server.ask("/tokenize", &json!({ "prompt": "" }))["tokens"].clone();
    assert_eq!(ids.as_array().unwrap().len(), 1);
    let from = |prompt: Value| server.ask("/v1/completions", &json!({ "prompt": prompt, "max_tokens": 8 }));
    assert_eq!(from(json!(""))["choices"], from(ids)["choices"]);
    assert_eq!(from(json!(["", "Once"]))["choices"][0]["text"], from(json!(""))["choices"][0]["text"]);
    let raw = json!({ "prompt": "", "add_special_tokens": false });
    assert_eq!(server.ask("/tokenize", &raw)["count"], 0);
    assert_eq!(server.post("/v1/completions", &raw).status, 400);
}

#[test]
fn neutral_values_never_fail() {
    let server = Server::start(&[]);
    let plain = server
        .ask("/v1/chat/completions", &json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 5 }));
    for (name, value) in [
        ("tools", json!([])),
        ("tool_choice", json!("none")),
        ("response_format", json!({ "type": "text" })),
        ("best_of", json!(1)),
        ("n", json!(1)),
        ("user", json!("Ada")),
        ("metadata", json!({ "a": 1 })),
        ("logprobs", json!(false)),
        ("stop", json!([])),
        ("logit_bias", json!({})),
        ("colour", json!("blue")),
        ("stream", json!(false)),
        ("min_p", json!(0)),
        ("top_p", json!(1)),
        ("seed", json!(3)),
        ("temperature", Value::Null),
        ("tools", Value::Null),
        ("stop", Value::Null),
        ("model", json!("models/storyteller")),
    ] {
        let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 5 });
        body[name] = value;
        let answer = server.ask("/v1/chat/completions", &body);
        assert_eq!(answer["choices"], plain["choices"], "{name}");
    }
    let told = server.log().lines().filter(|line| line.contains("colour")).count();
    assert_eq!(told, 1, "{}", server.log());
}

#[test]
fn what_cannot_be_honoured_is_a_400_that_names_it() {
    let server = Server::start(&[]);
    let rows = [
        ("tools", json!([{ "type": "function" }])),
        ("response_format", json!("xml")),
        ("tool_choice", json!("required")),
        ("temperature", json!("warm")),
        ("temperature", json!(-1)),
        ("top_p", json!(2)),
        ("n", json!(0)),
        ("n", json!(100_000)),
        ("seed", json!(18_446_744_073_709_551_616_f64)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-5)),
        ("top_logprobs", json!(3)),
        ("logit_bias", json!({ "x": 1 })),
        ("stop_token_ids", json!(["a"])),
        ("stop_token_ids", json!([99_999])),
        ("reasoning_effort", json!("high")),
        ("chat_template", json!("{{ x }}")),
        ("chat_template_kwargs", json!({ "messages": [] })),
        ("prompt_logprobs", json!(21)),
    ];
    for (name, value) in rows {
        let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 5 });
        body[name] = value.clone();
        let response = server.post("/v1/chat/completions", &body);
        let error = &response.json()["error"];
        let param = error["param"].as_str().unwrap_or_default();
        assert!(response.status == 400 && param.split('[').next() == Some(name), "{name}: {value}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert!(error["message"].as_str().unwrap().contains(' ') && error["code"].is_string(), "{error}");
    }
    let said = json!({ "role": "user", "content": "x" });
    for (body, place) in [
        (json!({}), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": ["x"] }), "messages[0]"),
        (json!({ "messages": [{ "content": "x" }] }), "messages[0]"),
        (json!({ "messages": [said, { "role": "user", "content": 3 }] }), "messages[1].content"),
        (json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }), "messages[0].content[0]"),
        (
            json!({ "messages": [said, { "role": "tool", "content": "x", "tool_call_id": "1" }] }),
            "messages[1].tool_call_id",
        ),
        (json!({ "messages": [{ "role": "user", "content": "long ".repeat(20_000) }] }), "messages"),
    ] {
        let response = server.post("/v1/chat/completions", &body);
        let error = response.json()["error"].clone();
        assert_eq!((response.status, &error["param"]), (400, &json!(place)), "{error}");
        assert!(error["code"].is_string(), "{error}");
    }
    for prompt in [json!([]), json!([[]]), json!([1.5]), json!([99999]), json!({}), Value::Null] {
        assert_eq!(server.post("/v1/completions", &json!({ "prompt": prompt })).status, 400, "{prompt}");
    }
    let long = server.post("/v1/completions", &json!({ "prompt": "long ".repeat(20_000) })).json();
    assert_eq!(long["error"]["code"], "context_length_exceeded", "{long}");
    let other = server.post("/v1/completions", &json!({ "prompt": "x", "model": "gpt" }));
    assert_eq!((other.status, &other.json()["error"]["code"]), (404, &json!("model_not_found")));
}
