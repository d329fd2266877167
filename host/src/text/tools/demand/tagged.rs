//! Calls with their arguments between tags, as Nemotron 3 writes them: a text as it is, JSON of anything else.
use serde_json::{Map, Value, json};

use super::super::super::grammar::{GrammarFault, bounded, literal, narrowed, regex_to_lark, rooted};
use super::{ARGUMENTS, Rules};

/// What ends an argument.
const VALUE_END: &str = "\n</parameter>\n";

/// What ends an argument wherever it stands.
const CLOSE: &str = "</parameter>";

/// Schemas that are looked at to find a text among the values of one.
const MOST_LOOKS: usize = 200;

/// References that are followed one behind the other.
const MOST_REFERENCES: usize = 8;

/// Keys of a schema that say what a text is to be.
const OF_TEXTS: [&str; 5] = ["pattern", "minLength", "maxLength", "format", "allOf"];

/// Keys that say nothing of values.
const NOTES: [&str; 6] = ["title", "description", "default", "examples", "deprecated", "$comment"];

impl Rules<'_> {
    /// A function with its arguments between tags.
    pub(super) fn tagged(&mut self, index: usize, rule: &str, name: &str, schema: &Value) -> Result<(), GrammarFault> {
        let fault = |place: &str, what: String| GrammarFault { path: format!("tools[{index}].function.{place}"), what };
        if name.contains(['<', '>', '\n']) {
            return Err(fault(
                "name",
                format!("this model cannot call it: expected no <, > or line end, found {name:?}"),
            ));
        }
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object();
        let known = properties.into_iter().flatten().map(|(key, of)| (key.as_str(), of));
        let other = required.iter().filter(|key| !properties.is_some_and(|keys| keys.contains_key(**key)));
        let mut parts = vec![literal(&format!("<function={name}>\n"))];
        for (place, (key, of)) in known.chain(other.map(|key| (*key, &Value::Null))).enumerate() {
            let path = format!("parameters.properties.{key}");
            if key.contains(['>', '\n']) {
                return Err(fault(&path, "this model cannot name it: expected no > or line end".to_owned()));
            }
            let argument = format!("{rule}_{place}");
            parts.push(if required.contains(&key) { argument.clone() } else { format!("{argument}?") });
            let tag = literal(&format!("<parameter={key}>\n"));
            self.lines.push(format!("{argument}: {tag} {argument}_value"));
            let made = self.value(&format!("{argument}_value"), of, schema, &mut MOST_LOOKS.clone());
            made.map_err(|what| fault(&path, what))?;
        }
        if properties.is_none() {
            parts.push(format!("({rule}_any)*"));
            self.lines.push(format!("{rule}_any: \"<parameter=\" /[^<>\\n]+/ \">\\n\" {rule}_text"));
            self.text_value(&format!("{rule}_text"), &Value::Null);
        }
        parts.push("\"</function>\"".to_owned());
        self.lines.push(format!("{rule}: {}", parts.join(" ")));
        Ok(())
    }

    /// A value up to the end of its closing tag, as far as `left` looks at the schema tell.
    fn value(&mut self, rule: &str, of: &Value, root: &Value, left: &mut usize) -> Result<(), String> {
        let is_text = may_be_text(of, root, &mut MOST_LOOKS.clone());
        let of = resolved(of, root);
        let of = &if is_text { merged(of, root)? } else { of.clone() };
        let values = of["enum"].as_array().map(Vec::as_slice).or(of.get("const").map(std::slice::from_ref));
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            return self.values(rule, values);
        }
        if !is_text {
            let mut schema = rooted(of.clone(), ARGUMENTS);
            if of.to_string().contains("$ref") {
                schema["$defs"] = json!({ "arguments": rooted(root.clone(), ARGUMENTS) });
            }
            self.lines.push(format!("{rule}: %json {} {}", bounded(&schema), literal(VALUE_END)));
            return Ok(());
        }
        let Some(any) = of.get("anyOf").or(of.get("oneOf")).and_then(Value::as_array) else {
            self.text_value(rule, of);
            return Ok(());
        };
        if let Some(beside) = OF_TEXTS.iter().find(|key| of.get(**key).is_some()) {
            return Err(format!("{beside} beside anyOf or oneOf: not supported where the value may be a text"));
        }
        if *left < any.len() {
            self.text_value(rule, &Value::Null);
            return Ok(());
        }
        *left -= any.len();
        let names: Vec<String> = (0..any.len()).map(|index| format!("{rule}_{index}")).collect();
        names.iter().zip(any).try_for_each(|(name, of)| self.value(name, of, root, left))?;
        self.lines.push(format!("{rule}: {}", names.join(" | ")));
        Ok(())
    }

    /// One of some values.
    fn values(&mut self, rule: &str, values: &[Value]) -> Result<(), String> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let texts: Vec<String> = values.iter().map(text).collect();
        if let Some(text) = texts.iter().find(|text| text.contains(CLOSE)) {
            return Err(format!("expected values without {CLOSE}, found {text:?}"));
        }
        let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
        self.lines.push(format!("{rule}: ({}) {}", texts.join(" | "), literal(VALUE_END)));
        Ok(())
    }

    /// Text up to the closing tag of an argument, of the length and the pattern that `of` asks for.
    fn text_value(&mut self, rule: &str, of: &Value) {
        let of = &narrowed(of.clone());
        let pattern = of["pattern"].as_str().map(within);
        let length = match (of["minLength"].as_u64(), of["maxLength"].as_u64()) {
            (None, None) => None,
            (least, most) => Some(format!(
                r"(.|\n){{{},{}}}",
                least.unwrap_or(0),
                most.map_or(String::new(), |most| most.to_string())
            )),
        };
        let lark = |expression: &str| format!("/{}/", regex_to_lark(expression, "dw"));
        let mut parts: Vec<String> = pattern.iter().chain(&length).map(|part| lark(part)).collect();
        if parts.is_empty() {
            parts.push(lark(r"(.|\n)*"));
        }
        // Both at once are a terminal of its own.
        if let [_, _] = &parts[..] {
            let name = rule.to_uppercase();
            self.lines.push(format!("{name}: {}", parts.join(" & ")));
            parts = vec![name];
        }
        self.lines.push(format!("{rule}[suffix={}]: {}", literal(VALUE_END), parts[0]));
    }
}

