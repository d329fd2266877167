//! The JSON value of an argument that stands as bare text, by the schema of its function.
use serde_json::Value;

/// How deep a schema is looked into: references may run in circles.
const MOST_DEPTH: usize = 16;

/// How many parts of a schema are looked at: each may name others.
const MOST_PARTS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Null,
    Object,
    Array,
}

/// The value of the argument `key`, as JSON. The first type of the schema that `text` is a value of decides; what is a value of
/// none is a text.
pub(super) fn value(text: &str, key: &str, schema: &Value) -> String {
    let mut kinds = Vec::new();
    let mut parts = MOST_PARTS;
    collect(&schema["properties"][key], schema, (MOST_DEPTH, &mut parts), &mut kinds);
    let bare = text.trim();
    let is_null = bare.eq_ignore_ascii_case("null") || bare == "None";
    let may_be_null = kinds.contains(&Kind::Null) || !kinds.is_empty() && !kinds.contains(&Kind::Text);
    if is_null && may_be_null {
        return "null".to_owned();
    }
    let found = kinds.into_iter().find_map(|kind| read(kind, text, bare));
    found.unwrap_or_else(|| quoted(text))
}

/// `text` as a JSON text.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn read(kind: Kind, text: &str, bare: &str) -> Option<String> {
    match kind {
        Kind::Text => Some(quoted(text)),
        Kind::Null => None,
        Kind::Boolean => {
            let word = bare.to_ascii_lowercase();
            matches!(word.as_str(), "true" | "false").then_some(word)
        }
        Kind::Number => number(bare),
        Kind::Integer => integer(bare),
        Kind::Object => json(bare).filter(|json| json.starts_with('{')),
        Kind::Array => json(bare).filter(|json| json.starts_with('[')),
    }
}

/// `text`, if it is JSON whose values readers can hold: 1e999 is no number, and nobody nests deeper than serde_json.
fn json(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text).is_ok().then(|| text.trim().to_owned())
}

/// A number with all its digits. Python writes some that are no JSON, such as `.5`.
fn number(text: &str) -> Option<String> {
    let is_json = || json(text).filter(|json| json.starts_with(|first: char| first == '-' || first.is_ascii_digit()));
    is_json().or_else(|| {
        let digits = text.starts_with(|first: char| matches!(first, '0'..='9' | '+' | '-' | '.'));
        let number = text.parse::<f64>().ok().filter(|number| digits && number.is_finite())?;
        Some(Value::from(number).to_string())
    })
}

fn integer(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = number(text)?;
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && !number.contains('.') {
        return Some(number);
    }
    // 5.0 is a whole number too.
    let value = number.parse::<f64>().ok()?;
    (value.fract() == 0.0 && value.abs() < 9e15).then(|| (value as i64).to_string())
}

/// The types that a schema allows, in its order.
fn collect(schema: &Value, root: &Value, (depth, parts): (usize, &mut usize), kinds: &mut Vec<Kind>) {
    let (Some(depth), Some(left)) = (depth.checked_sub(1), parts.checked_sub(1)) else { return };
    *parts = left;
    let before = kinds.len();
    match &schema["type"] {
        Value::String(name) => kinds.push(named(name)),
        Value::Array(names) => kinds.extend(names.iter().filter_map(Value::as_str).map(named)),
        _ => {}
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        for one in schema[word].as_array().into_iter().flatten() {
            collect(one, root, (depth, parts), kinds);
        }
    }
    if let Some(place) = schema["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
        root.pointer(place).into_iter().for_each(|schema| collect(schema, root, (depth, parts), kinds));
    }
    if kinds.len() > before {
        return;
    }
    kinds.extend(schema["enum"].as_array().into_iter().flatten().map(of_value));
    kinds.extend(schema.get("const").map(of_value));
    kinds.extend(schema.get("properties").map(|_| Kind::Object));
    kinds.extend(schema.get("items").map(|_| Kind::Array));
}

/// The type of that name. Schemas are written by hand, and in the words of other languages.
fn named(name: &str) -> Kind {
    let name = name.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    match name.as_str() {
        _ if begins(&["int", "uint", "long", "short", "unsigned"]) => Kind::Integer,
        _ if begins(&["num", "float", "double"]) => Kind::Number,
        _ if begins(&["bool"]) => Kind::Boolean,
        _ if begins(&["obj", "dict", "map"]) => Kind::Object,
        _ if begins(&["arr", "list", "tuple"]) => Kind::Array,
        "null" | "none" => Kind::Null,
        _ => Kind::Text,
    }
}

