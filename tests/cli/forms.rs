//! Forms of answers on the command line: schemas, expressions, choices, grammars.
use serde_json::{Value, json};

use crate::batch::batch;
use crate::{fault, nemotron};

const BASE: [&str; 9] =
    ["generate", "--model", "models/storyteller", "--device", "cpu", "--quiet", "--max-tokens", "300", "--prompt"];

fn ask(form: &[&str]) -> crate::Run {
    nemotron(&[&BASE[..], &["Once upon a time"], form].concat())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// JSON of this schema.
const SCHEMA: &str = r#"{"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
    "age": {"type": "integer", "minimum": 1, "maximum": 99}}, "required": ["name", "age"], "additionalProperties": false}"#;

fn is_right(text: &str) -> bool {
    let object: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    object["name"].as_str().unwrap().chars().count() <= 8 && (1..=99).contains(&object["age"].as_i64().unwrap())
}

#[test]
fn an_answer_has_the_form_that_is_asked_for() {
    let schema = file(SCHEMA);
    let schema = ["--json-schema", schema.path().to_str().unwrap()];
    for seed in ["1", "2"] {
        assert!(is_right(&ask(&[&schema[..], &["--temperature", "1", "--seed", seed]].concat()).stdout));
    }
    assert!(is_right(&ask(&schema).stdout));
    assert_eq!(ask(&["--choice", "yes", "--choice", "yes indeed"]).stdout.trim_end().get(..3), Some("yes"));
    let date = ask(&["--regex", "^[0-9]{4}-[0-9]{2}$"]).stdout;
    assert!(date.trim_end().len() == 7 && date.as_bytes()[4] == b'-', "{date}");
    let grammar = file("start: \"a\" (\"b\" | start)");
    let text = ask(&["--grammar", grammar.path().to_str().unwrap()]).stdout;
    assert!(
        text.trim_end().trim_start_matches('a') == "b" || text.trim_end().bytes().all(|byte| byte == b'a'),
        "{text}"
    );
}

#[test]
fn what_is_no_form_is_said() {
    for (text, option, said) in [
        ("{", "--json-schema", "The JSON schema cannot be read"),
        (r#"{"if": {}, "type": "object"}"#, "--json-schema", "\"if\""),
        ("root ::= \"a\"", "--grammar", "GBNF"),
    ] {
        let file = file(text);
        let error = fault(ask(&[option, file.path().to_str().unwrap()]));
        assert!(error.contains(said), "{error}");
    }
    assert!(fault(ask(&["--regex", "(a"])).contains("unclosed group"));
    assert!(fault(ask(&["--json-schema", "no/such"])).contains("The JSON schema cannot be read"));
    for options in [
        &["--prompt-file", "-", "--json-schema", "-"][..],
        &["--batch", "-", "--grammar", "-"],
        &["--chat", "--prompt", "A", "--tools", "-", "--grammar", "-"],
    ] {
        let error = fault(nemotron(&[&["--model", "models/storyteller"], options].concat()));
        assert!(error.contains("Two options read stdin") && error.contains(" and for the "), "{error}");
    }
    let both = ask(&["--regex", "a", "--choice", "a"]);
    assert!(both.code == 2 && both.stderr.contains("cannot be used with"), "{both:?}");
}

#[test]
fn each_line_of_a_batch_has_a_form_of_its_own() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let lines = [
        json!({ "prompt": "A", "max_tokens": 300, "structured_outputs": { "json": schema } }),
        json!({ "prompt": "A", "max_tokens": 9, "structured_outputs": { "choice": ["tea", "milk"] } }),
        json!({ "prompt": "A", "max_tokens": 9, "response_format": { "type": "xml" } }),
        json!({ "prompt": "A", "max_tokens": 9, "structured_outputs": { "regex": "(" } }),
        json!({ "custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": {
            "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 300,
            "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } } } }),
    ];
    let results = batch("forms", lines.map(|line| line.to_string()).join("\n"), &[]);
    let text = |index: usize| results[index]["text"].as_str().unwrap_or_else(|| panic!("{}", results[index]));
    assert!(is_right(text(0)) && ["tea", "milk"].contains(&text(1)));
    assert!(results[2]["error"].to_string().contains("response_format.type: expected"), "{}", results[2]);
    assert!(results[3]["error"].to_string().contains("unclosed group"), "{}", results[3]);
    let answer = &results[4]["response"]["body"]["choices"][0]["message"]["content"];
    assert!(is_right(answer.as_str().unwrap_or_else(|| panic!("{}", results[4]))));
}
