//! JSON is read and written as Python's module does.
use super::*;
use serde_json::json;

#[test]
fn words_are_read_where_python_reads_them() {
    for (text, expected) in [
        ("[NaN, Infinity, -Infinity]", json!(["NaN", "Infinity", "-Infinity"])),
        ("{\"a\":Infinity}", json!({"a": "Infinity"})),
        ("-Infinity\n", json!("-Infinity")),
        (
            r#"{"a \" NaN": [NaN], "b": "Infinity, -Infinity"}"#,
            json!({"a \" NaN": ["NaN"], "b": "Infinity, -Infinity"}),
        ),
        ("[1e999, -1E+400, 1e5]", json!(["Infinity", "-Infinity", 1e5])),
    ] {
        assert_eq!(parse::<Value>(text.as_bytes()).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_is_written_again_keeps_its_words() {
    let text_of = |bytes: &[u8]| text(&parse_to_write(bytes).unwrap());
    let config = br#"{"limit": [0.0, Infinity, -Infinity, 1e999], "name": "Infinity", "none": NaN}"#;
    let written: String = text_of(config).split_whitespace().collect();
    assert_eq!(written, r#"{"limit":[0.0,Infinity,-Infinity,Infinity],"name":"Infinity","none":NaN}"#);
    assert_eq!(text_of(b"{}"), "{}\n");
}

#[test]
fn what_python_refuses_is_refused() {
    for text in [
        "nan",
        "Inf",
        "infinity",
        "+Infinity",
        "-NaN",
        "Infinity1",
        "NaN NaN",
        "{NaN: 1}",
        "{\"a\": NaN,}",
        "[NaN",
        "\"NaN",
    ] {
        assert!(parse::<Value>(text.as_bytes()).is_err(), "{text}");
    }
}
