//! `AnswerParts`: the text of an answer as it comes, told apart: reasoning, text, and calls of functions.
use serde_json::{Value, json};

use super::prepare::{Asked, Form};
use super::tools::Tools;
use crate::session::{Reasoning, Session, ToolDelta, ToolForm, ToolParser, new_id};

/// What came of an answer since it was asked for last.
#[derive(Default)]
pub struct NewParts {
    pub thought: String,
    pub text: String,
    pub calls: Vec<CallPart>,
}

impl NewParts {
    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.thought.is_empty() && self.text.is_empty() && self.calls.is_empty()
    }
}

/// A part of a call.
pub struct CallPart {
    /// Which call of the answer.
    index: usize,
    /// Id and name, where the call begins.
    pub begins: Option<(String, String)>,
    /// Text of a JSON object, or a part of it.
    pub arguments: String,
}

impl CallPart {
    /// A part of the answer's call of that number, with id and name where it begins.
    pub fn new(index: usize, begins: Option<(String, String)>, arguments: String) -> CallPart {
        CallPart { index, begins, arguments }
    }

    /// As an object of OpenAI's; in a stream with the call's index.
    pub fn object(&self, streamed: bool) -> Value {
        let mut object = match &self.begins {
            Some((id, name)) => {
                json!({ "id": id, "type": "function", "function": { "name": name, "arguments": self.arguments } })
            }
            None => json!({ "function": { "arguments": self.arguments } }),
        };
        if streamed {
            object["index"] = self.index.into();
        }
        object
    }
}

/// Tells the parts of an answer apart.
pub struct AnswerParts {
    reasoning: Option<Reasoning>,
    calls: Option<Calls>,
    new: NewParts,
}

struct Calls {
    parser: ToolParser,
    parallel: bool,
    form: ToolForm,
    /// Calls that began.
    count: usize,
}

impl AnswerParts {
    /// What follows a prompt of a request.
    pub fn new(session: &Session, asked: &Asked, prompt: &[u32]) -> AnswerParts {
        let is_chat = asked.form == Form::Chat;
        let reasoning = is_chat.then(|| session.reasoning(prompt).ok().flatten()).flatten();
        let tag = asked.tools.as_ref().and_then(|tools| tools.form.ends_reasoning());
        let calls = asked.tools.as_ref().map(Calls::new);
        let reasoning = reasoning.map(|reasoning| reasoning.ending_at(tag));
        AnswerParts { reasoning, calls, new: NewParts::default() }
    }

    /// Whether reasoning has begun.
    pub fn reasons(&self) -> bool {
        self.reasoning.as_ref().is_some_and(Reasoning::reasons)
    }

    /// Whether a call has begun.
    pub fn calls(&self) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.count > 0)
    }

    /// Whether calls are why an answer ended that no limit ended: not where one was cut off, by a stop of the request's own or
    /// because it is too long.
    pub fn end_in_calls(&self) -> bool {
        self.calls() && !self.calls.as_ref().is_some_and(|calls| calls.parser.is_cut())
    }

    /// Takes a piece of the text.
    pub fn push(&mut self, text: &str) {
        match self.reasoning.as_mut().map(|reasoning| reasoning.push(text)) {
            None => self.answer(text),
            Some(parts) => {
                self.new.thought += &parts.reasoning;
                self.await_think_end();
                self.answer(&parts.answer);
            }
        }
    }

    /// Takes what was held back, once no more text comes; `is_cut` where something else than the model ended it.
    pub fn end(&mut self, is_cut: bool) {
        if let Some(reasoning) = &self.reasoning {
            let rest = reasoning.clone().finish();
            self.new.thought += &rest.reasoning;
            self.answer(&rest.answer);
        }
        if let Some(calls) = &mut self.calls {
            let deltas = calls.parser.finish(is_cut);
            calls.take(deltas, &mut self.new);
        }
    }

    /// What came since this was asked for last.
    pub fn take(&mut self) -> NewParts {
        std::mem::take(&mut self.new)
    }

    /// A call that ended the reasoning knows where the late end of that is one.
    fn await_think_end(&mut self) {
        let is_late = self.reasoning.as_ref().is_some_and(Reasoning::ended_by_tag);
        if let Some(calls) = self.calls.as_mut().filter(|_| is_late) {
            calls.parser.await_think_end();
        }
    }

    fn answer(&mut self, text: &str) {
        match &mut self.calls {
            None => self.new.text += text,
            Some(calls) => {
                let deltas = calls.parser.push(text);
                calls.take(deltas, &mut self.new);
            }
        }
    }
}

impl Calls {
    fn new(tools: &Tools) -> Calls {
        let parser = ToolParser::new(tools.form, tools.schemas.clone());
        Calls { parser, parallel: tools.parallel, form: tools.form, count: 0 }
    }

    fn take(&mut self, deltas: Vec<ToolDelta>, new: &mut NewParts) {
        for delta in deltas {
            let is_given = self.parallel || self.count <= 1;
            match delta {
                ToolDelta::Text(text) => new.text += &text,
                ToolDelta::Call(name) => {
                    self.count += 1;
                    if self.parallel || self.count == 1 {
                        let begins = Some((new_id(self.form), name));
                        new.calls.push(CallPart::new(self.count - 1, begins, String::new()));
                    }
                }
                ToolDelta::Arguments(text) | ToolDelta::Half(text) if is_given => match new.calls.last_mut() {
                    Some(last) => last.arguments += &text,
                    None => new.calls.push(CallPart::new(self.count - 1, None, text)),
                },
                ToolDelta::Arguments(_) | ToolDelta::Half(_) => {}
            }
        }
    }
}
