//! Calls whose arguments are bare text between tags, as Nemotron 3 writes them.
use std::collections::HashSet;
use std::sync::Arc;

use super::output::{Output, begun, first, may_become};
use super::schema::{quoted, value};
use super::xml_tags::{
    CLOSE, ENDS, FUNCTION, FUNCTION_END, Found, MOST_HEAD, OPEN, PARAMETER, PARAMETER_END, ends, inside, named,
};
use super::{MOST_CALL, ToolSchemas};

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
    /// Behind a call that is too long: all is text.
    Plain,
}

/// Reads such calls; an argument counts once its end is certain.
#[derive(Clone, Debug)]
pub(super) struct XmlCalls {
    tools: Arc<ToolSchemas>,
    state: State,
    name: String,
    /// Arguments of the call so far.
    keys: HashSet<String>,
    /// Bytes of those and of their values.
    bytes: usize,
    is_cut: bool,
    /// Bytes of the value in which it does not end.
    searched: usize,
    /// The first closing tag in it, which ends it if nothing else does.
    tag: Option<usize>,
}

impl XmlCalls {
    pub fn new(tools: Arc<ToolSchemas>) -> XmlCalls {
        XmlCalls {
            tools,
            state: State::Outside,
            name: String::new(),
            keys: HashSet::new(),
            bytes: 0,
            is_cut: false,
            searched: 0,
            tag: None,
        }
    }

    /// Whether a call was cut off.
    pub fn is_cut(&self) -> bool {
        self.is_cut
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
            State::Plain => {
                output.text(output.held().len());
                false
            }
        }
    }

    fn outside(&mut self, output: &mut Output) -> bool {
        let (held, late) = (output.held(), output.late_tag());
        let marks = &[OPEN, FUNCTION, late.unwrap_or(OPEN)];
        match first(held, marks) {
            Some(0) if late.is_some_and(|tag| held.starts_with(tag)) => {
                output.late_end();
                true
            }
            Some(0) => match self.head(held, output.ended()) {
                Found::Waits => false,
                Found::Nothing => {
                    output.text(if held.starts_with(OPEN) { OPEN.len() } else { FUNCTION.len() });
                    true
                }
                Found::Is((bytes, name)) => {
                    output.mark(bytes);
                    output.call(name.clone());
                    (self.name, self.bytes) = (name, 0);
                    self.keys.clear();
                    self.enter(State::Function)
                }
            },
            Some(start) => {
                output.text(start);
                true
            }
            None => {
                let waits = if output.ended() { 0 } else { begun(held, marks) };
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
        let (held, ended, inside) = (output.held(), output.ended(), inside(output.late_tag()));
        match named(held, PARAMETER) {
            // One that was given before cannot be given again: that is text.
            Found::Is((_, key)) if self.keys.contains(key) => {}
            Found::Is((bytes, key)) => {
                let key = key.to_owned();
                output.mark(bytes);
                (self.searched, self.tag) = (0, None);
                return self.enter(State::Value { key });
            }
            Found::Waits if !ended => return false,
            _ => {}
        }
        if held.is_empty() || may_become(held, inside) {
            if !ended {
                return false;
            }
            let is_cut = held.len() > 1 && may_become(held, &ENDS);
            if is_cut {
                output.mark(held.len());
            }
            if output.is_cut() {
                self.is_cut = true;
                return self.enter(State::Outside);
            }
            return self.close(output, State::Outside);
        }
        if held.starts_with(FUNCTION_END) {
            output.mark(FUNCTION_END.len());
            return self.close(output, State::Behind);
        }
        if inside[2..].iter().any(|tag| held.starts_with(tag)) {
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
        let room = MOST_CALL.saturating_sub(self.bytes + key.len());
        let (end, is_whole) = match self.end_of_value(output, room) {
            Found::Waits => return false,
            Found::Is(end) => (end, true),
            Found::Nothing => (half_of_value(output.held(), room), false),
        };
        let is_long = !is_whole && output.held().len() > room;
        let text = output.source(end);
        self.bytes += key.len() + end;
        if output.held().starts_with(PARAMETER_END) && !is_long {
            output.mark(PARAMETER_END.len());
        } else if may_become(output.held(), &ENDS) && output.ended() && !is_long {
            output.mark(output.held().len());
        }
        let text = text.strip_prefix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\n').filter(|_| !is_long).unwrap_or(text);
        let begin = if self.keys.is_empty() { "{" } else { ", " };
        if !is_whole {
            let open = quoted(text);
            output.half(format!("{begin}{}: {}", quoted(key), &open[..open.len() - 1]));
            self.is_cut = true;
            return self.enter(if is_long { State::Plain } else { State::Outside });
        }
        let value = value(text, key, self.tools.schema(&self.name));
        output.arguments(format!("{begin}{}: {value}", quoted(key)));
        self.keys.insert(key.to_owned());
        self.enter(State::Function)
    }

    /// Where the value ends; nothing if it is longer than `room`, or was cut off.
    fn end_of_value(&mut self, output: &Output, room: usize) -> Found<usize> {
        let (held, ended, inside) = (output.held(), output.ended(), inside(output.late_tag()));
        loop {
            let at = held[self.searched..].find('<').map(|at| at + self.searched);
            if at.unwrap_or(held.len()) > room {
                return Found::Nothing;
            }
            let Some(at) = at else {
                self.searched = held.len();
                return match ended {
                    true if output.is_cut() => Found::Nothing,
                    true => Found::Is(self.tag.unwrap_or(held.len())),
                    false => Found::Waits,
                };
            };
            self.searched = at;
            match ends(held, at, ended, inside) {
                Found::Is(()) if held[at..].starts_with(PARAMETER_END) => return Found::Is(at),
                Found::Waits if !ended => return Found::Waits,
                // The end of a tag that was cut off.
                Found::Waits if output.is_cut() => return Found::Nothing,
                Found::Is(()) | Found::Waits => return Found::Is(self.tag.unwrap_or(at)),
                Found::Nothing => {
                    let is_tag = held[at..].starts_with(PARAMETER_END);
                    self.tag = self.tag.or(is_tag.then_some(at));
                    self.searched = at + 1;
                }
            }
        }
    }

    fn close(&mut self, output: &mut Output, state: State) -> bool {
        output.arguments(if self.keys.is_empty() { "{}" } else { "}" }.to_owned());
        self.enter(state)
    }

    fn enter(&mut self, state: State) -> bool {
        self.state = state;
        true
    }
}

/// Bytes of a value that does not end: as many as there is room for, and not a closing tag that was cut off.
fn half_of_value(held: &str, room: usize) -> usize {
    if held.len() > room {
        return held.floor_char_boundary(room);
    }
    let tag = held.rfind('<').filter(|&at| held.len() - at > 1 && may_become(&held[at..], &ENDS));
    tag.unwrap_or(held.len())
}
