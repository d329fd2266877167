//! JSON schemas on their way to llguidance: what it reads too widely is narrowed, and what costs too much is found.
use serde_json::{Map, Value, json};

/// How deep a schema may be nested, as deep as JSON that is read.
const MOST_DEPTH: usize = 128;

/// Most patterns that one value must match together: the work grows with the product of their states.
const MOST_PATTERNS: usize = 8;

/// The largest multipleOf, its point left out: each rest of a division is a state.
const MOST_MULTIPLE: u64 = 100_000;

/// Most properties of an object that may be left out: each may come next in front of all of them.
const MOST_OPTIONAL: usize = 300;

/// A day of a year that there is, from the year 1 on.
const DATE: &str = concat!(
    r"(\d{3}[1-9]|\d{2}[1-9]\d|\d[1-9]\d{2}|[1-9]\d{3})-",
    r"((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))",
    r"|(\d{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29"
);

/// A time of a day without leap seconds.
const TIME: &str = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)";

/// What costs too much in a schema; none where nothing does.
pub fn too_much(schema: &Value) -> Option<String> {
    if !is_within(schema, MOST_DEPTH) {
        return Some(format!("expected at most {MOST_DEPTH} levels, found more"));
    }
    let (mut found, mut sum) = (None, 0_u64);
    each(schema, &mut |schema| {
        sum = sum.saturating_add(schema.get("multipleOf").map_or(0, scaled));
        let optional = optional(schema);
        let patterns = schema.get("allOf").map_or(0, |all| count(all, "pattern"));
        let together = schema.get("allOf").map_or(1, |all| {
            let mut product = 1_u64;
            each(all, &mut |schema| {
                product = product.saturating_mul(schema.get("multipleOf").map_or(1, scaled).max(1))
            });
            product
        });
        if sum > MOST_MULTIPLE {
            found = Some(format!("multipleOf: expected at most {MOST_MULTIPLE}, of all of them together"));
        } else if together > MOST_MULTIPLE {
            found = Some(format!("allOf: expected multipleOf whose product is at most {MOST_MULTIPLE}"));
        }
        let fewest = schema.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if fewest > 1 && schema.contains_key("patternProperties") {
            // Nothing keeps a key from coming twice.
            found = Some("minProperties: not supported beside patternProperties".to_owned());
        }
        if optional > MOST_OPTIONAL {
            found =
                Some(format!("properties: expected at most {MOST_OPTIONAL} that are not required, found {optional}"));
        } else if patterns > MOST_PATTERNS {
            found = Some(format!("allOf: expected at most {MOST_PATTERNS} patterns, found {patterns}"));
        }
    });
    found
}

/// `schema` with dates and times that there are.
pub fn narrowed(mut schema: Value) -> Value {
    each_mut(&mut schema, &mut |schema| {
        let pattern = match schema.get("format").and_then(Value::as_str) {
            Some("date") => DATE.to_owned(),
            Some("time") => TIME.to_owned(),
            Some("date-time") => format!("({DATE})T{TIME}"),
            _ => return,
        };
        if !schema.contains_key("pattern") {
            schema.remove("format");
            schema.insert("pattern".to_owned(), format!("^({pattern})$").into());
        }
    });
    schema
}

/// `schema` with references by plain names alone: what others mean is among the definitions too.
pub fn plain_references(mut schema: Value) -> Value {
    let mut places: Vec<String> = Vec::new();
    each(&schema, &mut |schema| {
        let place = schema.get("$ref").and_then(Value::as_str).filter(|place| place.contains(['~', '%']));
        places.extend(place.filter(|place| place.starts_with('#')).map(str::to_owned));
    });
    let meant = |place: &str| schema.pointer(&decoded(&place[1..])).cloned();
    let meant: Vec<(String, Value)> =
        places.into_iter().filter_map(|place| Some((place.clone(), meant(&place)?))).collect();
    if meant.is_empty() {
        return schema;
    }
    let renamed = |mut schema: Value| {
        each_mut(&mut schema, &mut |schema| {
            let index = schema.get("$ref").and_then(|place| meant.iter().position(|(known, _)| place == known));
            if let Some(index) = index {
                schema.insert("$ref".to_owned(), format!("#/$defs/meant {index}").into());
            }
        });
        schema
    };
    let definitions: Vec<Value> = meant.iter().map(|(_, value)| renamed(value.clone())).collect();
    schema = renamed(schema);
    for (index, definition) in definitions.into_iter().enumerate() {
        schema["$defs"][format!("meant {index}")] = definition;
    }
    schema
}

