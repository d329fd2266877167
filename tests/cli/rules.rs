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
fn a_length_of_prompt_and_answer_holds_where_no_other_is_asked_for() {
    let keys = json!({ "max_length": 9 });
    let run = |more: &[&str]| generate(&keys, &[&["--json", "--quiet"], more].concat());
    let tokens = |more: &[&str]| {
        let object: Value = serde_json::from_str(&run(more).stdout).unwrap();
        (object["ids"].as_array().unwrap().len(), object["finish_reason"].clone())
    };
    // The prompt has 5 tokens.
    let prompt = ["--prompt", "Once upon a time"];
    assert_eq!(tokens(&prompt), (4, json!("length")));
    assert_eq!(tokens(&[&prompt[..], &["--max-tokens", "6"]].concat()), (6, json!("length")));
    let long = "Once upon a time there was a little fox in the forest";
    let error = fault(run(&["--prompt", long]));
    assert!(error.contains("max_length of generation_config.json lets prompt and answer have 9"), "{error}");
    assert_eq!(tokens(&["--prompt", long, "--max-tokens", "2"]).0, 2);
}

#[test]
fn one_of_several_forced_ids_is_drawn() {
    let keys = json!({ "forced_eos_token_id": [40, 41, 42], "do_sample": true, "max_new_tokens": 1 });
    let last = |seed: u64| {
        let run = generate(&keys, &["--json", "--quiet", "--prompt", "Hello", "--seed", &seed.to_string()]);
        serde_json::from_str::<Value>(&run.stdout).unwrap()["ids"][0].as_u64().unwrap()
    };
    let drawn: Vec<u64> = (0..12).map(last).collect();
    assert!(
        [40, 41, 42].iter().all(|id| drawn.contains(id)) && drawn.iter().all(|id| (40..=42).contains(id)),
        "{drawn:?}"
    );
    assert_eq!(last(3), drawn[3]);
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
