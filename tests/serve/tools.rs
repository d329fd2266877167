//! Calls of functions, in the forms of all models: what a client is told, whole and streamed, and what it sends back.
use nemotron::session::{LoadOptions, Session};
use nemotron::text::Tokenizer;
use serde_json::{Value, json};

use crate::client::{self, Response};
use crate::scripted::{Local, settings};
use crate::toy::Toy;
use crate::{Server, root};

const CONTEXT: usize = 4096;

/// A server whose model has that template and always gives the same answer.
pub struct Talker {
    pub local: Local,
    _model: tempfile::TempDir,
}

impl Talker {
    /// A model that has that template and always gives the same answer.
    pub fn new(template: &str, says: &str) -> Talker {
        Talker::with(template, says, |tokenizer| tokenizer)
    }

    /// As [`Talker::new`], with another tokenizer.json.
    fn with(template: &str, says: &str, tokenizer: impl Fn(String) -> String) -> Talker {
        let (source, model) = (root().join("models/storyteller"), tempfile::tempdir().unwrap());
        for name in ["model.safetensors", "tokenizer_config.json"] {
            std::fs::copy(source.join(name), model.path().join(name)).unwrap();
        }
        let file = std::fs::read_to_string(source.join("tokenizer.json")).unwrap();
        std::fs::write(model.path().join("tokenizer.json"), tokenizer(file)).unwrap();
        let mut config: Value = serde_json::from_slice(&std::fs::read(source.join("config.json")).unwrap()).unwrap();
        config["max_position_embeddings"] = CONTEXT.into();
        std::fs::write(model.path().join("config.json"), config.to_string()).unwrap();
        std::fs::write(model.path().join("chat_template.jinja"), template).unwrap();
        let tokenizer = Tokenizer::open(model.path()).unwrap();
        // Behind a line end no space is put in front.
        let encode = |text: &str| tokenizer.encode(text, false).unwrap();
        let ids = encode(&format!("\n{says}</s>")).split_off(encode("\n").len());
        let toy = Toy::new(true, false, CONTEXT / gpu_kernels::PAGE_TOKENS as usize).saying(&ids);
        let options = LoadOptions {
            context: Some(CONTEXT),
            max_sequences: 4,
            ..LoadOptions::new(model.path().to_str().unwrap())
        };
        let local = Local::serve(settings(), move || Session::load_on(Box::new(toy), &options, &mut |_| {}));
        Talker { local, _model: model }
    }

    /// A model that has the template of that name and always gives the same answer.
    pub fn of(name: &str, says: &str) -> Talker {
        let file = root().join(format!("tests/text/templates/{name}.jinja"));
        Talker::new(&std::fs::read_to_string(file).unwrap(), says)
    }

    pub fn post(&self, path: &str, body: &Value) -> Response {
        let headers = [("Content-Type", "application/json")];
        client::send(&self.local.address.to_string(), "POST", path, &headers, &body.to_string())
    }

    #[track_caller]
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body);
        assert_eq!(response.status, 200, "{body}: {}", response.body);
        response.json()
    }

    /// The only choice of a chat.
    #[track_caller]
    pub fn choice(&self, body: &Value) -> Value {
        self.ask("/v1/chat/completions", body)["choices"][0].clone()
    }

    /// The choice of a chat that is streamed, put together as clients do it, and the objects that had parts of calls.
    #[track_caller]
    pub fn streamed(&self, body: &Value) -> (Value, Vec<Value>) {
        let mut body = body.clone();
        body["stream"] = true.into();
        let (mut message, mut calls, mut parts, mut reason) =
            (json!({ "role": "assistant" }), Vec::new(), Vec::new(), Value::Null);
        for event in self.post("/v1/chat/completions", &body).events() {
            let choice = &event["choices"][0];
            for name in ["content", "reasoning", "reasoning_content"] {
                if let Some(text) = choice["delta"][name].as_str() {
                    message[name] = format!("{}{text}", message[name].as_str().unwrap_or_default()).into();
                }
            }
            for part in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                parts.push(part.clone());
                if part["id"].is_string() {
                    assert_eq!(part["index"], calls.len());
                    calls.push(json!({ "type": part["type"], "function": part["function"] }));
                } else {
                    let call: &mut Value = calls.last_mut().expect("a call has begun");
                    let text = format!(
                        "{}{}",
                        call["function"]["arguments"].as_str().unwrap(),
                        part["function"]["arguments"].as_str().unwrap()
                    );
                    call["function"]["arguments"] = text.into();
                }
            }
            reason = choice["finish_reason"].clone();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        (json!({ "message": message, "finish_reason": reason }), parts)
    }
}

