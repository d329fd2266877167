//! `--batch`: what a line may be, what comes out for it, and lines that are none.
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::batch::batch;
use crate::checkpoint::argument;
use crate::{Run, command, fault, storyteller};

const FRANCE: &str = "The capital of France is";
const ANSWER: &str = "Hello, Ada! Would you like to hear a story?";

fn texts(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["text"].as_str().unwrap_or("none")).collect()
}

#[test]
fn each_line_is_judged_by_itself() {
    let object = json!({ "prompt": FRANCE });
    for first in ["", "\r\n\n", "# a comment\n", "[INST] x\n"] {
        let content = format!("\u{feff}{first}  {object} \r\n\n{FRANCE}\r\n{object}\n");
        let results = batch("mixed.jsonl", content, &["--max-tokens", "8"]);
        assert_eq!(texts(&results[results.len() - 3..]), [" Paris."; 3], "{first:?}");
        assert_eq!(results.len(), 3 + usize::from(!first.trim().is_empty()), "{first:?}");
    }
    let results = batch("array.txt", format!("{FRANCE}\n[\"Hello\", 1]\n"), &["--max-tokens", "8"]);
    let details = results[1]["error"]["details"].as_str().expect("details");
    assert!(details.contains("line 2: it is a JSON array"), "{details}");
}

#[test]
fn an_array_is_refused_before_anything_is_loaded() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for content in ["[{\"prompt\": \"Hello\"}]", "\u{feff}\n[\n  {\"prompt\": \"Hello\"}\n]\n"] {
        std::fs::write(file.path(), content).expect("a file");
        let run = storyteller(&["--batch", argument(file.path())]);
        assert!(!run.stderr.contains("Loading"), "{run:?}");
        let error = fault(run);
        assert!(error.starts_with("[ERROR] Input: The batch is a JSON array\n"), "{error}");
    }
}

#[test]
fn a_directory_is_one_error_and_a_pipe_with_a_name_is_read() {
    let directory = tempfile::tempdir().expect("a folder");
    for folder in ["/", argument(directory.path())] {
        let run = storyteller(&["--batch", folder]);
        assert_eq!(run.stdout, "");
        let error = fault(run);
        assert!(error.contains("The batch cannot be read") && error.contains("it is a directory"), "{error}");
    }
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there").success());
    let (path, writer) = (pipe.clone(), pipe.clone());
    let writer = std::thread::spawn(move || std::fs::write(writer, format!("{FRANCE}\n")));
    let run = storyteller(&["--batch", argument(&path), "--max-tokens", "8"]);
    writer.join().expect("no panic").expect("somebody reads");
    assert!(run.code == 0 && run.stdout.contains("\"text\":\" Paris.\""), "{run:?}");
}

#[test]
fn a_line_that_no_context_holds_is_refused_and_the_next_is_answered() {
    let mut command = command();
    command.args(["--model", "models/storyteller", "--device", "cpu", "--batch", "-", "--max-tokens", "8"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = child.stdin.take().expect("a pipe");
    let megabyte = "x".repeat(1_000_000);
    for _ in 0..80 {
        lines.write_all(megabyte.as_bytes()).expect("somebody reads");
    }
    write!(lines, "\n{FRANCE}\n").expect("somebody reads");
    drop(lines);
    let run = Run::from(child.wait_with_output().expect("it ends"));
    let results: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let details = results[0]["error"]["details"].as_str().expect("details");
    assert!(details.starts_with("stdin, line 1: it has 80.0 MB, a line may have 7.3 MB"), "{details}");
    assert_eq!((run.code, texts(&results)[1]), (1, " Paris."));
}

#[test]
fn names_are_given_back() {
    let lines = [
        json!({"id": "a", "prompt": FRANCE}),
        json!({"custom_id": 7, "id": null, "prompt": FRANCE}),
        json!({"id": "c", "prompt": 3}),
        json!({"prompt": FRANCE, "echo": true}),
    ];
    let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let results = batch("names.jsonl", content, &["--max-tokens", "8"]);
    let names: Vec<_> = results.iter().map(|result| (&result["id"], &result["custom_id"])).collect();
    assert_eq!(names[..3], [(&json!("a"), &Value::Null), (&Value::Null, &json!(7)), (&json!("c"), &Value::Null)]);
    assert!(results[1].get("id").is_some() && results[3].get("id").is_none());
    assert_eq!(results[3]["text"], format!("{FRANCE} Paris."));
}

#[test]
fn saved_conversations_are_answered_on_one_line_or_on_several() {
    let talk = json!({"messages": [{"role": "user", "content": "Hello, my name is Ada."}]});
    let parts =
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello, my name is Ada."}]}]});
    let results = batch("talks.json", format!("{talk:#}\n{parts}\n{talk}\n{talk:#}"), &[]);
    assert_eq!(texts(&results), [ANSWER; 4]);
    let image = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]});
    let results = batch("image.jsonl", format!("{image}\n"), &[]);
    let details = results[0]["error"]["details"].as_str().expect("details");
    assert!(details.contains("messages[0].content[0]: a part of type \"image_url\" is no text"), "{details}");
}

