//! Chat templates: every conversation renders as transformers renders it, and what cannot be rendered says why.
use std::path::Path;

use nemotron::text::ChatTemplate;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::root;

#[derive(Deserialize)]
struct Snapshots {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    template: String,
    context: Map<String, Value>,
    /// What transformers printed; none where it raised.
    text: Option<String>,
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn template(name: &str) -> ChatTemplate {
    if name == "storyteller" {
        return ChatTemplate::open(&root().join("models/storyteller")).unwrap();
    }
    let source = std::fs::read_to_string(root().join(format!("tests/text/templates/{name}.jinja"))).unwrap();
    let config = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "special": true}, "pad_token": null}"#;
    let files = directory(&[("chat_template.jinja", &source), ("tokenizer_config.json", config)]);
    ChatTemplate::open(files.path()).unwrap()
}

fn of_source(source: &str) -> ChatTemplate {
    opened(source).unwrap()
}

/// The template of a checkpoint whose `chat_template.jinja` is `source`.
pub fn opened(source: &str) -> nemotron::error::Result<ChatTemplate> {
    ChatTemplate::open(directory(&[("chat_template.jinja", source)]).path())
}

pub fn context(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn every_conversation_renders_as_transformers_renders_it() {
    let snapshots = std::fs::read(root().join("tests/text/templates.json")).unwrap();
    let Snapshots { rows } = serde_json::from_slice(&snapshots).unwrap();
    assert_eq!(rows.len(), 7 * 18);
    for Row { template: name, context, text } in rows {
        let rendered = template(&name).render(&context);
        match text {
            Some(text) => assert_eq!(rendered.unwrap(), text, "{name}: {context:?}"),
            None => assert!(rendered.is_err(), "{name}: {context:?} gives {rendered:?}"),
        }
    }
}

#[test]
fn a_template_that_raises_says_what_it_wants() {
    let error = template("features").render(&context(json!({"messages": []}))).unwrap_err().to_string();
    assert!(error.starts_with("[ERROR] Input: The chat template refuses the conversation\nDetails: /"), "{error}");
    assert!(error.contains("chat_template.jinja: No messages\n"), "{error}");
    let error = of_source("{{ 'x'.partition('') }}").render(&Map::new()).unwrap_err().to_string();
    assert!(error.contains("empty separator"), "{error}");
    let error = of_source("{{ messages[0].content.no_such() }}");
    let error = error.render(&context(json!({"messages": [{"content": "x"}]}))).unwrap_err().to_string();
    assert!(error.starts_with("[ERROR] Model: The chat template failed\n") && error.contains("no_such"), "{error}");
}

#[test]
fn the_time_is_now() {
    let year = || std::process::Command::new("date").arg("+%Y-%m").output().unwrap().stdout;
    let before = year();
    let rendered = of_source("{{ strftime_now('%Y-%m') }}").render(&Map::new()).unwrap();
    assert!([before, year()].iter().any(|year| year.trim_ascii() == rendered.as_bytes()), "{rendered}");
    let error = of_source("{{ strftime_now('%Q') }}").render(&Map::new()).unwrap_err().to_string();
    assert!(error.contains("%Q"), "{error}");
}

#[test]
fn the_file_wins_and_lists_have_a_template_for_tools() {
    let list =
        r#"{"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]}"#;
    let template = ChatTemplate::open(directory(&[("tokenizer_config.json", list)]).path()).unwrap();
    assert_eq!(template.render(&Map::new()).unwrap(), "plain");
    assert_eq!(template.render(&context(json!({"tools": [{}]}))).unwrap(), "tools");
    assert!(template.mentions("plain") && !template.mentions("other"));

    let both = directory(&[("tokenizer_config.json", list), ("chat_template.jinja", "file")]);
    assert_eq!(ChatTemplate::open(both.path()).unwrap().render(&Map::new()).unwrap(), "file");
}

#[test]
fn templates_that_cannot_be_opened() {
    let error = |files: &[(&str, &str)]| {
        let directory = directory(files);
        ChatTemplate::open(directory.path()).err().unwrap().to_string()
    };
    let missing = "[ERROR] Model: The model has no chat template\n";
    assert!(error(&[]).starts_with(missing));
    assert!(error(&[("tokenizer_config.json", "{}")]).starts_with(missing));
    let unusable = "[ERROR] Model: The chat template cannot be used\nDetails: /";
    assert!(error(&[("tokenizer_config.json", "{")]).starts_with(unusable));
    let syntax = error(&[("chat_template.jinja", "{% if %}")]);
    assert!(syntax.starts_with(unusable) && syntax.lines().count() == 3, "{syntax}");
    assert!(ChatTemplate::open(Path::new("no/such")).is_err());
}
