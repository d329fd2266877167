//! Answers of a form: calls that must be made, JSON of a schema, expressions; by a model that would rather say something else.
use serde_json::{Value, json};

use crate::Server;
use crate::tools::Talker;

/// A function with few arguments to choose from, so that a model that likes none of them comes to an end.
fn weather() -> Value {
    let properties =
        json!({ "town": { "enum": ["Nara", "Kyoto"] }, "days": { "type": "integer", "minimum": 1, "maximum": 3 } });
    let parameters = json!({ "type": "object", "required": ["town", "days"], "properties": properties });
    json!({ "type": "function", "function": { "name": "weather", "parameters": parameters } })
}

fn time() -> Value {
    let parameters = json!({ "type": "object", "required": ["zone"], "properties": { "zone": { "const": "JST" } } });
    json!({ "type": "function", "function": { "name": "time", "parameters": parameters } })
}

fn body() -> Value {
    let kwargs = json!({ "enable_thinking": false });
    json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 400, "chat_template_kwargs": kwargs })
}

fn with(fields: Value) -> Value {
    let mut body = body();
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// A model of each form, which says what is no call.
fn talkers() -> Vec<(&'static str, Talker)> {
    let mut talkers: Vec<_> = ["nemotron_3_nano", "nemotron_nano_v2", "nemotron_mini"]
        .into_iter()
        .map(|name| (name, Talker::of(name, "</think>I like tea.")))
        .collect();
    for words in ["<tool_call> {{ tools }}", "[TOOL_CALLS] {{ tools }}", "<|python_tag|> {{ tools }}"] {
        talkers.push((words, Talker::new(&format!("{{{{ messages[0].content }}}} {words}"), "I like tea.")));
    }
    talkers
}

fn is_weather(arguments: &Value) -> bool {
    let object = arguments.as_object().expect("an object");
    object.len() == 2
        && ["Nara", "Kyoto"].contains(&object["town"].as_str().unwrap())
        && (1..=3).contains(&object["days"].as_i64().unwrap())
}

#[test]
fn calls_that_are_demanded_are_made_in_every_form() {
    for (name, talker) in talkers() {
        let free = talker.choice(&with(json!({ "tools": [weather(), time()] })));
        assert!(free["message"]["tool_calls"].is_null(), "{name}: {free}");
        for (choice, names) in [
            (json!("required"), &["weather", "time"][..]),
            (json!({ "type": "function", "function": { "name": "time" } }), &["time"]),
        ] {
            let body =
                with(json!({ "tools": [weather(), time()], "tool_choice": choice, "parallel_tool_calls": false }));
            let answer = talker.choice(&body);
            assert_eq!(answer["finish_reason"], "tool_calls", "{name}: {answer}");
            let calls = answer["message"]["tool_calls"].as_array().unwrap();
            let function = &calls[0]["function"];
            assert!(calls.len() == 1 && names.contains(&function["name"].as_str().unwrap()), "{name}: {answer}");
            let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
            let right =
                if function["name"] == "time" { arguments == json!({ "zone": "JST" }) } else { is_weather(&arguments) };
            assert!(right, "{name}: {arguments}");
            let (streamed, _) = talker.streamed(&body);
            assert_eq!(streamed["message"]["tool_calls"][0]["function"], *function, "{name}");
        }
    }
}

/// What a model says by itself stays, and its calls have the arguments of the schema.
#[test]
fn strict_functions_are_called_with_arguments_of_their_schemas() {
    let mut strict = weather();
    strict["function"]["strict"] = true.into();
    let says =
        "Well.\n<tool_call>\n<function=weather>\n<parameter=town>\nOslo\n</parameter>\n</function>\n</tool_call>";
    let talker = Talker::of("nemotron_3_nano", says);
    let free = talker.choice(&with(json!({ "tools": [weather()] })));
    assert_eq!(free["message"]["tool_calls"][0]["function"]["arguments"], r#"{"town": "Oslo"}"#);
    let answer = talker.choice(&with(json!({ "tools": [strict] })));
    assert!(answer["message"]["content"].as_str().unwrap().starts_with("Well."), "{answer}");
    // With no Oslo to go on with, this model begins again, until it is cut off.
    let calls = answer["message"]["tool_calls"].as_array().unwrap();
    for call in &calls[..calls.len() - 1] {
        assert!(
            is_weather(&serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap()),
            "{answer}"
        );
    }
    assert!(calls.len() > 2);
}

#[test]
fn every_api_holds_to_a_schema() {
    let talker = Talker::of("nemotron_3_nano", "</think>I like tea.");
    let schema = json!({ "type": "object", "properties": { "a": { "enum": [1, 2] }, "b": { "type": "boolean" } }, "required": ["a", "b"], "additionalProperties": false });
    let is_right = |text: &Value| {
        let object: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        [1, 2].contains(&object["a"].as_i64().unwrap()) && object["b"].is_boolean()
    };
    let chat =
        with(json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } } }));
    let whole = talker.choice(&chat);
    assert!(is_right(&whole["message"]["content"]) && whole["finish_reason"] == "stop", "{whole}");
    assert_eq!(talker.streamed(&chat).0["message"]["content"], whole["message"]["content"]);
    // Functions may be called beside it.
    let mut both = chat.clone();
    both["tools"] = json!([time()]);
    let both = talker.choice(&both);
    assert!(both["message"]["tool_calls"].is_array() || is_right(&both["message"]["content"]), "{both}");
    let completion = json!({ "prompt": "x", "max_tokens": 300, "structured_outputs": { "json": schema.to_string() } });
    assert!(is_right(&talker.ask("/v1/completions", &completion)["choices"][0]["text"]));
    let format = json!({ "format": { "type": "json_schema", "name": "x", "schema": schema } });
    let kwargs = json!({ "enable_thinking": false });
    let response = json!({ "input": "Hi", "text": format, "chat_template_kwargs": kwargs });
    let response = talker.ask("/v1/responses", &response);
    assert!(is_right(&response["output"][0]["content"][0]["text"]) && response["text"] == format, "{response}");
    let message = json!({ "messages": body()["messages"], "max_tokens": 300, "output_config": format, "chat_template_kwargs": kwargs });
    assert!(is_right(&talker.ask("/v1/messages", &message)["content"][0]["text"]));
}

