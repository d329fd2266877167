//! `OfferedTools`: the functions that a model may call in all conversations of a session, and `AnswerCalls`, what it calls.
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{Category, Error, Result};
use crate::text::{Reasoning, ToolDelta, ToolForm, ToolParser, ToolSchemas};

/// Characters of an id where a template takes no others.
const SHORT_ID: usize = 9;

/// Functions that a model may call, and how it writes calls.
#[derive(Clone, Debug, PartialEq)]
pub struct OfferedTools {
    /// As OpenAI's API has them.
    pub list: Vec<Value>,
    form: ToolForm,
    schemas: Arc<ToolSchemas>,
}

/// An answer of which calls are told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerCalls {
    /// The text beside them.
    pub text: String,
    /// The calls, as OpenAI's API has them.
    pub list: Vec<Value>,
    /// Whether all are whole.
    pub are_whole: bool,
}

/// Names of functions, and JSON schemas of their arguments, of a list of tools.
///
/// # Errors
/// A tool is no function, or two have one name: the place and what is wrong there, as `tools[1].type: expected …`.
pub fn functions(list: &[Value]) -> std::result::Result<Vec<(String, Value)>, String> {
    let functions: Vec<_> =
        list.iter().enumerate().map(|(index, tool)| function(index, tool)).collect::<std::result::Result<_, _>>()?;
    check_names(&functions)?;
    Ok(functions)
}

/// Refuses functions of one name: a call would not say which is meant.
fn check_names(functions: &[(String, Value)]) -> std::result::Result<(), String> {
    let mut places = HashMap::new();
    for (index, (name, _)) in functions.iter().enumerate() {
        if let Some(first) = places.insert(name, index) {
            return Err(format!("tools: expected a name for each, found {name:?} at {first} and at {index}"));
        }
    }
    Ok(())
}

/// The name of a tool's function, and the schema of its arguments.
fn function(index: usize, tool: &Value) -> std::result::Result<(String, Value), String> {
    let wrong = |name: &str, what: &str| Err(format!("tools[{index}]{name}: {what}"));
    if !tool.is_object() {
        return wrong("", "expected an object with a type and a function");
    }
    if tool["type"] != "function" {
        return wrong(".type", "expected \"function\"; the model can call nothing else");
    }
    let function = &tool["function"];
    let Some(name) = function["name"].as_str().filter(|name| !name.trim().is_empty()) else {
        return wrong(".function.name", "expected a name");
    };
    match &function["parameters"] {
        schema @ (Value::Null | Value::Object(_)) => Ok((name.to_owned(), schema.clone())),
        _ => wrong(".function.parameters", "expected a JSON schema, which is an object"),
    }
}

/// An id that no other call has; short where the model's template takes no others. Every `RandomState` has keys of its own.
pub fn new_id(form: ToolForm) -> String {
    let number = format!("{:016x}", RandomState::new().build_hasher().finish());
    if form.has_short_ids() { number[..SHORT_ID].to_owned() } else { format!("call_{number}") }
}

impl OfferedTools {
    /// A list of tools for a model that writes calls in that form.
    ///
    /// # Errors
    /// A tool is no function, or two have one name; else that of the form.
    pub(super) fn new(list: Vec<Value>, form: Result<ToolForm>) -> Result<OfferedTools> {
        let schemas = functions(&list).map_err(|what| {
            Error::new(Category::Input, "The tools cannot be offered")
                .details(what)
                .hint("write them as OpenAI's API has them: [{\"type\": \"function\", \"function\": {\"name\": …}}]")
        })?;
        Ok(OfferedTools { schemas: Arc::new(ToolSchemas::new(schemas)), list, form: form? })
    }

    /// The tag that ends reasoning as `</think>` does.
    pub(super) fn ends_reasoning(&self) -> Option<&'static str> {
        self.form.ends_reasoning()
    }

    /// A parser of an answer's text.
    pub fn parser(&self) -> ToolParser {
        ToolParser::new(self.form, self.schemas.clone())
    }

    /// What the text of an answer says and calls, behind its reasoning; `is_cut` where something else than the model ended it.
    pub(super) fn tell_apart(&self, text: &str, reasoning: Option<Reasoning>, is_cut: bool) -> AnswerCalls {
        let (mut parser, mut deltas) = (self.parser(), Vec::new());
        match reasoning {
            None => deltas.extend(parser.push(text)),
            Some(mut reasoning) => {
                let parts = reasoning.push(text);
                if reasoning.ended_by_tag() {
                    parser.await_think_end();
                }
                deltas.extend(parser.push(&parts.answer));
                deltas.extend(parser.push(&reasoning.finish().answer));
            }
        }
        deltas.extend(parser.finish(is_cut));
        let mut calls = AnswerCalls { text: String::new(), list: Vec::new(), are_whole: !parser.is_cut() };
        for delta in deltas {
            calls.take(delta, self.form);
        }
        calls
    }
}

