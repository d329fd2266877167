//! `--logprobs` and `--prompt-logprobs`: numbers beside the text that are probabilities, in every form of output.
use serde_json::{Value, json};

use crate::batch::batch;
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
    assert!(fault(storyteller(&["--prompt", "", "--raw", "--logprobs", "2"])).contains("The prompt is empty"));
}

/// A token's id, its log-probability, its rank, and the two best in its place.
type Foreseen = (u32, f64, u64, [u32; 2], [f64; 2]);

/// Every token behind the first of "The capital of France is": what
/// transformers' Nemotron gives in f32.
const FORESEEN: [Foreseen; 5] = [
    (517, -3.1313, 5, [4, 767], [-0.9421, -1.1228]),
    (966, 0.0, 1, [966, 1243], [0.0, -14.1068]),
    (655, 0.0, 1, [655, 1337], [0.0, -15.9426]),
    (1474, -2.9439, 6, [1537, 1471], [-2.8838, -2.8872]),
    (564, -0.0003, 1, [564, 271], [-0.0003, -8.1574]),
];

/// Checks vLLM's `prompt_logprobs`: null, then for each token an object of the token itself and of the best, by their ids.
fn check_prompt(found: &Value) {
    let found = found.as_array().expect("a list");
    assert_eq!((found.len(), &found[0]), (6, &Value::Null));
    let near = |entry: &Value, logprob: f64| (entry["logprob"].as_f64().expect("a number") - logprob).abs() < 2e-4;
    for (entries, (id, logprob, rank, best, logprobs)) in found[1..].iter().zip(FORESEEN) {
        let own = &entries[id.to_string()];
        assert!(near(own, logprob) && own["rank"] == rank && own["decoded_token"].is_string(), "{entries}");
        for (at, (id, logprob)) in best.into_iter().zip(logprobs).enumerate() {
            let entry = &entries[id.to_string()];
            assert!(near(entry, logprob) && entry["rank"] == at as u64 + 1, "{entries}");
        }
        let all = if best.contains(&id) { 2 } else { 3 };
        assert_eq!(entries.as_object().map(|entries| entries.len()), Some(all), "{entries}");
    }
}

#[test]
fn a_prompts_own_tokens_are_scored_as_transformers_scores_them() {
    let ask = ["--prompt", "The capital of France is", "--prompt-logprobs", "2"];
    let json = |arguments: &[&str]| -> Value {
        let run = storyteller(&[&ask[..], &["--json", "-q"], arguments].concat());
        assert_eq!(run.code, 0, "{run:?}");
        serde_json::from_str(run.stdout.lines().next().expect("an object")).expect("JSON")
    };
    let alone = json(&[]);
    check_prompt(&alone["prompt_logprobs"]);
    assert_eq!(alone["text"], " Paris.");
    check_prompt(&json(&["--n", "2"])["prompt_logprobs"]);

    let run = storyteller(&ask);
    let (_, table) = run.stdout.split_once("\n=== Prompt log-probabilities ===\n").expect("a table");
    let lines: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).collect();
    assert!(lines.len() == 6 && lines[0].ends_with(" logprob   rank  best"), "{run:?}");
    assert!(lines[1].contains("-3.1313      5  "), "{run:?}");
    assert_eq!(storyteller(&["--prompt", "x", "--prompt-logprobs", "21"]).code, 2);
}

#[test]
fn lines_of_a_batch_have_their_prompts_scored_among_others() {
    let own = |count: u32| json!({"prompt": "The capital of France is", "prompt_logprobs": count, "max_tokens": 8});
    let body = json!({"prompt": "The capital of France is", "prompt_logprobs": 2, "max_tokens": 8});
    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "prompt_logprobs": 0});
    let lines = [
        json!({"prompt": "Hello"}),
        own(2),
        json!({"prompt": "Hello"}),
        own(21),
        json!({"custom_id": "a", "url": "/v1/completions", "body": body}),
        json!({"custom_id": "b", "url": "/v1/chat/completions", "body": chat}),
        own(2),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let results = batch("scored.jsonl", lines, &["--max-tokens", "20"]);
    for scored in [&results[1], &results[6]] {
        check_prompt(&scored["prompt_logprobs"]);
        assert_eq!(scored["text"], " Paris.");
    }
    assert!(results[0]["prompt_logprobs"].is_null() && results[0]["text"] == results[2]["text"], "{results:?}");
    assert_eq!(results[3]["error"]["details"], "logprobs: expected 0 to 20, found 21");
    check_prompt(&results[4]["response"]["body"]["choices"][0]["prompt_logprobs"]);
    let chat = &results[5]["response"]["body"];
    let scored = chat["prompt_logprobs"].as_array().expect("a list");
    assert_eq!(Some(scored.len() as u64), chat["usage"]["prompt_tokens"].as_u64());
    assert!(scored[1..].iter().all(|entries| entries.as_object().is_some_and(|entries| entries.len() == 1)));
}
