//! Keys of generation_config.json that change the choice of tokens, against what transformers generates with them.
use serde_json::{Value, json};

use crate::checkpoint::{argument, storyteller_with};
use crate::{Run, fault, nemotron, root};

/// The demo model with `keys` in its generation_config.json, on the CPU.
fn generate(keys: &Value, arguments: &[&str]) -> Run {
    let mut file = json!({ "bos_token_id": 2, "eos_token_id": 3 });
    for (key, value) in keys.as_object().expect("keys and values") {
        file[key] = value.clone();
    }
    let directory = storyteller_with("generation_config.json", file.to_string());
    nemotron(&[&["--model", argument(directory.path()), "--device", "cpu"], arguments].concat())
}

#[test]
fn tokens_are_those_of_transformers() {
    let text = std::fs::read_to_string(root().join("tests/cli/rules.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(rows.len() >= 30);
    for row in rows {
        let (mut keys, prompt) = (row["keys"].clone(), row["prompt"].as_str().unwrap());
        if keys.get("max_new_tokens").is_none() {
            keys["max_new_tokens"] = 24.into();
        }
        let run = generate(&keys, &["--json", "--prompt", prompt]);
        assert_eq!(run.code, 0, "{keys}: {run:?}");
        assert!(!run.stderr.contains("not applied"), "{keys}: {run:?}");
        let object: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(object["ids"], row["ids"], "{keys}, {prompt}");
    }
}

#[test]
fn an_option_goes_before_the_files_length() {
    let keys = json!({ "max_new_tokens": 3 });
    let tokens = |more: &[&str]| {
        let run = generate(&keys, &[&["--json", "--quiet", "--prompt", "Once upon a time"], more].concat());
        serde_json::from_str::<Value>(&run.stdout).unwrap()["ids"].as_array().unwrap().len()
    };
    assert_eq!((tokens(&[]), tokens(&["--max-tokens", "5"])), (3, 5));
}

#[test]
fn keys_that_are_not_applied_are_named_once() {
    let run = generate(&json!({ "num_beams": 4, "typical_p": 0.9, "top_p": 0.5 }), &["--prompt", "Hello"]);
    let lines = run.stderr + &run.stdout;
    let named: Vec<&str> = lines.lines().filter(|line| line.contains("not applied")).collect();
    assert_eq!(named.len(), 2, "{lines}");
    assert!(named[0].contains("num_beams, typical_p are not applied"), "{lines}");
    assert!(named[1].contains("top_p is not applied without do_sample"), "{lines}");
}

#[test]
fn a_value_of_another_kind_is_an_error_that_names_the_key() {
    let error = fault(generate(&json!({ "bad_words_ids": [7] }), &["--prompt", "Hello"]));
    assert!(error.contains("generation_config.json: bad_words_ids: expected a list of lists"), "{error}");
    let too_many: Vec<Vec<u32>> = (0..900).map(|id| vec![id, id + 1]).collect();
    let error = fault(generate(&json!({ "bad_words_ids": too_many }), &["--prompt", "Hello"]));
    assert!(error.contains("generation_config.json") && error.contains("at most 4096 words"), "{error}");
}