fn of_value(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::Null,
        Value::Bool(_) => Kind::Boolean,
        Value::Number(number) if number.is_f64() => Kind::Number,
        Value::Number(_) => Kind::Integer,
        Value::String(_) => Kind::Text,
        Value::Array(_) => Kind::Array,
        Value::Object(_) => Kind::Object,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Right values: what a JSON parser makes of the text where the schema's type is that of the value; else the text.
    #[test]
    fn bare_text_has_the_type_of_its_schema() {
        let schema = json!({ "$defs": { "Point": { "properties": { "x": { "type": "integer" } } } }, "properties": {
            "text": { "type": "string" }, "int": { "type": "integer" }, "float": { "type": "float" }, "bool": { "type": "boolean" },
            "object": { "type": "object" }, "array": { "type": "array" }, "nothing": { "type": "null" },
            "maybe_int": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
            "maybe_text": { "type": ["string", "null"] }, "text_or_int": { "oneOf": [{ "type": "string" }, { "type": "integer" }] },
            "int_or_text": { "type": ["integer", "string"] }, "point": { "$ref": "#/$defs/Point" },
            "level": { "enum": [1, 2] }, "word": { "enum": ["on", "off"] }, "any": {}, "circle": { "$ref": "#/properties/circle" } } });
        for (key, text, expected) in [
            ("text", "42", json!("42")),
            ("text", "null", json!("null")),
            ("text", " a\n", json!(" a\n")),
            ("text", "{\"a\": 1}", json!("{\"a\": 1}")),
            ("int", "42", json!(42)),
            ("int", " -7 ", json!(-7)),
            ("int", "5.0", json!(5)),
            ("int", "5.5", json!("5.5")),
            ("int", "five", json!("five")),
            ("int", "null", Value::Null),
            ("float", "2.75", json!(2.75)),
            ("float", "1e3", json!(1e3)),
            ("float", ".5", json!(0.5)),
            ("float", "inf", json!("inf")),
            ("float", "NaN", json!("NaN")),
            ("float", "7", json!(7)),
            ("float", "1e999", json!("1e999")),
            ("float", "-1e999", json!("-1e999")),
            ("int", "1e999", json!("1e999")),
            ("int", "1e3", json!(1000)),
            ("int", "123456789012345678901234567890", json!(123_456_789_012_345_678_901_234_567_890_f64)),
            ("array", "[1e999]", json!("[1e999]")),
            ("object", "{\"a\": [1, 1e999]}", json!("{\"a\": [1, 1e999]}")),
            ("bool", "true", json!(true)),
            ("bool", "False", json!(false)),
            ("bool", "yes", json!("yes")),
            ("object", "{\"key\": \"value\", \"count\": 42}", json!({ "key": "value", "count": 42 })),
            ("object", "{'a': 1}", json!("{'a': 1}")),
            ("object", "[1]", json!("[1]")),
            ("array", "[\"a\", \"b\"]", json!(["a", "b"])),
            ("array", "[1,\n 2]", json!([1, 2])),
            ("nothing", "null", Value::Null),
            ("nothing", "x", json!("x")),
            ("maybe_int", "5", json!(5)),
            ("maybe_int", "None", Value::Null),
            ("maybe_text", "null", Value::Null),
            ("maybe_text", "hello", json!("hello")),
            ("text_or_int", "5", json!("5")),
            ("int_or_text", "5", json!(5)),
            ("int_or_text", "some text", json!("some text")),
            ("point", "{\"x\": 1}", json!({ "x": 1 })),
            ("level", "2", json!(2)),
            ("word", "on", json!("on")),
            ("any", "5", json!("5")),
            ("circle", "5", json!("5")),
            ("unknown", "5", json!("5")),
        ] {
            let found = value(text, key, &schema);
            assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), expected, "{key}: {text}");
        }
    }

    #[test]
    fn a_schema_of_many_circles_is_looked_at_for_a_moment() {
        let circles = vec![json!({ "$ref": "#/properties/town" }); 200];
        let schema = json!({ "properties": { "town": { "anyOf": circles }, "other": { "type": "integer" } } });
        let start = std::time::Instant::now();
        assert_eq!((value("5", "town", &schema), value("5", "other", &schema)), ("\"5\"".to_owned(), "5".to_owned()));
        assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
    }
}