/// The form holds behind the reasoning, which neither an end nor a call cuts short.
#[test]
fn reasoning_comes_in_front_of_the_form() {
    for says in ["I think so.</think>Tea.", "I think so.</s>", "I think so.<tool_call>\n<function=time>"] {
        let talker = Talker::of("nemotron_3_nano", says);
        let mut body =
            with(json!({ "tools": [time()], "structured_outputs": { "json": { "enum": ["tea", "milk"] } } }));
        body.as_object_mut().unwrap().remove("chat_template_kwargs");
        // An end that is forbidden makes this model begin again.
        body["thinking_token_budget"] = 40.into();
        let answer = talker.choice(&body);
        assert!(answer["message"]["reasoning"].as_str().unwrap().starts_with("I think so."), "{answer}");
        let text = answer["message"]["content"].as_str();
        let is_form = text.is_some_and(|text| ["\"tea\"", "\"milk\""].contains(&text));
        assert!(is_form || answer["message"]["tool_calls"].is_array(), "{answer}");
    }
}

#[test]
fn a_form_that_begins_as_reasoning_does_is_no_reasoning() {
    let talker = Talker::of("llama_nemotron_super", "I like tea.");
    let mut body = with(json!({ "structured_outputs": { "choice": ["<b>", "<c>"] } }));
    body.as_object_mut().unwrap().remove("chat_template_kwargs");
    let answer = talker.choice(&body);
    assert!(["<b>", "<c>"].contains(&answer["message"]["content"].as_str().unwrap()), "{answer}");
}