/// What a reference within `root` means; what is none as it is.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    (0..MOST_REFERENCES).fold(schema, |schema, _| {
        let place = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        place.and_then(|place| root.pointer(place)).unwrap_or(schema)
    })
}

/// A schema with what the parts of its `allOf` say.
///
/// # Errors
/// Two of them say something by the same key.
fn merged(schema: &Value, root: &Value) -> Result<Value, String> {
    let mut merged = schema.clone();
    for _ in 0..MOST_REFERENCES {
        let Some(Value::Array(parts)) = merged.as_object_mut().and_then(|keys| keys.remove("allOf")) else {
            return Ok(merged);
        };
        let Value::Object(into) = &mut merged else { return Ok(merged) };
        for part in &parts {
            let Value::Object(keys) = resolved(part, root) else { continue };
            join(into, keys)?;
        }
    }
    Err("allOf: expected fewer of them within each other".to_owned())
}

fn join(into: &mut Map<String, Value>, keys: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in keys.iter().filter(|(key, _)| !NOTES.contains(&key.as_str())) {
        match into.get(key) {
            Some(other) if other != value => {
                return Err(format!("allOf: {key} said twice is not supported where the value may be a text"));
            }
            _ => drop(into.insert(key.clone(), value.clone())),
        }
    }
    Ok(())
}

/// Whether a text is among the values of a schema, or may be as far as `left` looks tell.
fn may_be_text(schema: &Value, root: &Value, left: &mut usize) -> bool {
    let schema = resolved(schema, root);
    if *left == 0 {
        return true;
    }
    *left -= 1;
    let values = schema["enum"].as_array().map(Vec::as_slice).or(schema.get("const").map(std::slice::from_ref));
    let any = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array);
    let all = schema.get("allOf").and_then(Value::as_array);
    match (&schema["type"], values, any, all) {
        (Value::String(kind), ..) => kind == "string",
        (Value::Array(kinds), ..) => kinds.iter().any(|kind| kind == "string"),
        (_, Some(values), ..) => values.iter().any(Value::is_string),
        (_, _, Some(any), _) => any.iter().any(|schema| may_be_text(schema, root, left)),
        (.., Some(all)) => all.iter().all(|schema| may_be_text(schema, root, left)),
        _ => true,
    }
}

