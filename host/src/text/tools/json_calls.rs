//! Calls that are JSON objects, between tags or alone.
use std::sync::Arc;

use super::json_object::{Scan, call, may_be_call};
use super::output::{Output, begun, may_become};
use super::{MOST_CALL, ToolSchemas};

/// Most bytes in front of a call's object: tags, brackets and white space.
const MOST_HEAD: usize = 256;

/// What stands around calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub open: &'static str,
    pub close: Option<&'static str>,
    /// Whether an answer may begin with a call and no tag. Only functions that are known are called then.
    pub bare: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In front of an answer that may be a bare call.
    Start,
    /// In text.
    Outside,
    /// Behind a call, or behind the end of their list.
    Inside { closed: bool },
    /// Behind a call that is too long: all is text.
    Plain,
}

/// Reads such calls. A call counts once its object is whole.
#[derive(Clone, Debug)]
pub(super) struct JsonCalls {
    marks: Marks,
    tools: Arc<ToolSchemas>,
    state: State,
    scan: Scan,
    /// Tags behind which no call was, once no more text comes: each may look at all that is left.
    in_vain: usize,
    is_cut: bool,
}

/// Of so many such tags the rest of the text is text.
const MOST_IN_VAIN: usize = 64;

/// What stands at the start of the held text.
enum Head {
    /// More text decides.
    Waits,
    /// No call.
    Nothing,
    /// An object, behind so many bytes.
    Object(usize),
    /// The end of an empty list.
    Empty(usize),
}

impl JsonCalls {
    pub fn new(marks: Marks, tools: Arc<ToolSchemas>) -> JsonCalls {
        let state = if marks.bare { State::Start } else { State::Outside };
        JsonCalls { marks, tools, state, scan: Scan::default(), in_vain: 0, is_cut: false }
    }

    /// Whether a call was cut off.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Decides on the next part of the text; not if more text is needed for that.
    pub fn step(&mut self, output: &mut Output) -> bool {
        match self.state {
            State::Start => {
                let text = output.held().trim_start();
                let space = output.held().len() - text.len();
                if text.is_empty() {
                    return output.ended() && self.enter(State::Outside);
                }
                if space < MOST_HEAD && may_be_call(text) {
                    return self.object(output, space, 0);
                }
                self.enter(State::Outside)
            }
            State::Outside => self.outside(output),
            State::Inside { closed } => self.inside(output, closed),
            State::Plain => {
                output.text(output.held().len());
                false
            }
        }
    }

    fn outside(&mut self, output: &mut Output) -> bool {
        if self.in_vain > MOST_IN_VAIN {
            output.text(output.held().len());
            return false;
        }
        let (held, late) = (output.held(), output.late_tag());
        let late_at = late.and_then(|tag| held.find(tag));
        let open = held.find(self.marks.open).filter(|open| late_at.is_none_or(|late| *open < late));
        match open.or(late_at) {
            Some(0) if open.is_none() => {
                output.late_end();
                true
            }
            Some(0) => match self.head(held) {
                Head::Object(bytes) if bytes < MOST_HEAD => self.object(output, bytes, self.marks.open.len()),
                Head::Empty(bytes) if bytes < MOST_HEAD => {
                    output.mark(bytes);
                    self.enter(State::Inside { closed: true })
                }
                Head::Waits if !output.ended() && held.len() < MOST_HEAD => false,
                _ => {
                    self.in_vain += usize::from(output.ended());
                    output.text(self.marks.open.len());
                    true
                }
            },
            Some(start) => {
                output.text(start);
                true
            }
            None => {
                let marks = [self.marks.open, late.unwrap_or(self.marks.open)];
                let waits = if output.ended() { 0 } else { begun(held, &marks) };
                output.text(held.len() - waits);
                false
            }
        }
    }

    /// What follows the opening tag, which may be there twice.
    fn head(&self, held: &str) -> Head {
        let mut rest = held;
        while let Some(behind) = rest.strip_prefix(self.marks.open)
            && held.len() - behind.len() < MOST_HEAD
        {
            rest = behind.trim_start();
        }
        if !rest.is_empty() && may_become(rest, &[self.marks.open]) {
            return Head::Waits;
        }
        let list = rest.strip_prefix('[').map(str::trim_start);
        let at = list.unwrap_or(rest);
        let bytes = held.len() - at.len();
        match at.chars().next() {
            None => Head::Waits,
            Some('{') => Head::Object(bytes),
            Some(']') if list.is_some() => Head::Empty(bytes + 1),
            Some(_) => Head::Nothing,
        }
    }

    /// Takes an object behind `head` bytes, of which `text` are text if it is no call.
    fn object(&mut self, output: &mut Output, head: usize, text: usize) -> bool {
        let found = self.scan.end(output.held().as_bytes(), head);
        if found.unwrap_or(output.held().len()) - head > MOST_CALL {
            self.is_cut = true;
            return self.enter(State::Plain);
        }
        let end = match found {
            Some(end) => end,
            None if output.ended() => output.held().len(),
            None => return false,
        };
        self.is_cut |= found.is_none() && output.is_cut();
        self.scan = Scan::default();
        let (tools, bare) = (&self.tools, self.marks.bare);
        let is_named = |name: &str| if bare { tools.has(name) } else { !name.is_empty() };
        match call(&output.held()[head..end], is_named, !bare) {
            Some((name, arguments)) => {
                output.mark(head);
                output.source(end - head);
                output.call(name);
                output.arguments(arguments);
                self.enter(State::Inside { closed: false })
            }
            None => {
                self.in_vain += usize::from(output.ended());
                output.text(if text == 0 { end } else { text });
                self.enter(State::Outside)
            }
        }
    }

    /// Behind a call: another one, the end of the list, the closing tag, or text.
    fn inside(&mut self, output: &mut Output, closed: bool) -> bool {
        let (held, ended) = (output.held(), output.ended());
        let text = held.trim_start();
        let space = held.len() - text.len();
        let behind = text.strip_prefix([',', ';']).unwrap_or(text).trim_start();
        let close = self.marks.close.filter(|close| text.starts_with(close));
        if space >= MOST_HEAD || held.len() - behind.len() >= MOST_HEAD {
            return self.enter(State::Outside);
        }
        if !closed && behind.starts_with('{') {
            let head = held.len() - behind.len();
            return self.object(output, head, 0);
        }
        if let Some(close) = close {
            output.mark(space + close.len());
            return self.enter(State::Outside);
        }
        if !closed && text.starts_with(']') {
            output.mark(space + 1);
            return self.enter(State::Inside { closed: true });
        }
        let waits = text.is_empty()
            || behind.is_empty() && !closed
            || self.marks.close.is_some_and(|close| close.starts_with(text));
        if waits && !ended {
            return false;
        }
        // A closing tag that was cut off.
        let is_cut = text.len() > 1 && self.marks.close.is_some_and(|close| close.starts_with(text));
        if is_cut {
            output.mark(held.len());
        }
        self.enter(State::Outside)
    }

    fn enter(&mut self, state: State) -> bool {
        self.state = state;
        true
    }
}