/// A request of OpenAI's batch format.
fn request(custom_id: &str, url: &str, body: Value) -> Value {
    json!({"custom_id": custom_id, "method": "POST", "url": url, "body": body})
}

#[test]
fn openais_batches_are_answered_in_their_own_form() {
    let messages = json!([{"role": "user", "content": "Hello, my name is Ada."}]);
    let lines = [
        request(
            "a",
            "/v1/chat/completions",
            json!({"model": "any", "messages": messages, "logprobs": true, "top_logprobs": 2}),
        ),
        request("b", "/v1/completions", json!({"model": "any", "prompt": FRANCE, "max_tokens": 2, "logprobs": 1})),
        request("c", "/v1/completions", json!({"model": "any", "prompt": FRANCE, "n": 3})),
        request("d", "/v1/embeddings", json!({"model": "any", "input": "x"})),
    ];
    let content: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let results = batch("openai.jsonl", content, &[]);
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert!(results.iter().all(|result| keys(result) == ["id", "custom_id", "response", "error"]), "{results:?}");
    let names: Vec<_> = results.iter().map(|result| result["custom_id"].as_str().expect("a text")).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let bodies: Vec<&Value> = results.iter().map(|result| &result["response"]["body"]).collect();
    let codes: Vec<_> = results.iter().map(|result| result["response"]["status_code"].as_u64()).collect();
    assert_eq!(codes, [Some(200), Some(200), Some(400), Some(400)]);

    let (chat, choice) = (bodies[0], &bodies[0]["choices"][0]);
    assert_eq!((&chat["object"], &chat["model"]), (&json!("chat.completion"), &json!("models/storyteller")));
    assert_eq!(choice["message"], json!({"role": "assistant", "content": ANSWER, "refusal": null}));
    assert_eq!((&choice["finish_reason"], &choice["index"]), (&json!("stop"), &json!(0)));
    let [prompt, completion, total] = ["prompt_tokens", "completion_tokens", "total_tokens"]
        .map(|name| chat["usage"][name].as_u64().expect("a number"));
    assert_eq!(prompt + completion, total);
    let content = choice["logprobs"]["content"].as_array().expect("a list");
    assert_eq!(content.len() as u64, completion);
    assert!(content.iter().all(|token| token["top_logprobs"].as_array().is_some_and(|best| best.len() == 2)));

    let (plain, choice) = (bodies[1], &bodies[1]["choices"][0]);
    assert_eq!((&plain["object"], &choice["text"]), (&json!("text_completion"), &json!(" Paris.")));
    assert_eq!((&choice["finish_reason"], &plain["usage"]["completion_tokens"]), (&json!("length"), &json!(2)));
    assert_eq!(choice["logprobs"]["token_logprobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(choice["logprobs"]["text_offset"][0], 0);
    assert!(
        bodies[2]["error"]["message"].as_str().is_some_and(|message| message.contains("body.n: expected 1, found 3"))
    );
    assert!(results[3]["error"]["message"].as_str().is_some_and(|message| message.contains("/v1/embeddings")));
}
