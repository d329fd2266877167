//! `Reasoning`: what a model thinks before it answers, told apart from the answer as both come.
const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// What may be shown of both by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Of the reasoning.
    pub reasoning: String,
    /// Of the answer behind it.
    pub answer: String,
}

/// Parts a text at `</think>`. White space around the reasoning belongs to neither part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasoning {
    state: State,
    /// What the next piece decides upon: a mark that may have begun, white space that may end a part.
    held: String,
    reasons: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing came yet but what may become `<think>`.
    Undecided,
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
        let state = if prompt.trim_end().ends_with(OPEN) { State::Opened } else { State::Undecided };
        Reasoning { state, held: String::new(), reasons: state == State::Opened }
    }

    /// Whether reasoning has begun.
    pub fn reasons(&self) -> bool {
        self.reasons
    }

    /// Takes a piece of the text and gives what no later one can change.
    pub fn push(&mut self, piece: &str) -> Parts {
        self.held += piece;
        let mut parts = Parts::default();
        while self.advance(&mut parts) {}
        parts
    }

    /// The rest that was held back.
    pub fn finish(mut self) -> Parts {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => Parts { reasoning: held.trim_end().to_owned(), ..Parts::default() },
            State::Opened | State::Closed => Parts::default(),
            State::Undecided | State::Answering => Parts { answer: held, ..Parts::default() },
        }
    }

    /// Goes on by one state, as far as what is held decides it.
    fn advance(&mut self, parts: &mut Parts) -> bool {
        match self.state {
            State::Undecided => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(OPEN) {
                    return self.enter(State::Opened, rest.to_owned());
                }
                !OPEN.starts_with(text) && self.enter(State::Answering, self.held.clone())
            }
            State::Opened | State::Closed => {
                let next = if self.state == State::Opened { State::Thinking } else { State::Answering };
                let text = self.held.trim_start().to_owned();
                let is_there = !text.is_empty();
                self.enter(if is_there { next } else { self.state }, text) && is_there
            }
            State::Thinking => match self.held.split_once(CLOSE) {
                Some((reasoning, rest)) => {
                    parts.reasoning += reasoning.trim_end();
                    self.enter(State::Closed, rest.to_owned())
                }
                None => {
                    let held = self.held.split_off(self.decided());
                    parts.reasoning += &std::mem::replace(&mut self.held, held);
                    false
                }
            },
            State::Answering => {
                parts.answer += &std::mem::take(&mut self.held);
                false
            }
        }
    }

    fn enter(&mut self, state: State, held: String) -> bool {
        self.reasons |= state == State::Opened;
        (self.state, self.held) = (state, held);
        true
    }

    /// Bytes of the reasoning that is held which neither are white space at its end nor may begin `</think>`.
    fn decided(&self) -> usize {
        let begun = (1..CLOSE.len()).rev().find(|&bytes| self.held.ends_with(&CLOSE[..bytes])).unwrap_or(0);
        self.held[..self.held.len() - begun].trim_end().len()
    }
}

#[cfg(test)]
mod tests;
