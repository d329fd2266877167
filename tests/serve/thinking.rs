//! Reasoning that is ended at a budget, in all APIs and under all names: one answer, whole and streamed.
use serde_json::{Value, json};

use crate::root;
use crate::tools::Talker;

/// Tokens of `</think>` behind a text: by the tokenizers package for Python `<`, a byte, `t`, `h`, `in`, `k` and `>`.
const END_TOKENS: usize = 7;

/// What the model says to everything, whatever ends its reasoning: the device begins again behind what it did not say.
const SAYS: &str = "So blue it is.";

const TOKENS: usize = 3;

fn body() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Which colour?" }] })
}

/// What the first tokens of the answer are.
fn thought(talker: &Talker) -> String {
    let mut asked = body();
    asked["return_token_ids"] = true.into();
    let free = talker.ask("/v1/chat/completions", &asked);
    let ids = free["choices"][0]["token_ids"].as_array().unwrap()[..TOKENS].to_vec();
    let text = talker.ask("/detokenize", &json!({ "tokens": ids }))["prompt"].as_str().unwrap().trim().to_owned();
    assert!(SAYS.starts_with(&text) && text.len() < SAYS.len(), "{text}");
    text
}

#[test]
fn a_budget_ends_the_reasoning_under_all_its_names() {
    let talker = Talker::of("nemotron_3_nano", SAYS);
    let thought = thought(&talker);
    for (name, value) in [
        ("thinking_token_budget", json!(TOKENS)),
        ("reasoning_budget", json!(TOKENS)),
        ("max_thinking_tokens", json!(TOKENS)),
        ("nvext", json!({ "max_thinking_tokens": TOKENS })),
    ] {
        let mut asked = body();
        asked[name] = value;
        asked["logprobs"] = true.into();
        asked["n"] = 2.into();
        let answer = talker.ask("/v1/chat/completions", &asked);
        for choice in answer["choices"].as_array().unwrap() {
            let message = &choice["message"];
            assert_eq!((&message["reasoning"], &message["content"]), (&json!(thought), &json!(SAYS)), "{name}");
            assert_eq!(choice["finish_reason"], "stop");
            let tokens = choice["logprobs"]["content"].as_array().unwrap();
            assert_eq!(answer["usage"]["completion_tokens"], 2 * tokens.len());
            let text: String = tokens.iter().map(|token| token["token"].as_str().unwrap()).collect();
            assert!(text.contains("</think>") && text.contains(&thought), "{text}");
            // To the device one of 500 tokens is as likely as another, forced or not.
            let likely = |token: &Value| (token["logprob"].as_f64().unwrap() + 500_f64.ln()).abs() < 1e-6;
            assert!(tokens.iter().all(likely), "{tokens:?}");
            let forced: String =
                tokens[TOKENS..TOKENS + END_TOKENS].iter().map(|token| token["token"].as_str().unwrap()).collect();
            assert_eq!(forced, "</think>");
        }
        asked.as_object_mut().unwrap().remove("n");
        asked["stream"] = true.into();
        let (mut reasoning, mut content) = (String::new(), String::new());
        for event in talker.post("/v1/chat/completions", &asked).events() {
            let delta = &event["choices"][0]["delta"];
            reasoning += delta["reasoning"].as_str().unwrap_or_default();
            content += delta["content"].as_str().unwrap_or_default();
        }
        assert_eq!((reasoning, content.as_str()), (thought.clone(), SAYS));
    }
    for (tokens, thought, said) in
        [(0, Value::Null, json!(SAYS)), (-1, json!(SAYS), json!("")), (900, json!(SAYS), json!(""))]
    {
        let mut asked = body();
        asked["thinking_token_budget"] = tokens.into();
        let answer = talker.ask("/v1/chat/completions", &asked);
        let message = &answer["choices"][0]["message"];
        assert_eq!((&message["reasoning"], &message["content"]), (&thought, &said), "{tokens}");
    }
}

/// An end that `max_tokens` leaves no room for does not begin: no part of it is told.
#[test]
fn no_part_of_an_end_is_text() {
    let talker = Talker::of("nemotron_3_nano", SAYS);
    let thought = thought(&talker);
    for most in TOKENS..=TOKENS + END_TOKENS + 1 {
        let mut asked = body();
        asked["thinking_token_budget"] = TOKENS.into();
        asked["max_tokens"] = most.into();
        let answer = talker.ask("/v1/chat/completions", &asked);
        let (choice, used) = (&answer["choices"][0], &answer["usage"]["completion_tokens"]);
        let whole = most >= TOKENS + END_TOKENS;
        assert_eq!((&choice["message"]["reasoning"], &choice["finish_reason"]), (&json!(thought), &json!("length")));
        assert_eq!(*used, if whole { most } else { TOKENS }, "{most}: {answer}");
        let content = choice["message"]["content"].as_str().unwrap_or_default();
        assert!(SAYS.starts_with(content), "{most}: {content}");
    }
}

