//! `tokenize` and `detokenize`: what the tokenizers library gives for the demo model.
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::checkpoint::argument;
use crate::{Run, command, fault, nemotron};

const MODEL: [&str; 2] = ["-m", "models/storyteller"];

/// A text and its ids by tokenizers 0.23.3, what stands in front of it first.
const FOX: (&str, [u32; 12]) = ("caf\u{e9} \u{1f98a}\nend", [2, 660, 302, 201, 175, 323, 246, 165, 172, 144, 262, 505]);

fn tokenize(arguments: &[&str]) -> Value {
    let run = nemotron(&[&["tokenize"], &MODEL[..], arguments, &["--json"]].concat());
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

fn fed(arguments: &[&str], input: &str) -> Run {
    let mut child = command();
    child.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_texts_ids_and_pieces() {
    let (text, ids) = FOX;
    let object = tokenize(&["-p", text]);
    assert_eq!((&object["ids"], &object["count"]), (&json!(ids), &json!(12)));
    assert_eq!((&object["pieces"][0], &object["pieces"][1]), (&json!("<s>"), &json!(" ca")));
    assert_eq!(tokenize(&["--raw", "-p", text])["ids"], json!(ids[1..]));
    // What stands in front of a text is there without one too.
    assert_eq!(tokenize(&["-p", ""])["ids"], json!(ids[..1]));
    assert_eq!(tokenize(&["--raw", "-p", ""])["ids"], json!([]));
    let table = fed(&["tokenize", "-m", "models/storyteller"], "Hello,\n");
    assert_eq!(table.stdout, "       2  \"<s>\"\n    1248  \" Hello\"\n     265  \",\"\n", "{table:?}");
    let asked = tokenize(&["--chat", "-p", "Hello"]);
    assert!(asked["count"].as_u64().unwrap() > 4, "the template stands around the question: {asked}");
}

#[test]
fn a_file_has_its_mark_and_last_line_end_left_out_and_no_more() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "\u{feff}one\r\ntwo\r\n").unwrap();
    assert_eq!(tokenize(&["-f", argument(file.path())]), tokenize(&["-p", "one\r\ntwo"]));
}

#[test]
fn ids_become_their_text_again() {
    let (text, ids) = FOX;
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = nemotron(&[&["detokenize"], &MODEL[..], &words].concat());
    assert_eq!(run.stdout, format!("{text}\n"), "{run:?}");
    let run = fed(&[&["detokenize", "--special"], &MODEL[..]].concat(), &json!(ids).to_string());
    assert_eq!(run.stdout, format!("<s> {text}\n"), "{run:?}");
    let error = fault(nemotron(&[&["detokenize"], &MODEL[..], &["1", "2178"]].concat()));
    assert!(error.contains("found 2178; tokenizer.json has 2178 tokens"), "{error}");
    assert!(fault(nemotron(&[&["detokenize"], &MODEL[..], &["x"]].concat())).contains("found x"));
}