#[test]
fn functions_that_cost_too_much_are_named() {
    let talker = Talker::of("nemotron_3_nano", "x");
    let of = |parameters: Value| {
        let mut tool = time();
        tool["function"]["parameters"] = parameters;
        with(json!({ "tools": [weather(), tool], "tool_choice": "required" }))
    };
    let large =
        json!({ "type": "object", "properties": { "default": { "type": "integer", "multipleOf": 9_999_999 } } });
    let response = talker.post("/v1/chat/completions", &of(large));
    assert_eq!((response.status, &response.json()["error"]["param"]), (400, &json!("tools[1].function.parameters")));
    // This model's tags have no way to write such a key.
    let error =
        talker.post("/v1/chat/completions", &of(json!({ "properties": { "a>b": {} } }))).json()["error"].clone();
    assert_eq!(error["param"], "tools[1].function.parameters.properties.a>b", "{error}");
    // Other APIs have other names for it.
    let (schema, begin) = (json!({ "properties": { "a>b": {} } }), json!([{ "role": "user", "content": "x" }]));
    let asked = json!({ "messages": begin, "max_tokens": 9, "tool_choice": { "type": "any" },
        "tools": [{ "name": "f", "input_schema": schema }] });
    let error = talker.post("/v1/messages", &asked).json()["error"].clone();
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("tools[0].input_schema.properties.a>b: "), "{error}");
    let tools = json!([{ "type": "function", "name": "a<b", "parameters": {} }]);
    let asked = json!({ "input": "x", "tools": tools, "tool_choice": "required" });
    let error = talker.post("/v1/responses", &asked).json()["error"].clone();
    assert_eq!(error["param"], "tools[0].name", "{error}");
    let inner = json!({ "properties": { "a": { "anyOf": [{ "type": "null" }, { "if": {} }] } } });
    let error = talker.post("/v1/chat/completions", &of(inner)).json()["error"].clone();
    assert_eq!(error["param"], "tools[1].function.parameters.properties.a.anyOf.1", "{error}");
    // Eight times twenty references.
    let link = |index: usize| {
        let next = json!({ "$ref": format!("#/$defs/a{}", index + 1) });
        (
            format!("a{index}"),
            if index == 8 { json!({ "type": "integer" }) } else { json!({ "anyOf": vec![next; 20] }) },
        )
    };
    let links: serde_json::Map<String, Value> = (0..9).map(link).collect();
    let deep = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/a0" } }, "$defs": links });
    let start = std::time::Instant::now();
    talker.post("/v1/chat/completions", &of(deep));
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn other_forms_are_held_to_as_well() {
    let server = Server::start(&[]);
    let text = |fields: Value| {
        let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        server.ask("/v1/completions", &body)["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    let is_date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.iter().map(|part| part.len()).eq([4, 2])
            && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    assert!(is_date(&text(json!({ "structured_outputs": { "regex": "^[0-9]{4}-[0-9]{2}$" } }))));
    assert!(is_date(&text(json!({ "guided_regex": "[0-9]{4}-[0-9]{2}" }))));
    assert!(["tea", "milk"].contains(&&*text(json!({ "guided_choice": ["tea", "milk"] }))));
    assert_eq!(text(json!({ "structured_outputs": { "grammar": "start: \"a\" b\nb: \"b\" \"c\"" } })), "abc");
    // A form ends where it ends, and where it begins as reasoning might, it begins.
    for (field, value) in [("min_tokens", json!(9)), ("ignore_eos", json!(true)), ("max_tokens", json!(4))] {
        let mut body = json!({ "guided_choice": ["tea"] });
        body[field] = value;
        assert_eq!(text(body), "tea");
    }
    let many: Vec<String> = (0..2_500).map(|index| format!("{index:05} item")).collect();
    assert!(many.contains(&text(json!({ "guided_choice": many }))));
    let beside = json!({ "response_format": { "type": "json_object", "schema": { "const": "tea" } } });
    assert_eq!(text(beside), "\"tea\"");
    assert!(text(json!({ "guided_json_object": true })).starts_with('{'));
    // What says nothing changes nothing.
    let free = text(json!({}));
    for nothing in [
        json!({ "response_format": { "type": "text" } }),
        json!({ "structured_outputs": {} }),
        json!({ "guided_json": null, "guided_json_object": false, "guided_whitespace_pattern": null }),
    ] {
        assert_eq!(text(nothing), free);
    }
}

#[test]
fn a_form_that_cannot_be_held_to_is_a_400_that_names_the_place() {
    let server = Server::start(&[]);
    let of = |schema: Value| json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } } });
    for (fields, place, word) in [
        (of(json!({ "type": "object", "if": {} })), "response_format.json_schema.schema", "\"if\""),
        (of(json!({ "$ref": "#/none" })), "response_format.json_schema.schema", "none"),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x" } } }),
            "response_format.json_schema.schema",
            "found none",
        ),
        (json!({ "response_format": { "type": "xml" } }), "response_format.type", "json_object"),
        (json!({ "response_format": "json" }), "response_format", "an object"),
        (json!({ "structured_outputs": { "regex": "(" } }), "structured_outputs.regex", "unclosed"),
        (
            json!({ "structured_outputs": { "regex": "a", "choice": ["b"] } }),
            "structured_outputs.choice",
            "one constraint",
        ),
        (
            json!({ "structured_outputs": { "structural_tag": "{}" } }),
            "structured_outputs.structural_tag",
            "not supported",
        ),
        (json!({ "structured_outputs": { "json": "{" } }), "structured_outputs.json", "no JSON"),
        (json!({ "guided_choice": [1] }), "guided_choice", "a list of texts"),
        (json!({ "guided_choice": [] }), "guided_choice", "none of them empty"),
        (json!({ "guided_grammar": "root ::= \"a\"" }), "guided_grammar", ""),
        (json!({ "guided_regex": "a", "guided_json": {} }), "guided_regex", "guided_json"),
        (json!({ "guided_json": {}, "guided_json_object": true }), "guided_json_object", "guided_json"),
        (json!({ "guided_json_object": 1 }), "guided_json_object", "true or false"),
        (json!({ "guided_whitespace_pattern": " " }), "guided_whitespace_pattern", "not supported"),
        (
            json!({ "structured_outputs": { "json": {}, "whitespace_pattern": " " } }),
            "structured_outputs.whitespace_pattern",
            "not supported",
        ),
        (
            of(json!({ "properties": { "a": { "items": { "if": {} } } } })),
            "response_format.json_schema.schema.properties.a.items",
            "\"if\"",
        ),
    ] {
        let mut body = json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 9 });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let response = server.post("/v1/chat/completions", &body);
        let error = response.json()["error"].clone();
        assert_eq!((response.status, &error["param"]), (400, &json!(place)), "{fields}: {error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{word}: {error}");
    }
}