/// An expression that matches what has a match of `pattern` in it.
fn within(pattern: &str) -> String {
    let (open, rest) = pattern.strip_prefix('^').map_or((r"(.|\n)*", pattern), |rest| ("", rest));
    match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => format!("{open}({rest})"),
        _ => format!(r"{open}({rest})(.|\n)*"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::super::grammar::GrammarTokens;
    use super::super::super::super::{GrammarSource, Tokenizer};
    use super::super::super::{CallDemand, ToolForm, ToolSchemas};
    use super::*;

    fn source(name: &str, schema: Value) -> Result<GrammarSource, GrammarFault> {
        let tools = ToolSchemas::new(vec![(name.to_owned(), schema)]);
        let calls = ToolForm::Xml.grammar(&tools, Some(&CallDemand::Some), None, false, &|_| None)?;
        Ok(calls.expect("calls are demanded"))
    }

    /// Tells whether the call of `f` with such arguments is taken as a whole, byte by byte.
    struct Taker {
        grammars: GrammarTokens,
        bytes: Vec<u32>,
    }

    impl Taker {
        fn new() -> Taker {
            let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/storyteller");
            let tokenizer = Tokenizer::open(Path::new(directory)).expect("the demo model");
            let grammars = GrammarTokens::new(&tokenizer, &[2]).expect("its tokens have texts");
            let alone = |byte: u8| {
                let mut ids = tokenizer.names().map(|(_, id)| id).filter(|id| tokenizer.hidden_name(*id).is_none());
                ids.find(|id| tokenizer.token_bytes(*id).is_ok_and(|bytes| bytes == [byte])).unwrap_or(0)
            };
            Taker { grammars, bytes: (0..=255).map(alone).collect() }
        }

        fn takes(&self, source: &GrammarSource, arguments: &[(&str, &str)]) -> bool {
            let tags = arguments.iter().map(|(key, value)| format!("<parameter={key}>\n{value}\n</parameter>\n"));
            let call = format!("<tool_call>\n<function=f>\n{}</function>\n</tool_call>", tags.collect::<String>());
            let mut matcher = self.grammars.compile(source).expect("a grammar").start();
            call.bytes().all(|byte| matcher.push(self.bytes[usize::from(byte)]).is_ok())
                && matcher.is_whole() == Ok(true)
        }
    }

    /// Right values: jsonschema's, of the same texts as JSON.
    #[test]
    fn texts_between_tags_are_held_to_their_schemas() {
        let taker = Taker::new();
        let named = json!({ "anyOf": [{ "enum": ["a", "b"], "type": "string" }, { "type": "null" }] });
        let short = json!({ "anyOf": [{ "type": "string", "maxLength": 2 }, { "type": "integer", "minimum": 100 }] });
        for (of, right, wrong) in [
            (
                json!({ "type": "string", "pattern": "^[a-z]+$", "maxLength": 3 }),
                &["a", "abc"][..],
                &["", "abcd", "A"][..],
            ),
            (json!({ "type": "string", "pattern": "a", "minLength": 3 }), &["xax", "bba"], &["a", "xxx"]),
            (named, &["a", "b", "null"], &["c", "ab", "None", ""]),
            (short, &["ab", "", "100", "99"], &["abc", "1x0"]),
            (json!({ "allOf": [{ "$ref": "#/$defs/word" }], "description": "x" }), &["ab", "abc"], &["a", "abcd"]),
            (json!({ "allOf": [{ "$ref": "#/$defs/word" }, { "pattern": "^a" }] }), &["ab"], &["a", "bb"]),
            (json!({ "type": ["string", "null"], "enum": ["a", null] }), &["a", "null"], &["b"]),
        ] {
            let word = json!({ "type": "string", "minLength": 2, "maxLength": 3 });
            let schema =
                json!({ "type": "object", "properties": { "x": of }, "required": ["x"], "$defs": { "word": word } });
            let source = source("f", schema.clone()).expect("it can be written");
            for (values, is_right) in [(right, true), (wrong, false)] {
                for value in values {
                    assert_eq!(taker.takes(&source, &[("x", value)]), is_right, "{schema}: {value:?}");
                }
            }
            assert!(!taker.takes(&source, &[]), "{schema}: it is required");
        }
        // Keys that are required come, whether they are described or not.
        for schema in [json!({ "required": ["y"] }), json!({ "properties": {}, "required": ["y"] })] {
            let source = source("f", schema).expect("it can be written");
            assert!(taker.takes(&source, &[("y", "1")]) && !taker.takes(&source, &[]));
        }
    }

    #[test]
    fn what_cannot_stand_between_tags_is_named() {
        let of = |of: Value| source("f", json!({ "properties": { "x": of } }));
        let both = json!({ "allOf": [{ "type": "string", "pattern": "a" }, { "pattern": "b" }] });
        let beside = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }], "pattern": "a" });
        for (found, place, word) in [
            (source("f>", json!({})), "name", "found \"f>\""),
            (source("a<b", json!({})), "name", "cannot call it"),
            (source("f", json!({ "properties": { "a>b": {} } })), "parameters.properties.a>b", "no >"),
            (source("f", json!({ "required": ["a>"] })), "parameters.properties.a>", "no >"),
            (of(both), "parameters.properties.x", "allOf: pattern said twice"),
            (of(beside), "parameters.properties.x", "pattern beside anyOf"),
            (of(json!({ "enum": ["</parameter>"] })), "parameters.properties.x", "without </parameter>"),
        ] {
            let GrammarFault { path, what } = found.expect_err(word);
            assert_eq!(path, format!("tools[0].function.{place}"));
            assert!(what.contains(word), "{what}");
        }
    }
}