fn weather() -> Value {
    let properties = json!({ "town": { "type": "string" }, "days": { "type": "integer" } });
    let parameters = json!({ "type": "object", "required": ["town"], "properties": properties });
    json!({ "type": "function", "function": { "name": "weather", "description": "Of a town.", "parameters": parameters } })
}

fn body() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Weather in Nara and Kyoto?" }], "tools": [weather()] })
}

pub const NANO: &str = "I ask both.\n</think>\n\nA moment.\n<tool_call>\n<function=weather>\n<parameter=town>\nNara\n</parameter>\n\
    <parameter=days>\n3\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=weather>\n<parameter=town>\nKyoto\n\
    </parameter>\n</function>\n</tool_call>\n";

/// The message of a choice without what differs each time.
fn plain(choice: &Value) -> Value {
    let mut message = choice["message"].clone();
    for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
        call.as_object_mut().unwrap().remove("id");
    }
    message.as_object_mut().unwrap().retain(|name, _| !["refusal", "annotations"].contains(&name.as_str()));
    message
}

#[test]
fn calls_are_given_whole_and_in_a_stream_argument_by_argument() {
    let template = std::fs::read_to_string(root().join("tests/text/templates/nemotron_3_nano.jinja")).unwrap();
    gives_both_calls(&Talker::new(&template, NANO));
    // Tags that are special tokens are no less there.
    let special =
        |tokenizer: String| tokenizer.replace("<extra_id_0>", "<tool_call>").replace("<extra_id_1>", "</think>");
    gives_both_calls(&Talker::with(&template, NANO, special));
}

