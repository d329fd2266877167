//! Grammars of calls: answers that must have some, and calls whose arguments are to be what the functions' schemas say.
mod tagged;

use serde_json::{Value, json};

use super::super::grammar::{GrammarFault, GrammarSource, bounded, literal, rooted};
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
    ///
    /// # Errors
    /// This form has no way to write such a function or argument.
    pub fn grammar(
        self,
        tools: &ToolSchemas,
        demand: Option<&CallDemand>,
        answer: Option<&GrammarSource>,
        parallel: bool,
        special: &dyn Fn(&str) -> Option<u32>,
    ) -> Result<Option<GrammarSource>, GrammarFault> {
        let answer = answer.map(GrammarSource::rule);
        // A grammar that has rules of its own is not joined with calls.
        let start = match (demand, &answer) {
            (Some(CallDemand::Some | CallDemand::Of(_)), _) => "calls".to_owned(),
            (_, Some(Some(answer))) => format!("calls | ({answer})"),
            // A bare call begins like any text.
            (Some(CallDemand::Strict(_)), None) if self != ToolForm::Llama => "(to_call behind_call)* tail".to_owned(),
            _ => return Ok(None),
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
            rules.function(index, name, if is_strict(name) { schema } else { &anything })?;
            names.push(format!("function_{index}"));
        }
        rules.lines.push(format!("function: {}", names.join(" | ")));
        let rules = rules.lines.join("\n");
        Ok(Some(if is_free { GrammarSource::FreeCalls(rules) } else { GrammarSource::Calls(rules) }))
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

    fn function(&mut self, index: usize, name: &str, schema: &Value) -> Result<(), GrammarFault> {
        let rule = format!("function_{index}");
        if self.form == ToolForm::Xml {
            return self.tagged(index, &rule, name, schema);
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
        Ok(())
    }
}

/// Where the schema of a call's arguments stands among its definitions.
const ARGUMENTS: &str = "#/$defs/arguments";

/// A text as an expression that matches it.
fn regex(text: &str) -> String {
    text.chars()
        .map(|letter| if "[]()|.*+?^$\\{}/".contains(letter) { format!("\\{letter}") } else { letter.to_string() })
        .collect()
}
