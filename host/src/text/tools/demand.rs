//! Grammars of calls: answers that must have some, and calls whose arguments are to be what the functions' schemas say.
use serde_json::{Value, json};

use super::super::grammar::{GrammarSource, bounded, literal, narrowed, regex_to_lark, rooted};
use super::{ToolForm, ToolSchemas};

/// Which calls an answer is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallDemand {
    /// One or more, of any function.
    Some,
    /// One of this function.
    Of(String),
    /// Those that the model likes; arguments of these functions are what their schemas say.
    Strict(Vec<String>),
}

/// The rules of a grammar in Lark, as they are written.
struct Rules<'a> {
    form: ToolForm,
    /// The id of a tag that is a special token.
    special: &'a dyn Fn(&str) -> Option<u32>,
    lines: Vec<String>,
}

impl ToolForm {
    /// The form of an answer that calls functions of `tools` as `demand` says, or is an `answer` where that has a form of its
    /// own; none where all texts will do. `special` gives the id of a tag that is a special token.
    pub fn grammar(
        self,
        tools: &ToolSchemas,
        demand: Option<&CallDemand>,
        answer: Option<&GrammarSource>,
        parallel: bool,
        special: &dyn Fn(&str) -> Option<u32>,
    ) -> Option<GrammarSource> {
        let answer = answer.map(GrammarSource::rule);
        // A grammar that has rules of its own is not joined with calls.
        let start = match (demand, &answer) {
            (Some(CallDemand::Some | CallDemand::Of(_)), _) => "calls".to_owned(),
            (_, Some(answer)) => format!("calls | ({})", answer.as_ref()?),
            // A bare call begins like any text.
            (Some(CallDemand::Strict(_)), None) if self != ToolForm::Llama => "(to_call behind_call)* tail".to_owned(),
            _ => return None,
        };
        let mut rules = Rules { form: self, special, lines: vec![format!("start: {start}")] };
        rules.calls(parallel && !matches!(demand, Some(CallDemand::Of(_))));
        let is_free = start.ends_with("tail");
        if is_free {
            rules.text_around();
        }
        let is_strict =
            |name: &str| !matches!(demand, Some(CallDemand::Strict(strict)) if !strict.iter().any(|s| s == name));
        let wanted = |name: &str| !matches!(demand, Some(CallDemand::Of(only)) if only != name);
        let mut names = Vec::new();
        for (index, (name, schema)) in tools.0.iter().enumerate().filter(|(_, (name, _))| wanted(name)) {
            let anything = json!({ "type": "object" });
            // Without a schema there are no arguments.
            let nothing = json!({ "type": "object", "properties": {}, "additionalProperties": false });
            let schema = if schema.is_null() { &nothing } else { schema };
            rules.function(index, name, if is_strict(name) { schema } else { &anything });
            names.push(format!("function_{index}"));
        }
        rules.lines.push(format!("function: {}", names.join(" | ")));
        let rules = rules.lines.join("\n");
        Some(if is_free { GrammarSource::FreeCalls(rules) } else { GrammarSource::Calls(rules) })
    }
}

