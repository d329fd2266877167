//! `ToolForm`: how a model writes its calls of tools, and `ToolParser`, which tells them from its text as both come.
mod demand;
mod json_calls;
mod json_object;
mod output;
mod schema;
mod xml_calls;
mod xml_tags;

use std::sync::Arc;

pub use demand::CallDemand;
use json_calls::{JsonCalls, Marks};
use output::Output;
use serde_json::Value;
use xml_calls::XmlCalls;

/// What a piece of text brings, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolDelta {
    /// Text beside the calls.
    Text(String),
    /// A call begins: the function's name.
    Call(String),
    /// The next part of the last call's arguments; all parts together are a JSON object.
    Arguments(String),
    /// The beginning of a value that was cut off, as a JSON text without its closing quote: the last of the arguments, which
    /// are no JSON then.
    Half(String),
}

/// The functions that a request offers: names, and JSON schemas of their arguments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolSchemas(Vec<(String, Value)>);

impl ToolSchemas {
    /// Functions by their names; the schema is null where there is none.
    pub fn new(functions: Vec<(String, Value)>) -> ToolSchemas {
        ToolSchemas(functions)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn schema(&self, name: &str) -> &Value {
        self.0.iter().find(|(known, _)| known == name).map_or(&Value::Null, |(_, schema)| schema)
    }
}

/// Most bytes of a call: of keys and values, or of the JSON object. One that is longer is cut off there, and what follows it is
/// text.
const MOST_CALL: usize = 1 << 20;

/// How a model writes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolForm {
    /// `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`.
    Xml,
    /// `<TOOLCALL>[{"name": NAME, "arguments": {}}]</TOOLCALL>`.
    NemotronList,
    /// `<toolcall> {"name": NAME, "arguments": {}} </toolcall>`.
    NemotronMini,
    /// `<tool_call>{"name": NAME, "arguments": {}}</tool_call>`.
    Hermes,
    /// `{"name": NAME, "parameters": {}}` as the answer, or behind `<|python_tag|>`.
    Llama,
    /// `[TOOL_CALLS][{"name": NAME, "arguments": {}}]`.
    Mistral,
}

/// Words of templates by which a form is known; the first that is there decides. Nemotron-Mini's template shows how a
/// tool is offered, and not how it is called.
const WORDS: [(&str, ToolForm); 8] = [
    ("<function=", ToolForm::Xml),
    ("<TOOLCALL>", ToolForm::NemotronList),
    ("<toolcall>", ToolForm::NemotronMini),
    ("[TOOL_CALLS]", ToolForm::Mistral),
    ("<tool_call>", ToolForm::Hermes),
    ("<|python_tag|>", ToolForm::Llama),
    ("\"parameters\": ", ToolForm::Llama),
    ("<tool> ", ToolForm::NemotronMini),
];

impl ToolForm {
    /// The form of a model whose chat template has the words that `mentions` knows.
    pub fn find(mentions: impl Fn(&str) -> bool) -> Option<ToolForm> {
        WORDS.into_iter().find(|(word, _)| mentions(word)).map(|(_, form)| form)
    }

    /// Tags that may be tokens of their own.
    pub fn marks(self) -> &'static [&'static str] {
        match self {
            ToolForm::Xml => &xml_tags::MARKS,
            ToolForm::NemotronList => &["<TOOLCALL>", "</TOOLCALL>"],
            ToolForm::NemotronMini => &["<toolcall>", "</toolcall>"],
            ToolForm::Hermes => &["<tool_call>", "</tool_call>"],
            ToolForm::Llama => &["<|python_tag|>"],
            ToolForm::Mistral => &["[TOOL_CALLS]"],
        }
    }

    /// The tag that ends reasoning as `</think>` does.
    pub fn ends_reasoning(self) -> Option<&'static str> {
        matches!(self, ToolForm::Xml | ToolForm::Hermes).then_some("<tool_call>")
    }

    /// Whether the model's template takes ids of calls only if they are nine letters and digits.
    pub fn has_short_ids(self) -> bool {
        self == ToolForm::Mistral
    }
}

#[derive(Clone, Debug)]
enum Syntax {
    Xml(XmlCalls),
    Json(JsonCalls),
}

/// Tells calls from text. What is no call by the form's rules is text, to the byte; of a call only the tags and the white
/// space beside them are left out. White space between a text and a call belongs to the text only if more text follows.
#[derive(Clone, Debug)]
pub struct ToolParser {
    syntax: Syntax,
    output: Output,
}

impl ToolParser {
    /// A parser of an answer's text.
    pub fn new(form: ToolForm, tools: Arc<ToolSchemas>) -> ToolParser {
        let syntax = match form {
            ToolForm::Xml => Syntax::Xml(XmlCalls::new(tools)),
            _ => {
                let marks = form.marks();
                let marks = Marks { open: marks[0], close: marks.get(1).copied(), bare: form == ToolForm::Llama };
                Syntax::Json(JsonCalls::new(marks, tools))
            }
        };
        ToolParser { syntax, output: Output::default() }
    }

    /// Says that a call ended the reasoning in front of the text: a `</think>` that stands in none is no text then.
    pub fn await_think_end(&mut self) {
        self.output.await_think_end();
    }

    /// Takes a piece of the text and gives what no later one can change.
    pub fn push(&mut self, piece: &str) -> Vec<ToolDelta> {
        self.output.take(piece);
        self.advance()
    }

    /// What was held back, once no more text comes. A call that has begun is whole if the model itself ended the text; where
    /// something else cut it off, its arguments stay open, or it is text if it is JSON.
    pub fn finish(&mut self, is_cut: bool) -> Vec<ToolDelta> {
        self.output.end(is_cut);
        let mut deltas = self.advance();
        deltas.extend(self.output.finish());
        deltas
    }

    /// Whether a call was cut off: by what ended the text, or because it is too long.
    pub fn is_cut(&self) -> bool {
        match &self.syntax {
            Syntax::Xml(calls) => calls.is_cut(),
            Syntax::Json(calls) => calls.is_cut(),
        }
    }

    fn advance(&mut self) -> Vec<ToolDelta> {
        let output = &mut self.output;
        while match &mut self.syntax {
            Syntax::Xml(calls) => calls.step(output),
            Syntax::Json(calls) => calls.step(output),
        } {}
        output.deltas()
    }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;