/// A place as a URI writes it, without its escapes of bytes.
fn decoded(place: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = place.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let byte = behind.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match byte.filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `schema` with references to its own root, `#`, as references to `root`.
pub fn rooted(mut schema: Value, root: &str) -> Value {
    each_mut(&mut schema, &mut |schema| {
        if let Some(Value::String(reference)) = schema.get_mut("$ref")
            && let Some(rest) = reference.strip_prefix('#')
        {
            *reference = format!("{root}{rest}");
        }
    });
    schema
}

/// The schemas within a schema, and their places as references have them.
pub fn parts(schema: &Value) -> Vec<(String, &Value)> {
    let mut parts: Vec<(String, &Value)> = Vec::new();
    for key in ["properties", "patternProperties", "$defs", "definitions"] {
        let named = schema[key].as_object().into_iter().flatten();
        parts.extend(named.map(|(name, part)| (format!("/{key}/{name}"), part)));
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        let listed = schema[key].as_array().into_iter().flatten().enumerate();
        parts.extend(listed.map(|(index, part)| (format!("/{key}/{index}"), part)));
    }
    parts.extend(["items", "additionalProperties"].map(|key| (format!("/{key}"), &schema[key])));
    parts.retain(|(_, part)| part.is_object());
    parts
}

/// A part of a schema by itself, where its references still mean what they did.
pub fn alone(part: &Value, root: &Value) -> Value {
    const ROOT: &str = "#/$defs/root";
    let mut alone = rooted(part.clone(), ROOT);
    alone["$defs"] = json!({ "root": rooted(root.clone(), ROOT) });
    alone
}

/// Whether a value has no more than so many levels.
fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|value| is_within(value, levels - 1)),
        Value::Object(values) => levels > 0 && values.values().all(|value| is_within(value, levels - 1)),
        _ => true,
    }
}

fn optional(schema: &Map<String, Value>) -> usize {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let required: std::collections::HashSet<&str> = required.collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map_or(0, |properties| properties.keys().filter(|name| !required.contains(name.as_str())).count())
}

/// How many schemas in a value have such a key.
fn count(value: &Value, key: &str) -> usize {
    let mut count = 0;
    each(value, &mut |schema| count += usize::from(schema.get(key).is_some_and(|value| !value.is_object())));
    count
}

/// The digits of a number as a whole number, 0 where it is none.
fn scaled(number: &Value) -> u64 {
    let digits: String = number.to_string().chars().filter(char::is_ascii_digit).collect();
    if number.is_number() { digits.parse().unwrap_or(u64::MAX) } else { 0 }
}

/// Keys whose values are no schemas, and those whose values have schemas by name.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Looks at every object that may be a schema.
fn each(value: &Value, look: &mut impl FnMut(&Map<String, Value>)) {
    each_mut(&mut value.clone(), &mut |schema| look(schema));
}

/// As [`each`], and changes what it looks at.
fn each_mut(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| each_mut(value, change)),
        Value::Object(keys) => {
            change(keys);
            for (key, value) in keys.iter_mut().filter(|(key, _)| !VALUES.contains(&key.as_str())) {
                match value {
                    Value::Object(named) if NAMED.contains(&key.as_str()) => {
                        named.values_mut().for_each(|value| each_mut(value, change))
                    }
                    value => each_mut(value, change),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_dates_are_changed_where_they_are_schemas() {
        let schema = json!({ "$ref": "#/$defs/a", "const": { "$ref": "#" }, "properties": { "const": { "$ref": "#" } }, "items": [{ "$ref": "#" }], "x": { "$ref": "http://x" } });
        let expected = json!({ "$ref": "#/r/$defs/a", "const": { "$ref": "#" }, "properties": { "const": { "$ref": "#/r" } }, "items": [{ "$ref": "#/r" }], "x": { "$ref": "http://x" } });
        assert_eq!(rooted(schema, "#/r"), expected);
        let narrow = narrowed(
            json!({ "a": { "format": "date" }, "enum": [{ "format": "date" }], "format": "date", "pattern": "x" }),
        );
        assert!(narrow["a"]["pattern"].is_string() && narrow["a"]["format"].is_null());
        assert_eq!((&narrow["enum"][0]["format"], &narrow["pattern"]), (&json!("date"), &json!("x")));
    }

    #[test]
    fn references_with_escapes_mean_what_they_name() {
        let schema = json!({ "$defs": { "a/b": { "const": 1 }, "é~": { "$ref": "#/$defs/a~1b" } },
            "anyOf": [{ "$ref": "#/$defs/%C3%A9~0" }, { "$ref": "#/$defs/no~1ne" }] });
        let plain = plain_references(schema);
        let follow = |place: &Value| plain.pointer(&place["$ref"].as_str().unwrap()[1..]).unwrap().clone();
        assert_eq!(follow(&follow(&plain["anyOf"][0])), json!({ "const": 1 }));
        assert_eq!(plain["anyOf"][1]["$ref"], "#/$defs/no~1ne");
    }

    #[test]
    fn what_costs_too_much_is_named() {
        let patterns = |count: usize| json!({ "allOf": vec![json!({ "pattern": "a" }); count] });
        assert!(too_much(&patterns(8)).is_none());
        assert!(too_much(&patterns(9)).unwrap().starts_with("allOf: expected at most 8"));
        let properties = |count: usize| -> Value {
            let properties: Map<String, Value> = (0..count).map(|name| (name.to_string(), json!({}))).collect();
            json!({ "items": { "properties": properties } })
        };
        assert!(
            too_much(&properties(300)).is_none() && too_much(&properties(301)).unwrap().starts_with("properties: ")
        );
    }
}