/// Right values: the tokens of the text between the tags, behind a line end; the model may write the first tag itself.
#[test]
fn tokens_of_reasoning_are_counted_without_its_tags() {
    const THINKS: &str = "I ask.\nOr < not?";
    let template =
        |name: &str| std::fs::read_to_string(root().join(format!("tests/text/templates/{name}.jinja"))).unwrap();
    let opened = template("nemotron_3_nano");
    // Without the tag that ends its prompts.
    let bare = "{% for m in messages %}{{ m.content }}{% endfor %}{# </think> #}".to_owned();
    for (template, head) in [(opened, ""), (bare, "<think>")] {
        let talker = Talker::new(&template, &format!("{head}{THINKS}</think>\n\nBlue."));
        let count = |text: &str| {
            let asked = json!({ "prompt": text, "add_special_tokens": false });
            talker.ask("/tokenize", &asked)["count"].as_u64().unwrap()
        };
        let wanted = count(&format!("\n{THINKS}")) - count("\n");
        let mut asked = body();
        asked["max_tokens"] = 100.into();
        let message = talker.ask("/v1/messages", &asked);
        assert_eq!(message["content"][0]["thinking"], THINKS, "{message}");
        assert_eq!(message["usage"]["output_tokens_details"]["thinking_tokens"], wanted, "{message}");
        let response = talker.ask("/v1/responses", &json!({ "input": "Which colour?" }));
        assert_eq!(response["usage"]["output_tokens_details"]["reasoning_tokens"], wanted, "{response}");
    }
}

#[test]
fn the_other_apis_bound_the_reasoning_in_their_own_words() {
    let talker = Talker::of("nemotron_3_nano", SAYS);
    let thought = thought(&talker);
    let mut asked = body();
    asked["max_tokens"] = 100.into();
    asked["thinking"] = json!({ "type": "enabled", "budget_tokens": TOKENS });
    let message = talker.ask("/v1/messages", &asked);
    assert_eq!(message["content"][0]["thinking"], thought, "{message}");
    assert_eq!(message["usage"]["output_tokens_details"]["thinking_tokens"], TOKENS, "without the tag");
    assert_eq!((&message["content"][1]["text"], &message["stop_reason"]), (&json!(SAYS), &json!("end_turn")));
    asked["thinking"]["budget_tokens"] = 0.into();
    let response = talker.post("/v1/messages", &asked);
    assert!(response.status == 400 && response.body.contains("thinking.budget_tokens: expected"), "{response:?}");
    // Nano's template has words for no effort but none.
    let effort = |effort: &str| {
        let asked = json!({ "input": "Which colour?", "reasoning": { "effort": effort } });
        let output = talker.ask("/v1/responses", &asked)["output"].clone();
        output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((effort("none"), effort("low")), (vec!["message".to_owned()], vec!["reasoning".to_owned()]));
    assert_eq!((effort("medium"), effort("high")), (vec!["reasoning".to_owned()], vec!["reasoning".to_owned()]));
    let response = talker.post("/v1/responses", &json!({ "input": "x", "reasoning": { "effort": "much" } }));
    assert!(response.status == 400 && response.body.contains("reasoning.effort: expected"), "{response:?}");
}

#[test]
fn a_model_that_does_not_reason_has_no_budget() {
    let talker = Talker::of("nemotron_mini", SAYS);
    for name in ["thinking_token_budget", "reasoning_budget", "max_thinking_tokens"] {
        let mut asked = body();
        asked[name] = TOKENS.into();
        let response = talker.post("/v1/chat/completions", &asked);
        let error = &response.json()["error"];
        assert!(response.status == 400 && error["param"] == name, "{response:?}");
        assert!(error["message"].as_str().unwrap().contains(&format!(": {name}: expected")), "{error}");
    }
    // Anthropic's clients always send one.
    let mut asked = body();
    (asked["max_tokens"], asked["thinking"]) = (100.into(), json!({ "type": "enabled", "budget_tokens": 1024 }));
    assert_eq!(talker.ask("/v1/messages", &asked)["content"][0]["text"], SAYS);
}