impl Rules<'_> {
    /// A tag: a special token by its id, others by their texts.
    fn tag(&self, tag: &str) -> String {
        (self.special)(tag).map_or_else(|| literal(tag), |id| format!("<[{id}]>"))
    }

    /// What stands between the first tag of a call and its function, the same behind it, and between two calls of one answer;
    /// and whether each has tags of its own.
    fn spaces(&self) -> ([&'static str; 3], bool) {
        match self.form {
            ToolForm::Xml | ToolForm::Hermes => (["\n", "\n", "\n"], true),
            ToolForm::NemotronMini => ([" ", " ", "\n"], true),
            ToolForm::NemotronList | ToolForm::Mistral => (["[", "]", ", "], false),
            ToolForm::Llama => (["", "", ""], false),
        }
    }

    /// All calls of an answer, and a call behind its first tag.
    fn calls(&mut self, parallel: bool) {
        let marks = self.form.marks();
        // A bare call needs no tag.
        let open = if self.form == ToolForm::Llama { String::new() } else { self.tag(marks[0]) };
        let close = marks.get(1).map_or(String::new(), |close| self.tag(close));
        let ([before, behind, between], own) = self.spaces();
        let text = |text: &str| if text.is_empty() { String::new() } else { literal(text) };
        let (before, behind, between) = (text(before), text(behind), text(between));
        let several = parallel && self.form != ToolForm::Llama;
        let within = if several && !own { format!("function ({between} function)*") } else { "function".to_owned() };
        self.lines.push(format!("behind_call: {before} {within} {behind} {close}"));
        let more = if several && own { format!("({between} {open} behind_call)*") } else { String::new() };
        self.lines.push(format!("calls: {open} behind_call {more}"));
    }

    /// Text up to a call, and text without one.
    fn text_around(&mut self) {
        let mark = self.form.marks()[0];
        if (self.special)(mark).is_some() {
            let tag = self.tag(mark);
            self.lines.push(format!("to_call: TEXT {tag}\ntail: TEXT\nTEXT: /(.|\\n)*/"));
        } else {
            let tag = literal(mark);
            self.lines.push(format!("to_call[suffix={tag}]: /(.|\\n)*/\ntail: TAIL"));
            let expression = regex(mark);
            self.lines.push(format!("TAIL: /(.|\\n)*/ & ~/(.|\\n)*{expression}(.|\\n)*/"));
        }
    }

    fn function(&mut self, index: usize, name: &str, schema: &Value) {
        let rule = format!("function_{index}");
        if self.form == ToolForm::Xml {
            return self.tagged(&rule, name, schema);
        }
        let mut schema = schema.clone();
        if schema["properties"].is_object() && schema["additionalProperties"].is_null() {
            // Whoever names the arguments wants no others, and a model that goes astray has no end of them.
            schema["additionalProperties"] = false.into();
        }
        let key = if self.form == ToolForm::Llama { "parameters" } else { "arguments" };
        let call = json!({
            "type": "object", "properties": { "name": { "const": name }, key: { "$ref": ARGUMENTS } },
            "required": ["name", key], "additionalProperties": false,
            "$defs": { "arguments": rooted(schema, ARGUMENTS) },
        });
        self.lines.push(format!("{rule}: %json {}", bounded(&call)));
    }

    /// A function with its arguments between tags.
    fn tagged(&mut self, rule: &str, name: &str, schema: &Value) {
        let head = literal(&format!("<function={name}>\n"));
        let Some(properties) = schema["properties"].as_object() else {
            self.lines.push(format!("{rule}: {head} ({rule}_any)* \"</function>\""));
            self.lines.push(format!("{rule}_any: \"<parameter=\" /[^<>\\n]+/ \">\\n\" {rule}_text"));
            return self.text_value(&format!("{rule}_text"), &Value::Null);
        };
        let required =
            |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|name| name == key));
        let mut parts = vec![head];
        for (place, (key, of)) in properties.iter().enumerate() {
            let argument = format!("{rule}_{place}");
            parts.push(if required(key) { argument.clone() } else { format!("{argument}?") });
            let key = literal(&format!("<parameter={key}>\n"));
            self.lines.push(format!("{argument}: {key} {argument}_value"));
            self.value(&format!("{argument}_value"), of, schema);
        }
        parts.push("\"</function>\"".to_owned());
        self.lines.push(format!("{rule}: {}", parts.join(" ")));
    }

    /// A value up to the end of its closing tag: a text as it is, JSON of anything else.
    fn value(&mut self, rule: &str, of: &Value, root: &Value) {
        let of = resolved(of, root);
        let values = of["enum"].as_array().map(Vec::as_slice).or(of.get("const").map(std::slice::from_ref));
        if let Some(values) = values.filter(|values| !values.is_empty()) {
            let text = |value: &Value| literal(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let texts: Vec<String> = values.iter().map(text).collect();
            return self.lines.push(format!("{rule}: ({}) {}", texts.join(" | "), literal(VALUE_END)));
        }
        if may_be_text(of, root, &mut MOST_LOOKS.clone()) {
            return self.text_value(rule, of);
        }
        let mut schema = rooted(of.clone(), ARGUMENTS);
        if of.to_string().contains("$ref") {
            schema["$defs"] = json!({ "arguments": rooted(root.clone(), ARGUMENTS) });
        }
        self.lines.push(format!("{rule}: %json {} {}", bounded(&schema), literal(VALUE_END)));
    }

    /// Text up to the closing tag of an argument, of the length and the pattern that `of` asks for.
    fn text_value(&mut self, rule: &str, of: &Value) {
        let of = &narrowed(of.clone());
        let count = |key: &str| of[key].as_u64();
        let body = match (of["pattern"].as_str(), count("minLength"), count("maxLength")) {
            (Some(pattern), ..) => within(pattern),
            (None, None, None) => r"(.|\n)*".to_owned(),
            (None, least, most) => {
                format!(r"(.|\n){{{},{}}}", least.unwrap_or(0), most.map_or(String::new(), |most| most.to_string()))
            }
        };
        self.lines.push(format!("{rule}[suffix={}]: /{}/", literal(VALUE_END), regex_to_lark(&body, "dw")));
    }
}

/// Where the schema of a call's arguments stands among its definitions.
const ARGUMENTS: &str = "#/$defs/arguments";

/// What ends an argument.
const VALUE_END: &str = "\n</parameter>\n";

/// References that are followed one behind the other.
const MOST_REFERENCES: usize = 8;

/// What a reference within `root` means; what is none as it is.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    (0..MOST_REFERENCES).fold(schema, |schema, _| {
        let place = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        place.and_then(|place| root.pointer(place)).unwrap_or(schema)
    })
}

/// Schemas that are looked at to find a text among the values of one.
const MOST_LOOKS: usize = 200;

/// Whether a text is among the values of a schema, or may be as far as `left` looks tell: then what the value looks like is not
/// held to more.
fn may_be_text(schema: &Value, root: &Value, left: &mut usize) -> bool {
    let schema = resolved(schema, root);
    if *left == 0 {
        return true;
    }
    *left -= 1;
    let values = schema["enum"].as_array().map(Vec::as_slice).or(schema.get("const").map(std::slice::from_ref));
    let any = schema.get("anyOf").or(schema.get("oneOf")).or(schema.get("allOf")).and_then(Value::as_array);
    match (&schema["type"], values, any) {
        (Value::String(kind), ..) => kind == "string",
        (Value::Array(kinds), ..) => kinds.iter().any(|kind| kind == "string"),
        (_, Some(values), _) => values.iter().any(Value::is_string),
        (_, _, Some(any)) => any.iter().any(|schema| may_be_text(schema, root, left)),
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

/// A text as an expression that matches it.
fn regex(text: &str) -> String {
    text.chars()
        .map(|letter| if "[]()|.*+?^$\\{}/".contains(letter) { format!("\\{letter}") } else { letter.to_string() })
        .collect()
}
