//! Files beside tokenizer.json: ids, text and templates equal transformers'; and what is no such file is named.
use std::collections::BTreeMap;
use std::path::Path;

use nemotron::text::{ChatTemplate, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::root;

#[derive(Deserialize)]
struct Table {
    texts: Vec<String>,
    template: String,
    cases: BTreeMap<String, Case>,
}

/// What transformers made of one set of files.
#[derive(Deserialize)]
struct Case {
    files: BTreeMap<String, Value>,
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
    rendered: String,
    eos: Option<u32>,
}

fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("tests/text/llama3/tokenizer.json"), directory.path().join("tokenizer.json")).unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    directory
}

#[test]
fn special_and_added_tokens_are_those_of_transformers() {
    let table = std::fs::read(root().join("tests/text/special_tokens.json")).unwrap();
    let Table { texts, template, cases } = serde_json::from_slice(&table).unwrap();
    assert!(cases.len() >= 20 && texts.len() >= 4);
    for (name, case) in cases {
        let directory = directory(&[("chat_template.jinja", template.as_bytes())]);
        for (file, content) in &case.files {
            std::fs::write(directory.path().join(file), content.to_string()).unwrap();
        }
        let tokenizer = Tokenizer::open(directory.path()).unwrap();
        for ((text, ids), decoded) in texts.iter().zip(&case.ids).zip(&case.decoded) {
            assert_eq!(&tokenizer.encode(text, false).unwrap(), ids, "{name}: {text:?}");
            assert_eq!(&tokenizer.decode(ids).unwrap(), decoded, "{name}: {text:?}");
        }
        assert_eq!(tokenizer.eos(), case.eos, "{name}");
        let context: Map<String, Value> = Map::from_iter([("messages".to_owned(), json!([]))]);
        let rendered = ChatTemplate::open(directory.path()).unwrap().render(&context).unwrap();
        assert_eq!(rendered, case.rendered, "{name}");
    }
}

#[test]
fn a_folder_of_templates_comes_before_those_of_the_config() {
    let config = json!({ "chat_template": "config {{ bos_token }}", "bos_token": "<s>" }).to_string();
    let rendered = |files: &[(&str, &[u8])], tools: Value| {
        let directory = directory(files);
        let context = [("messages".to_owned(), json!([])), ("tools".to_owned(), tools)];
        ChatTemplate::open(directory.path()).and_then(|template| template.render(&Map::from_iter(context)))
    };
    let config = ("tokenizer_config.json", config.as_bytes());
    let default = ("chat_template.jinja", &b"file {{ bos_token }}"[..]);
    let tools = ("additional_chat_templates/tool_use.jinja", &b"tools {{ bos_token }}"[..]);
    assert_eq!(rendered(&[config], Value::Null).unwrap(), "config <s>");
    assert_eq!(rendered(&[config, default], Value::Null).unwrap(), "file <s>");
    assert_eq!(rendered(&[config, default, tools], Value::Null).unwrap(), "file <s>");
    assert_eq!(rendered(&[config, default, tools], json!([{}])).unwrap(), "tools <s>");
    let alone = ("additional_chat_templates/default.jinja", &b"folder {{ bos_token }}"[..]);
    assert_eq!(rendered(&[config, alone], Value::Null).unwrap(), "folder <s>");
    assert_eq!(rendered(&[config, tools], Value::Null).unwrap_err().message(), "The model has no chat template");
}

