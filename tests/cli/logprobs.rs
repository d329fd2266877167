//! `--logprobs`: numbers beside the text that are probabilities, in every form of output.
use serde_json::Value;

use crate::checkpoint::argument;
use crate::{fault, storyteller};

const CAPITAL: [&str; 5] = ["--prompt", "The capital of France is", "--logprobs", "3", "-q"];

fn objects(arguments: &[&str]) -> Vec<Value> {
    let run = storyteller(&[&CAPITAL[..], arguments].concat());
    assert_eq!(run.code, 0, "{run:?}");
    run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Each token's own log-probability and those of the best, checked for what all of them must be.
fn check(object: &Value, count: usize) {
    let rows = object["logprobs"].as_array().expect("log-probabilities");
    assert_eq!(rows.len(), object["ids"].as_array().expect("ids").len());
    for (row, id) in rows.iter().zip(object["ids"].as_array().expect("ids")) {
        assert_eq!(&row["id"], id);
        let best = row["top_logprobs"].as_array().expect("a list");
        let logprobs: Vec<f64> = best.iter().map(|token| token["logprob"].as_f64().expect("a number")).collect();
        assert_eq!(best.len(), count);
        assert!(logprobs.is_sorted_by(|a, b| a >= b) && logprobs.iter().all(|x| *x <= 0.0), "{object}");
        assert!(logprobs.iter().map(|x| x.exp()).sum::<f64>() < 1.0 + 1e-9, "{object}");
        assert!(logprobs.first().is_none_or(|first| row["logprob"].as_f64() <= Some(*first)), "{object}");
    }
}

#[test]
fn json_has_the_chosen_token_and_the_best() {
    let objects = objects(&["--json"]);
    check(&objects[0], 3);
    let row = &objects[0]["logprobs"][0];
    assert_eq!((&row["token"], &row["token"]), (&" Paris".into(), &row["top_logprobs"][0]["token"]));
    assert_eq!(objects[0]["logprobs"][2]["token"], "</s>", "the token that ends a text has its name");
    assert!(row["logprob"].as_f64().unwrap() > -0.5, "{row}");
}

#[test]
fn penalties_and_temperature_do_not_change_them() {
    let first = |arguments: &[&str]| objects(&[&["--json", "--max-tokens", "1"], arguments].concat())[0].clone();
    let best = |object: &Value| object["logprobs"][0]["top_logprobs"].clone();
    let plain = best(&first(&[]));
    let warm = ["--temperature", "5", "--top-k", "40", "--seed", "3"];
    assert_eq!(best(&first(&warm)), plain);
    let id = plain[0]["id"].to_string();
    let banned = first(&["--repeat-penalty", "1.5", "--logit-bias", &format!("{id}=-100")]);
    assert_eq!(best(&banned), plain);
    assert_ne!(banned["ids"][0], plain[0]["id"], "the choice itself obeys the bias");
}

#[test]
fn completions_and_batches_have_them_too() {
    let several = objects(&["--json", "--n", "2", "--temperature", "1", "--seed", "4"]);
    several.iter().for_each(|object| check(object, 3));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines.jsonl");
    let lines = ["{}", "{\"logprobs\": 0}", "{\"logprobs\": 21}"];
    let lines = lines.map(|line| line.replace('{', "{\"prompt\": \"Hello\", \"max_tokens\": 4, ").replace(", }", "}"));
    std::fs::write(&path, lines.join("\n")).expect("a file");
    let run = storyteller(&["--batch", argument(&path), "--logprobs", "2"]);
    let results: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    check(&results[0], 2);
    check(&results[1], 0);
    assert_eq!(results[2]["error"]["details"], "logprobs: expected 0 to 20, found 21");
    let run = storyteller(&["--prompt", "Hello", "--json", "--max-tokens", "2"]);
    assert!(!run.stdout.contains("logprobs"), "nobody asked: {run:?}");
}

#[test]
fn a_table_follows_the_text() {
    let quiet = storyteller(&CAPITAL);
    assert_eq!(quiet.stdout, " Paris.\n", "--quiet leaves the text alone on stdout: {quiet:?}");
    assert!(quiet.stderr.starts_with("\n=== Log-probabilities ===\ntoken "), "{quiet:?}");
    let run = storyteller(&CAPITAL[..4]);
    let (frame, _) = run.stdout.split_once("\n\n=== Statistics ===\n").expect("a frame");
    let (_, output) = frame.split_once("Output: ").expect("a frame");
    let (text, table) = output.split_once("\n\n=== Log-probabilities ===\n").expect("a table");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((text, lines.len()), (" Paris.", 4), "{run:?}");
    assert!(lines[0].starts_with("token ") && lines[0].ends_with(" logprob  best"), "{run:?}");
    assert!(lines[1].starts_with("\" Paris\" ") && lines[1].contains("  \" Paris\" -0."), "{run:?}");
    let run = storyteller(&["--prompt", "x", "--logprobs", "21"]);
    assert!(run.code == 2 && run.stderr.contains("expected 0 to 20"), "{run:?}");
    assert!(fault(storyteller(&["--prompt", "", "--logprobs", "2"])).contains("The prompt is empty"));
}
