//! Lines of batches, and what they ask for.
use serde_json::{Value, json};

use super::*;

const PLAIN: FormArguments = FormArguments { raw: false, chat: false, system: None };

fn request(line: &Value) -> Result<BatchRequest, String> {
    Line::read(&line.to_string()).over(&GenerateOptions::default(), &PLAIN)
}

fn prompt(line: Value, form: &FormArguments) -> Result<Prompt, String> {
    Line::read(&line.to_string()).over(&GenerateOptions::default(), form).map(|request| request.prompt)
}

#[test]
fn each_line_is_judged_by_itself() {
    let read = |text: &str| Line::read(text).over(&GenerateOptions::default(), &PLAIN).map(|request| request.prompt);
    assert_eq!(read("  {\"prompt\": \"x\"} ").unwrap(), Prompt::Text("x".into()));
    assert_eq!(read("  as it is ").unwrap(), Prompt::Text("  as it is ".into()));
    assert_eq!(read("[INST] x").unwrap(), Prompt::Text("[INST] x".into()));
    assert!(read("[\"x\", 1]").unwrap_err().contains("JSON array"));
}

#[test]
fn a_lines_form_goes_before_the_options() {
    let form = |raw, chat| FormArguments { raw, chat, system: None };
    let [plain, raw, chat] = [form(false, false), form(true, false), form(false, true)];
    let (text, question) = (Prompt::Text("x".into()), Prompt::question(None, "x"));
    assert_eq!(prompt(json!({"prompt": "x"}), &plain).unwrap(), text);
    assert_eq!(prompt(json!({"prompt": "x"}), &raw).unwrap(), Prompt::Raw("x".into()));
    assert_eq!(prompt(json!({"prompt": "x", "raw": false}), &raw).unwrap(), text);
    assert_eq!(prompt(json!({"prompt": "x", "raw": true}), &chat).unwrap(), Prompt::Raw("x".into()));
    assert_eq!(prompt(json!({"prompt": "x", "chat": true}), &raw).unwrap(), question);
    assert_eq!(prompt(json!({"prompt": "x", "chat": false}), &chat).unwrap(), text);
    let expected = Prompt::question(Some("y"), "x");
    assert_eq!(prompt(json!({"prompt": "x", "system": "y"}), &plain).unwrap(), expected);
    let turns = json!([{"role": "system", "content": "y"}, {"role": "user", "content": "x"}]);
    assert_eq!(prompt(json!({"messages": turns}), &plain).unwrap(), expected);
}

#[test]
fn lines_that_contradict_themselves_are_refused() {
    for (line, words) in [
        (json!({}), "expected a prompt or messages"),
        (json!({"prompt": "x", "raw": true, "chat": true}), "exclude each other"),
        (json!({"prompt": "x", "raw": true, "system": "y"}), "exclude each other"),
        (json!({"prompt": "x", "chat": false, "system": "y"}), "needs chat"),
        (json!({"messages": [], "prompt": "x"}), "stand alone"),
        (json!({"messages": [{"role": "user"}, {"content": "x"}]}), "messages[1]: expected a role"),
        (json!({"messages": {"role": "user"}}), "messages: expected a list of messages, found {\"role\":\"user\"}"),
        (json!({"prompt": 3}), "prompt: expected a text, found 3"),
        (json!({"prompt": "x", "stop": [1]}), "stop: expected a text or a list of texts, found [1]"),
        (json!({"prompt": "x", "logit_bias": {"a": 1}}), "logit_bias: expected an object of token ids"),
        (json!({"prompt": "x", "repeat_penalty": 1, "repetition_penalty": 1}), "one thing"),
        (json!({"prompt": "x", "temprature": 1}), "\"temperature\" is"),
        (json!({"prompt": "x", "seed": 1e30}), "seed: expected a whole number from -9223372036854775808 to 1844674"),
    ] {
        let error = request(&line).unwrap_err();
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn parameters_go_before_the_options_and_minus_one_means_what_it_means_there() {
    let line = json!({"prompt": "x", "max_tokens": -1, "top_k": -1, "seed": -1, "repetition_penalty": 1.5, "min_p": null,
        "logit_bias": {"7": -2}, "stop": "y", "logprobs": 2});
    let found = request(&line).unwrap();
    assert_eq!((found.max_tokens, found.logprobs, found.stop), (usize::MAX, Some(2), vec!["y".to_owned()]));
    assert_eq!((found.sampling.top_k, found.sampling.repeat_penalty), (0, 1.5));
    assert_eq!(found.sampling.logit_bias, [(7, -2.0)]);
    assert_eq!(request(&json!({"prompt": "x", "seed": -2})).unwrap().sampling.seed, u64::MAX - 1);
}

#[test]
fn names_are_kept_even_where_the_rest_is_wrong() {
    let line = Line::read(&json!({"id": 7, "custom_id": "a", "colour": 1}).to_string());
    assert_eq!(Value::Object(line.head.names), json!({"id": 7, "custom_id": "a"}));
}

fn envelope(url: &str, body: Value) -> Value {
    json!({"custom_id": "a", "method": "POST", "url": url, "body": body})
}

#[test]
fn requests_of_openais_batches_are_taken() {
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "x"}]}]);
    let body = json!({"model": "any", "messages": messages, "max_completion_tokens": 5, "logprobs": true, "top_logprobs": 3,
        "n": 1, "stream": false, "user": "u"});
    let chat = request(&envelope("/v1/chat/completions", body)).unwrap();
    assert_eq!((chat.prompt, chat.max_tokens, chat.logprobs), (Prompt::question(None, "x"), 5, Some(3)));
    let body = json!({"model": "any", "prompt": "x", "max_tokens": 6, "logprobs": 2, "echo": true});
    let line = Line::read(&envelope("/v1/completions", body).to_string());
    assert_eq!((line.head.shape, line.head.echo, line.head.prompt.as_str()), (ResultForm::Completion, Some(true), "x"));
    let form = FormArguments { raw: false, chat: true, system: None };
    let plain = line.over(&GenerateOptions::default(), &form).unwrap();
    assert_eq!((plain.prompt, plain.max_tokens, plain.logprobs), (Prompt::Text("x".into()), 6, Some(2)));
}

#[test]
fn requests_that_cannot_be_answered_are_refused_by_name() {
    let chat = |body| envelope("/v1/chat/completions", body);
    let messages = json!([{"role": "user", "content": "x"}]);
    for (line, words) in [
        (envelope("/v1/embeddings", json!({})), "url: expected /v1/chat/completions or /v1/completions"),
        (json!({"url": "/v1/completions"}), "needs a body"),
        (json!({"body": {}}), "needs a url"),
        (json!({"url": "/v1/completions", "method": "GET", "body": {}}), "method: expected POST, found \"GET\""),
        (chat(json!({"model": "any"})), "body.messages: expected a list"),
        (chat(json!({"messages": messages, "n": 2})), "body.n: expected 1, found 2"),
        (chat(json!({"messages": messages, "stream": true})), "body.stream"),
        (chat(json!({"messages": messages, "tools": []})), "body.\"tools\" is no field that is known"),
        (
            chat(json!({"messages": messages, "temperature": "hot"})),
            "body.temperature: expected a number, found \"hot\"",
        ),
        (envelope("/v1/completions", json!({"prompt": [1, 2]})), "body.prompt: expected a text, found [1,2]"),
    ] {
        let error = request(&line).unwrap_err();
        assert!(error.contains(words), "{line}: {error}");
    }
}