/// Each file and its content, and what the error has to say about it.
const FAULTS: [(&str, &[u8], &str); 15] = [
    ("tokenizer_config.json", b"", "tokenizer_config.json is not valid JSON"),
    ("tokenizer_config.json", b"\xEF\xBB\xBF{}", "byte order mark"),
    ("tokenizer_config.json", b"[]", "expected an object, found a list"),
    ("tokenizer_config.json", b"{\"bos_token\": 3}", "bos_token: expected a text or an object, found a number"),
    ("tokenizer_config.json", b"{\"eos_token\": {\"lstrip\": true}}", "eos_token.content: expected a text, found null"),
    ("tokenizer_config.json", b"{\"added_tokens_decoder\": []}", "added_tokens_decoder: expected an object"),
    ("tokenizer_config.json", b"{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}", "\"x\" is no token id"),
    ("tokenizer_config.json", b"{\"added_tokens_decoder\": {\"7\": \"a\"}}", "found a text"),
    ("tokenizer_config.json", b"{\"extra_special_tokens\": 1}", "extra_special_tokens: expected a list or an object"),
    ("tokenizer_config.json", b"{\"additional_special_tokens\": [1]}", "expected a text or an object, found a number"),
    (
        "special_tokens_map.json",
        b"{\"bos_token\": {\"content\": \"<s>\", \"lstrip\": 1}}",
        "bos_token.lstrip: expected true",
    ),
    ("special_tokens_map.json", b"{", "the file ends in the middle of line 1"),
    ("added_tokens.json", b"{\"<a>\": \"1\"}", "<a>: expected a token id, found a text"),
    ("added_tokens.json", b"{\"<a>\": -1}", "<a>: expected a token id, found a number"),
    ("added_tokens.json", b"nul", "added_tokens.json is not valid JSON"),
];

#[test]
fn files_that_describe_no_tokens_are_named_with_the_place() {
    for (name, content, expected) in FAULTS {
        let error = Tokenizer::open(directory(&[(name, content)]).path()).err().expect(expected).to_string();
        assert!(error.starts_with("[ERROR] Tokenizer: ") && error.lines().count() == 3, "{error}");
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
}

/// The demo's tokenizer with one part replaced, and what the error says of it.
#[test]
fn a_part_of_tokenizer_json_that_cannot_be_used_is_named() {
    let file = std::fs::read(root().join("tests/text/llama3/tokenizer.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    let replace = |content: &str| json!({ "type": "Replace", "pattern": { "String": "a" }, "content": content });
    let doubling = json!({ "type": "Sequence", "normalizers": vec![replace("aa"); 40] });
    let nested = json!({ "type": "Sequence", "normalizers": [doubling, doubling] });
    let expression = json!({ "type": "Replace", "pattern": { "Regex": "" }, "content": "x".repeat(300) });
    let undecodable = json!({ "type": "Sequence", "decoders": vec![replace("aa"); 40] });
    for (part, value, expected) in [
        ("decoder", json!({ "type": "Nonsense" }), "its decoder of the type \"Nonsense\" is not known"),
        ("normalizer", json!([]), "its normalizer has no known type, or lacks a part: found a list"),
        ("model", json!({ "type": "BPE" }), "its model of the type \"BPE\" is not known, or lacks a part"),
        ("pre_tokenizer", json!({ "type": "Split" }), "its pre_tokenizer of the type \"Split\""),
        ("added_tokens", json!([{ "id": 1 }]), "a token of \"added_tokens\" lacks a part"),
        (
            "normalizer",
            doubling.clone(),
            "the replacements of its normalizer may make a text 1099511627776 times as long",
        ),
        ("normalizer", nested.clone(), "the replacements of its normalizer"),
        ("normalizer", expression.clone(), "times as long, at most 256 is allowed"),
        ("decoder", undecodable.clone(), "the replacements of its decoder"),
    ] {
        let mut changed = file.clone();
        changed[part] = value;
        let directory = directory(&[("tokenizer.json", changed.to_string().as_bytes())]);
        let error = Tokenizer::open(directory.path()).err().expect(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("untagged") && !error.contains("variant"), "{error}");
    }
}

#[test]
fn a_folder_in_a_files_place_is_named() {
    let directory = directory(&[]);
    std::fs::create_dir(Path::new(directory.path()).join("tokenizer_config.json")).unwrap();
    let error = Tokenizer::open(directory.path()).err().unwrap();
    assert_eq!(error.message(), "tokenizer_config.json cannot be read");
}