impl AnswerCalls {
    fn take(&mut self, delta: ToolDelta, form: ToolForm) {
        match delta {
            ToolDelta::Text(text) => self.text += &text,
            ToolDelta::Call(name) => {
                let function = json!({ "name": name, "arguments": "" });
                self.list.push(json!({ "id": new_id(form), "type": "function", "function": function }));
            }
            ToolDelta::Arguments(part) | ToolDelta::Half(part) => {
                let Some(call) = self.list.last_mut() else { return };
                let arguments = call["function"]["arguments"].as_str().unwrap_or_default().to_owned() + &part;
                call["function"]["arguments"] = arguments.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::session::Texts;

    #[test]
    fn what_is_no_function_is_named() {
        let tool = |function: Value| json!({ "type": "function", "function": function });
        for (wrong, place) in [
            (json!("f"), "tools[3]: "),
            (json!({ "type": "web_search" }), "tools[3].type: "),
            (json!({ "type": "function" }), "tools[3].function.name: "),
            (tool(json!({ "name": " " })), "tools[3].function.name: "),
            (tool(json!({ "name": "f", "parameters": [] })), "tools[3].function.parameters: "),
        ] {
            let error = function(3, &wrong).unwrap_err();
            assert!(error.starts_with(place), "{wrong}: {error}");
        }
        let schema = json!({ "type": "object" });
        let with = tool(json!({ "name": "f", "parameters": schema }));
        assert_eq!(function(0, &with).unwrap(), ("f".to_owned(), schema));
        assert_eq!(function(0, &tool(json!({ "name": "g" }))).unwrap(), ("g".to_owned(), Value::Null));
    }

    #[test]
    fn each_function_has_a_name_of_its_own() {
        let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Vec<_>>();
        assert!(check_names(&named(&["f", "g", "F"])).is_ok());
        let error = check_names(&named(&["f", "g", "h", "g"])).unwrap_err();
        assert_eq!(error, "tools: expected a name for each, found \"g\" at 1 and at 3");
    }

    /// Right values: what the server's parser gives of the same text, call by call (`server::parts`, tests/serve/tools.rs).
    #[test]
    fn calls_are_told_from_text_and_reasoning() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let file = root.join("tests/text/templates/nemotron_3_nano.jinja");
        let mut texts = Texts::open(&root.join("models/storyteller"), Some(&file)).unwrap();
        let parameters = json!({ "type": "object", "properties": { "days": { "type": "integer" } } });
        let list = vec![json!({ "type": "function", "function": { "name": "weather", "parameters": parameters } })];
        texts.tools = Some(Arc::new(texts.offered(list).unwrap()));
        let prompt = texts.tokenizer.encode("assistant\n<think>\n", false).unwrap();
        let told = |text: &str, is_cut| {
            let reasoning = texts.reasoning(&prompt).unwrap();
            let calls = texts.tools.as_ref().unwrap().tell_apart(text, reasoning, is_cut);
            let list = calls.list.iter().map(|call| call["function"]["arguments"].as_str().unwrap().to_owned());
            (calls.text.clone(), list.collect::<Vec<_>>(), calls.are_whole)
        };
        const CALL: &str = "<tool_call>\n<function=weather>\n<parameter=town>\nNara\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>";
        let arguments = "{\"town\": \"Nara\", \"days\": 3}".to_owned();
        let (text, both) = (String::from("A moment."), vec![arguments.clone(), arguments.clone()]);
        assert_eq!(told(&format!("I ask.\n</think>\n\nA moment.\n{CALL}\n{CALL}\n"), false), (text, both, true));
        // A call ends the reasoning, whose end comes late.
        assert_eq!(told(&format!("I ask.\n{CALL}\n</think>\n\n"), false), (String::new(), vec![arguments], true));
        let cut = CALL.split_once("ra\n").unwrap().0;
        assert_eq!(told(&format!("</think>{cut}"), true), (String::new(), vec!["{\"town\": \"Na".to_owned()], false));
        assert_eq!(told("</think>Blue.", false), ("Blue.".to_owned(), vec![], true));
    }

    #[test]
    fn only_models_whose_templates_show_tools_are_offered_any() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let offer = |template: &str, list: Value| {
            let file = root.join(format!("tests/text/templates/{template}.jinja"));
            let texts = Texts::open(&root.join("models/storyteller"), Some(&file)).unwrap();
            texts.offered(list.as_array().unwrap().clone())
        };
        let list = json!([{ "type": "function", "function": { "name": "now" } }]);
        assert_eq!(offer("nemotron_3_nano", list.clone()).unwrap().form, ToolForm::Xml);
        let error = offer("nemotron_3_nano", json!([{ "type": "web_search" }])).unwrap_err();
        assert!(error.details_text().starts_with("tools[0].type: expected"), "{error}");
        let texts = Texts::open(&root.join("models/storyteller"), None).unwrap();
        let error = texts.offered(list.as_array().unwrap().clone()).unwrap_err();
        assert_eq!(error.message(), "The model calls no functions");
    }
}
