//! `Reasoning`: what a model thinks before it answers, told apart from the answer as both come.
/// The tags around reasoning.
pub const THINK_TAGS: [&str; 2] = [OPEN, CLOSE];

const OPEN: &str = "<think>";

/// The tag that ends reasoning.
pub(super) const CLOSE: &str = "</think>";

/// What may be shown of both by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Of the reasoning.
    pub reasoning: String,
    /// Of the answer behind it.
    pub answer: String,
}

/// Parts a text at `</think>`, which models sometimes write twice. White space around the reasoning belongs to neither part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasoning {
    state: State,
    /// White space in front of what is held, which is looked at once: it may stand in front of the text, or end a part.
    spaces: String,
    /// What the next piece decides upon: a mark that may have begun.
    held: String,
    reasons: bool,
    /// A tag of the answer that ends the reasoning too.
    tag: Option<&'static str>,
    ended_by_tag: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came yet but what may become `<think>`, or be the second `</think>` behind a prompt that has one.
    Undecided {
        closed: bool,
    },
    /// In front of the reasoning's first word, and behind it.
    Opened,
    Thinking,
    /// In front of the answer's first word, and behind it.
    Closed,
    Answering,
}

impl Reasoning {
    /// What follows `prompt`, which may end with `<think>`: then reasoning comes first. Else it does if the text says so.
    pub fn behind(prompt: &str) -> Reasoning {
        let prompt = prompt.trim_end();
        let opened = prompt.ends_with(OPEN);
        let state = if opened { State::Opened } else { State::Undecided { closed: prompt.ends_with(CLOSE) } };
        let (spaces, held) = (String::new(), String::new());
        Reasoning { state, spaces, held, reasons: opened, tag: None, ended_by_tag: false }
    }

    /// Lets `tag` end the reasoning too, of which the answer then begins with it.
    pub fn ending_at(self, tag: Option<&'static str>) -> Reasoning {
        Reasoning { tag, ..self }
    }

    /// Whether the reasoning ended at such a tag: its `</think>` may yet come, and whoever reads the answer knows where it
    /// is one.
    pub fn ended_by_tag(&self) -> bool {
        self.ended_by_tag
    }

    /// Whether reasoning has begun.
    pub fn reasons(&self) -> bool {
        self.reasons
    }

    /// Whether the prompt has ended the reasoning.
    pub fn is_closed(&self) -> bool {
        self.state == State::Undecided { closed: true }
    }

    /// Takes a piece of the text and gives what no later one can change.
    pub fn push(&mut self, piece: &str) -> Parts {
        self.held += piece;
        let mut parts = Parts::default();
        while self.advance(&mut parts) {}
        parts
    }

    /// The rest that was held back.
    pub fn finish(self) -> Parts {
        match self.state {
            State::Thinking => Parts { reasoning: self.behind_spaces(self.held.trim_end()), ..Parts::default() },
            State::Opened => Parts::default(),
            State::Undecided { .. } | State::Closed | State::Answering => {
                Parts { answer: self.spaces + &self.held, ..Parts::default() }
            }
        }
    }

    /// A text with the white space that waits in front of it; nothing for no text.
    fn behind_spaces(&self, text: &str) -> String {
        if text.is_empty() { String::new() } else { format!("{}{text}", self.spaces) }
    }

    /// Moves white space that what is held begins with.
    fn hold_spaces(&mut self) {
        let blank = self.held.len() - self.held.trim_start().len();
        self.spaces.extend(self.held.drain(..blank));
    }

    /// Goes on by one state, as far as what is held decides it.
    fn advance(&mut self, parts: &mut Parts) -> bool {
        match self.state {
            State::Undecided { closed } => {
                self.hold_spaces();
                let text = self.held.as_str();
                if let Some(rest) = text.strip_prefix(OPEN) {
                    return self.enter(State::Opened, rest.to_owned());
                }
                if let Some(rest) = text.strip_prefix(CLOSE).filter(|_| closed) {
                    return self.enter(State::Closed, rest.to_owned());
                }
                let waits = OPEN.starts_with(text) || closed && CLOSE.starts_with(text);
                !waits && self.enter(State::Answering, format!("{}{text}", self.spaces))
            }
            State::Opened => {
                let text = self.held.trim_start().to_owned();
                let is_there = !text.is_empty();
                self.enter(if is_there { State::Thinking } else { State::Opened }, text) && is_there
            }
            State::Closed => {
                let text = self.held.trim_start().to_owned();
                if let Some(rest) = text.strip_prefix(CLOSE) {
                    return self.enter(State::Closed, rest.to_owned());
                }
                let is_there = !CLOSE.starts_with(&text);
                self.enter(if is_there { State::Answering } else { State::Closed }, text) && is_there
            }
            State::Thinking => self.think(parts),
            State::Answering => {
                parts.answer += &std::mem::take(&mut self.held);
                false
            }
        }
    }

    /// Goes on in the reasoning, to its end if that is there.
    fn think(&mut self, parts: &mut Parts) -> bool {
        let (close, tag) = (self.held.find(CLOSE), self.tag.and_then(|tag| self.held.find(tag)));
        if let Some(at) = tag.filter(|tag| close.is_none_or(|close| *tag < close)) {
            parts.reasoning += &self.behind_spaces(self.held[..at].trim_end());
            self.ended_by_tag = true;
            return self.enter(State::Answering, self.held[at..].to_owned());
        }
        if let Some(at) = close {
            parts.reasoning += &self.behind_spaces(self.held[..at].trim_end());
            return self.enter(State::Closed, self.held[at + CLOSE.len()..].to_owned());
        }
        let held = self.held.split_off(self.decided());
        if !self.held.is_empty() {
            parts.reasoning += &self.behind_spaces(&self.held);
            self.spaces.clear();
        }
        self.held = held;
        self.hold_spaces();
        false
    }

    fn enter(&mut self, state: State, held: String) -> bool {
        self.reasons |= state == State::Opened;
        self.spaces.clear();
        (self.state, self.held) = (state, held);
        true
    }

    /// Bytes of the reasoning that is held which neither are white space at its end nor may begin its end.
    fn decided(&self) -> usize {
        let begun = begun(&self.held, CLOSE).max(self.tag.map_or(0, |tag| begun(&self.held, tag)));
        self.held[..self.held.len() - begun].trim_end().len()
    }
}

/// Bytes at the end of `text` that may begin `mark`.
fn begun(text: &str, mark: &str) -> usize {
    (1..mark.len()).rev().find(|&bytes| text.ends_with(&mark[..bytes])).unwrap_or(0)
}

#[cfg(test)]
mod tests;
