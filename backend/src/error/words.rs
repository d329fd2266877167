//! Plain words for what serde says of a JSON value that is not what it should be.

/// `text` with serde's own terms replaced: "invalid type: map, expected a string" is "expected a string, found an object".
pub fn plain(text: String) -> String {
    let text = text.replace("EOF while parsing a", "the JSON ends within a");
    if !text.contains("invalid ") && !text.contains("enum ") && !text.contains("unknown variant") {
        return text;
    }
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, found, expected, after)) = mismatch(rest) {
        plain += &format!("{before}expected {}, found {}", name(expected), name(found));
        rest = after;
    }
    without_enums(&(plain + rest)).replace("unknown variant", "unknown value")
}

/// The first mismatch in `text`: what stands in front, what was found, what was expected, and what follows.
fn mismatch(text: &str) -> Option<(&str, &str, &str, &str)> {
    let starts = ["invalid type: ", "invalid value: "];
    let (at, start) = starts.iter().filter_map(|start| Some((text.find(start)?, start))).min()?;
    let (found, rest) = text[at + start.len()..].split_once(", expected ")?;
    let end = [" at line ", "; ", ")"].iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    Some((&text[..at], found, &rest[..end], &rest[end..]))
}

/// What JSON calls a value or a type of Rust.
fn name(term: &str) -> String {
    let number = |literal: &str| format!("the number {}", literal.trim_matches('`'));
    match term.split_once(' ') {
        Some(("integer" | "number", literal)) => return number(literal),
        Some(("floating", literal)) => return number(literal.trim_start_matches("point ")),
        Some(("boolean", literal)) => return literal.trim_matches('`').to_owned(),
        Some(("string", literal)) => return format!("the text {literal}"),
        Some(("struct", _)) => return "an object".into(),
        _ => {}
    }
    match term {
        "map" | "a map" => "an object",
        "sequence" | "a sequence" => "a list",
        "null" | "unit" | "unit value" => "null",
        "a string" | "a borrowed string" | "string" => "a text",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0 on",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        other => other,
    }
    .to_owned()
}

/// The names of this program's types and of its libraries' say nothing to a user.
fn without_enums(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("data did not match any variant of untagged enum ") {
        plain += before;
        plain += "a value has none of the forms that are known here";
        rest = after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only its errors are wanted")]
    struct Line {
        #[serde(default)]
        text: String,
        #[serde(default)]
        count: usize,
        #[serde(default)]
        share: f32,
        #[serde(default)]
        list: Vec<u8>,
        #[serde(default)]
        flag: bool,
        #[serde(default)]
        either: Option<Either>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[allow(dead_code, reason = "only its errors are wanted")]
    enum Either {
        One(String),
        Several(Vec<String>),
    }

    #[test]
    fn what_serde_says_is_said_in_jsons_words() {
        for (json, said) in [
            (r#"{"text": {}}"#, "expected a text, found an object at line 1 column 9"),
            (r#"{"text": 5}"#, "expected a text, found the number 5 at line 1 column 10"),
            (r#"{"count": -1}"#, "expected a whole number from 0 on, found the number -1 at line 1 column 12"),
            (r#"{"count": 1.5}"#, "expected a whole number from 0 on, found the number 1.5 at line 1 column 13"),
            (r#"{"count": "x"}"#, "expected a whole number from 0 on, found the text \"x\" at line 1 column 13"),
            (r#"{"share": true}"#, "expected a number, found true at line 1 column 14"),
            (r#"{"list": null}"#, "expected a list, found null at line 1 column 13"),
            (r#"{"flag": []}"#, "expected true or false, found a list at line 1 column 9"),
            ("[1, 2]x", ""),
            (r#"{"text":"#, "the JSON ends within a value at line 1 column 8"),
            (r#"{"either": 7}"#, "a value has none of the forms that are known here at line 1 column 13"),
            ("5", "expected an object, found the number 5 at line 1 column 1"),
        ] {
            let error = plain(serde_json::from_str::<Line>(json).unwrap_err().to_string());
            assert!(said.is_empty() || error == said, "{json}: {error}");
            assert!(
                !["invalid", "struct", "enum", "usize", "u8", "map"].iter().any(|word| error.contains(word)),
                "{error}"
            );
        }
        let kept = "an invalid prompt: found x";
        assert_eq!(plain(kept.to_owned()), kept);
    }
}
