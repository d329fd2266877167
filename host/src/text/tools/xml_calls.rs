//! Calls whose arguments are bare text between tags, as Nemotron 3 writes them.
use std::sync::Arc;

use super::ToolSchemas;
use super::output::{Output, begun, first, may_become};
use super::schema::{quoted, value};
use super::xml_tags::{
    CLOSE, ENDS, FUNCTION, FUNCTION_END, Found, INSIDE, MOST_HEAD, OPEN, PARAMETER, PARAMETER_END, ends, named,
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Outside,
    /// In a function, in front of an argument.
    Function,
    /// In the value of an argument.
    Value {
        key: String,
    },
    /// Behind a function that ended.
    Behind,
}

/// Reads such calls; an argument counts once its end is certain.
#[derive(Clone, Debug)]
pub(super) struct XmlCalls {
    tools: Arc<ToolSchemas>,
    state: State,
    name: String,
    /// Arguments of the call so far.
    count: usize,
    /// Bytes of the value in which it does not end.
    searched: usize,
    /// The first closing tag in it, which ends it if nothing else does.
    tag: Option<usize>,
}

impl XmlCalls {
    pub fn new(tools: Arc<ToolSchemas>) -> XmlCalls {
        XmlCalls { tools, state: State::Outside, name: String::new(), count: 0, searched: 0, tag: None }
    }

    /// Whether a call has begun and not ended.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Function | State::Value { .. })
    }

    /// Decides on the next part of the text; not if more text is needed for that.
    pub fn step(&mut self, output: &mut Output) -> bool {
        match &self.state {
            State::Outside => self.outside(output),
            State::Function => self.function(output),
            State::Behind => self.behind(output),
            State::Value { key } => {
                let key = key.clone();
                self.value(output, &key)
            }
        }
    }

    fn outside(&mut self, output: &mut Output) -> bool {
        let held = output.held();
        match first(held, &[OPEN, FUNCTION]) {
            Some(0) => match self.head(held, output.ended()) {
                Found::Waits => false,
                Found::Nothing => {
                    output.text(if held.starts_with(OPEN) { OPEN.len() } else { FUNCTION.len() });
                    true
                }
                Found::Is((bytes, name)) => {
                    output.mark(bytes);
                    output.call(name.clone());
                    (self.name, self.count) = (name, 0);
                    self.enter(State::Function)
                }
            },
            Some(start) => {
                output.text(start);
                true
            }
            None => {
                let waits = if output.ended() { 0 } else { begun(held, &[OPEN, FUNCTION]) };
                output.text(held.len() - waits);
                false
            }
        }
    }

    /// The tags that begin a call, and its name. Without `<tool_call>` the function must be known, and its first argument or its end
    /// must follow: a text may speak of calls.
    fn head(&self, held: &str, ended: bool) -> Found<(usize, String)> {
        let mut rest = held;
        while let Some(behind) = rest.strip_prefix(OPEN)
            && held.len() - behind.len() < MOST_HEAD
        {
            rest = behind.trim_start();
        }
        let found = match named(rest, FUNCTION) {
            Found::Is((bytes, name)) if held.starts_with(OPEN) => {
                Found::Is((held.len() - rest.len() + bytes, name.to_owned()))
            }
            Found::Is((bytes, name)) if self.tools.has(name) => {
                let behind = rest[bytes..].trim_start();
                let (begins, at) = ([PARAMETER, FUNCTION_END], held.len() - behind.len());
                match begins.iter().any(|tag| behind.starts_with(tag) && at + tag.len() <= MOST_HEAD) {
                    true => Found::Is((bytes, name.to_owned())),
                    false if behind.is_empty() || may_become(behind, &begins) => Found::Waits,
                    false => Found::Nothing,
                }
            }
            Found::Is(_) => Found::Nothing,
            Found::Nothing if rest.is_empty() || may_become(rest, &[OPEN]) => Found::Waits,
            other => other.map(|_| (0, String::new())),
        };
        match found {
            Found::Waits if ended || held.len() > MOST_HEAD => Found::Nothing,
            Found::Is((bytes, _)) if bytes > MOST_HEAD => Found::Nothing,
            found => found,
        }
    }

    fn function(&mut self, output: &mut Output) -> bool {
        let space = output.held().len() - output.held().trim_start().len();
        output.beside(space);
        let (held, ended) = (output.held(), output.ended());
        match named(held, PARAMETER) {
            Found::Is((bytes, key)) => {
                let key = key.to_owned();
                output.mark(bytes);
                (self.searched, self.tag) = (0, None);
                return self.enter(State::Value { key });
            }
            Found::Waits if !ended => return false,
            _ => {}
        }
        if held.is_empty() || may_become(held, &INSIDE) {
            if !ended {
                return false;
            }
            let is_cut = held.len() > 1 && may_become(held, &ENDS);
            if is_cut {
                output.mark(held.len());
            }
            return self.close(output, State::Outside);
        }
        if held.starts_with(FUNCTION_END) {
            output.mark(FUNCTION_END.len());
            return self.close(output, State::Behind);
        }
        if [CLOSE, OPEN, FUNCTION].iter().any(|tag| held.starts_with(tag)) {
            return self.close(output, State::Behind);
        }
        // Neither an argument nor the end: text, up to the next tag.
        let next = held.char_indices().skip(1).find(|(_, letter)| *letter == '<').map_or(held.len(), |(at, _)| at);
        output.text(next);
        true
    }

    /// Behind a function `</tool_call>` is expected.
    fn behind(&mut self, output: &mut Output) -> bool {
        let (held, ended) = (output.held(), output.ended());
        let text = held.trim_start();
        let space = held.len() - text.len();
        if space > MOST_HEAD {
            return self.enter(State::Outside);
        }
        if text.starts_with(CLOSE) {
            output.mark(space + CLOSE.len());
        } else if CLOSE.starts_with(text) {
            if !ended {
                return false;
            }
            if text.len() > 1 {
                output.mark(held.len());
            }
        }
        self.enter(State::Outside)
    }

    fn value(&mut self, output: &mut Output, key: &str) -> bool {
        let (held, ended) = (output.held(), output.ended());
        let end = loop {
            let Some(at) = held[self.searched..].find('<').map(|at| at + self.searched) else {
                self.searched = held.len();
                break if ended { self.tag.unwrap_or(held.len()) } else { return false };
            };
            self.searched = at;
            match ends(held, at, ended) {
                Found::Is(()) if held[at..].starts_with(PARAMETER_END) => break at,
                Found::Is(()) => break self.tag.unwrap_or(at),
                Found::Waits if ended => break self.tag.unwrap_or(at),
                Found::Waits => return false,
                Found::Nothing => {
                    let is_tag = held[at..].starts_with(PARAMETER_END);
                    self.tag = self.tag.or(is_tag.then_some(at));
                    self.searched = at + 1;
                }
            }
        };
        let text = output.source(end);
        if output.held().starts_with(PARAMETER_END) {
            output.mark(PARAMETER_END.len());
        } else if may_become(output.held(), &ENDS) {
            output.mark(output.held().len());
        }
        let text = text.strip_prefix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        let value = value(text, key, self.tools.schema(&self.name));
        let begin = if self.count == 0 { "{" } else { ", " };
        output.arguments(format!("{begin}{}: {value}", quoted(key)));
        self.count += 1;
        self.enter(State::Function)
    }

    fn close(&mut self, output: &mut Output, state: State) -> bool {
        output.arguments(if self.count == 0 { "{}" } else { "}" }.to_owned());
        self.enter(state)
    }

    fn enter(&mut self, state: State) -> bool {
        self.state = state;
        true
    }
}