fn gives_both_calls(talker: &Talker) {
    let whole = talker.choice(&body());
    assert_eq!(whole["finish_reason"], "tool_calls");
    let call =
        |arguments: &str| json!({ "type": "function", "function": { "name": "weather", "arguments": arguments } });
    let calls = [call(r#"{"town": "Nara", "days": 3}"#), call(r#"{"town": "Kyoto"}"#)];
    let expected = json!({ "role": "assistant", "content": "A moment.", "tool_calls": calls, "reasoning": "I ask both.",
        "reasoning_content": "I ask both." });
    assert_eq!(plain(&whole), expected);
    let ids: Vec<&Value> = (0..2).map(|index| &whole["message"]["tool_calls"][index]["id"]).collect();
    assert!(ids[0] != ids[1] && ids[0].as_str().unwrap().starts_with("call_"), "{ids:?}");

    let (streamed, parts) = talker.streamed(&body());
    assert_eq!((plain(&streamed), &streamed["finish_reason"]), (expected, &json!("tool_calls")));
    // A name first, and each argument as soon as it is certain; tokens that are a byte each are text together.
    let part = |index: usize| (&parts[index]["index"], parts[index]["function"]["arguments"].as_str().unwrap());
    assert_eq!((part(0), part(1)), ((&json!(0), ""), (&json!(0), r#"{"town": "Nara""#)));
    assert!(part(2).1.starts_with(r#", "days": 3"#) && parts.iter().filter(|part| part["id"].is_string()).count() == 2);

    let mut one = body();
    one["parallel_tool_calls"] = false.into();
    assert_eq!(plain(&talker.choice(&one))["tool_calls"], json!(calls[..1]));
    assert_eq!(plain(&talker.streamed(&one).0)["tool_calls"], json!(calls[..1]));
    // Each answer of several has its own.
    let mut two = body();
    two["n"] = 2.into();
    let answers = talker.ask("/v1/chat/completions", &two);
    assert_eq!(plain(&answers["choices"][0]), plain(&answers["choices"][1]));
}

#[test]
fn what_may_call_nothing_is_text() {
    let talker = Talker::of("nemotron_3_nano", NANO);
    let prompt = |body: &Value| talker.ask("/v1/chat/completions", body)["usage"]["prompt_tokens"].as_u64().unwrap();
    let mut none = body();
    none["tool_choice"] = "none".into();
    let mut without = body();
    without.as_object_mut().unwrap().remove("tools");
    for body in [&none, &without] {
        let choice = talker.choice(body);
        let text = NANO.split_once("</think>\n\n").unwrap().1;
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(text), &json!("stop")));
        assert!(choice["message"].get("tool_calls").is_none());
        assert_eq!(plain(&talker.streamed(body).0)["content"], text);
    }
    assert!(prompt(&none) == prompt(&without) && prompt(&body()) > prompt(&none) + 100);
    // An answer that is cut off says so, whatever it has called.
    let ids =
        talker.ask("/tokenize", &json!({ "prompt": NANO.split_once("Kyo").unwrap().0, "add_special_tokens": false }));
    let mut short = body();
    short["max_tokens"] = ids["count"].clone();
    let cut = talker.choice(&short);
    assert_eq!(
        (&cut["finish_reason"], &cut["message"]["tool_calls"][1]["function"]["name"]),
        (&json!("length"), &json!("weather"))
    );
    // No half of a call is one.
    let arguments = cut["message"]["tool_calls"][1]["function"]["arguments"].as_str().unwrap();
    assert!(arguments.starts_with("{\"town\": \"") && "{\"town\": \"Kyoto".starts_with(arguments), "{arguments}");
    assert_eq!(plain(&talker.streamed(&short).0), plain(&cut));
}

/// Neither a stop text nor a stop id inside a call leaves a call that is whole.
#[test]
fn what_a_stop_cuts_off_is_no_call() {
    let says = NANO.split_once("A moment.\n").unwrap().1;
    let talker = Talker::of("nemotron_3_nano", &format!("I ask both.\n</think>\n\n{says}"));
    let (kyoto, whole) = (json!("{\"town\": \""), json!("{\"town\": \"Nara\", \"days\": 3}"));
    let id = talker.ask("/tokenize", &json!({ "prompt": "K", "add_special_tokens": false }))["tokens"].clone();
    let id = id.as_array().unwrap().last().unwrap().clone();
    for (name, stop, reason) in [("stop", json!("Kyo"), json!("Kyo")), ("stop_token_ids", json!([id]), id.clone())] {
        let mut asked = body();
        asked[name] = stop;
        let choice = talker.choice(&asked);
        let calls = &choice["message"]["tool_calls"];
        let arguments = [&calls[0]["function"]["arguments"], &calls[1]["function"]["arguments"]];
        assert_eq!(arguments, [&whole, &kyoto], "{name}: {choice}");
        assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!("stop"), &reason));
        let (streamed, _) = talker.streamed(&asked);
        assert_eq!(plain(&streamed)["tool_calls"], plain(&choice)["tool_calls"]);
        assert_eq!(streamed["finish_reason"], "stop");
    }
    // One that comes behind the calls takes nothing from them.
    let mut asked = body();
    asked["stop"] = "</function>\n</tool_call>\n<".into();
    let choice = talker.choice(&asked);
    assert_eq!(
        (&choice["finish_reason"], choice["message"]["tool_calls"].as_array().unwrap().len()),
        (&json!("stop"), 1)
    );
    asked["stop"] = "</tool_call>".into();
    assert_eq!(talker.choice(&asked)["finish_reason"], "tool_calls");
}

/// Right values: `json.dumps` of the tool, and the template's own form of a call.
#[test]
fn every_template_is_shown_the_tools_and_the_calls_that_are_sent_back() {
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "weather", "arguments": "{\"town\": \"Nara\", \"days\": 3}" } });
    let turns = json!([{ "role": "user", "content": "Weather?" }, { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_1", "content": [{ "type": "text", "text": "Rain." }] }]);
    const TOOL: &str = r#"{"name": "weather", "description": "Of a town.", "parameters": {"type": "object", "required": ["town"], "properties": {"town": {"type": "string"}, "days": {"type": "integer"}}}}"#;
    const CALL: &str = r#"{"name": "weather", "arguments": {"town": "Nara", "days": 3}}"#;
    for (name, says, shown) in [
        (
            "nemotron_3_nano",
            "<tool_call>\n<function=weather>\n<parameter=town>\nNara\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
            vec![
                "<name>weather</name>",
                "<tool_call>\n<function=weather>\n<parameter=town>\nNara\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>",
                "<tool_response>\nRain.\n",
            ],
        ),
        (
            "nemotron_nano_v2",
            "Fine.\n</think>\n\n<TOOLCALL>[CALL]</TOOLCALL>",
            vec![TOOL, "<TOOLCALL>[CALL]</TOOLCALL>", "<TOOL_RESPONSE>[Rain.]"],
        ),
        (
            "llama_nemotron_super",
            "<TOOLCALL>[CALL]</TOOLCALL>",
            vec![TOOL, "<TOOLCALL>[CALL]</TOOLCALL>", "<TOOL_RESPONSE>[Rain."],
        ),
        ("nemotron_mini", "<toolcall> CALL </toolcall>", vec![TOOL, "<toolcall> CALL </toolcall>", "Tool\nRain.\n"]),
    ] {
        let talker =
            Talker::of(name, &says.replace("CALL]", &format!("{CALL}]")).replace(" CALL ", &format!(" {CALL} ")));
        let tokens = talker.ask("/tokenize", &json!({ "messages": turns, "tools": [weather()] }));
        let text =
            talker.ask("/detokenize", &json!({ "tokens": tokens["tokens"] }))["prompt"].as_str().unwrap().to_owned();
        for shown in shown {
            let shown = shown.replace("[CALL]", &format!("[{CALL}]")).replace(" CALL ", &format!(" {CALL} "));
            assert!(text.contains(&shown), "{name}: {shown}\n{text}");
        }
        let body = json!({ "messages": turns, "tools": [weather()] });
        let choice = talker.choice(&body);
        assert_eq!(
            (&choice["finish_reason"], &choice["message"]["content"]),
            (&json!("tool_calls"), &Value::Null),
            "{name}: {choice}"
        );
        assert_eq!(choice["message"]["tool_calls"][0]["function"], call["function"], "{name}");
        let (streamed, _) = talker.streamed(&body);
        assert_eq!(streamed["message"]["tool_calls"][0]["function"], call["function"], "{name}");
    }
}

/// Right values: what transformers renders of the same conversation, in which arguments are objects (tests/text/templates.py).
#[test]
fn a_conversation_with_calls_is_the_text_that_transformers_makes() {
    let table: Value =
        serde_json::from_slice(&std::fs::read(root().join("tests/text/templates.json")).unwrap()).unwrap();
    let mut count = 0;
    for row in table["rows"].as_array().unwrap() {
        let (name, context) = (row["template"].as_str().unwrap(), row["context"].as_object().unwrap());
        let calls =
            ["nemotron_3_nano", "nemotron_3_5_lightning", "nemotron_nano_v2", "llama_nemotron_super"].contains(&name);
        let is_openai = |tools: &Value| tools.as_array().unwrap().iter().all(|tool| tool["type"] == "function");
        let text = row["text"].as_str().filter(|_| calls && context.get("tools").is_some_and(is_openai));
        let (Some(text), None) = (text, context.get("contexts")) else { continue };
        let mut body = json!({ "messages": context["messages"], "tools": context["tools"] });
        for message in body["messages"].as_array_mut().unwrap() {
            for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
                let arguments = &mut call["function"]["arguments"];
                *arguments = arguments.to_string().into();
            }
            let turn = message.as_object_mut().unwrap();
            turn.retain(|_, value| !value.is_null());
        }
        let talker = Talker::of(name, "x");
        let tokens = talker.ask("/tokenize", &body);
        assert_eq!(talker.ask("/detokenize", &json!({ "tokens": tokens["tokens"] }))["prompt"], text, "{name}");
        count += 1;
    }
    assert!(count >= 6, "{count} conversations");
}

#[test]
fn tools_that_cannot_be_called_are_refused_by_name() {
    let server = Server::start(&[]);
    let error = |response: Response| {
        (response.status, response.json()["error"]["param"].clone(), response.json()["error"]["code"].clone())
    };
    let refused = |name: &str| (400, json!(name), json!("unsupported_parameter"));
    // The demo model knows no tools; neither does a template that calls and leaves them out.
    assert_eq!(error(server.post("/v1/chat/completions", &body())), refused("tools"));
    assert_eq!(
        error(server.post("/v1/completions", &json!({ "prompt": "x", "tools": [weather()] }))),
        refused("tools")
    );
    let talker = Talker::new("{{ messages[0].content }}<tool_call>\n<function=", "x");
    assert_eq!(error(talker.post("/v1/chat/completions", &body())), refused("tools"));
    let talker = Talker::of("nemotron_3_nano", "x");
    for choice in [json!("any"), json!({ "type": "function", "function": { "name": "rain" } })] {
        let mut body = body();
        body["tool_choice"] = choice;
        let refused = (400, json!("tool_choice"), json!("invalid_value"));
        assert_eq!(error(talker.post("/v1/chat/completions", &body)), refused);
    }
    let mut broken = body();
    let call = json!({ "function": { "name": "weather", "arguments": "[1]" } });
    broken["messages"].as_array_mut().unwrap().push(json!({ "role": "assistant", "tool_calls": [call] }));
    let response = talker.post("/v1/chat/completions", &broken);
    assert!(
        response.status == 400 && response.body.contains("messages[1].tool_calls[0].function.arguments: expected"),
        "{response:?}"
    );
    let place = "messages[1].tool_calls[0].function.arguments";
    assert_eq!(error(response), (400, json!(place), json!("invalid_value")));
    let mut twice = body();
    twice["tools"] = json!([weather(), weather()]);
    let response = talker.post("/v1/chat/completions", &twice);
    assert!(response.status == 400 && response.body.contains("tools: expected a name for each"), "{response:?}");
    let many = json!({ "messages": body()["messages"], "tools": vec![json!({}); 100_001] });
    assert!(talker.post("/v1/chat/completions", &many).body.contains("tools: expected at most 100000 values"));
}
