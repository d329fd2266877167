//! `Output`: the text that a parser has not decided on, and what it made of the text in front of that.
use super::super::reasoning::CLOSE as THINK_END;
use super::ToolDelta;

/// What a part of the text was.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text beside calls.
    Text,
    /// A tag, a separator, or white space beside one.
    Mark,
    /// What a call is made of: a value, or a whole object.
    Call,
}

/// What becomes of the end of reasoning that a call has ended already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Late {
    #[default]
    No,
    Awaited,
    /// It came, and may come again until there is text behind it.
    Came,
    /// No more.
    Over,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    taken: String,
    /// Bytes of `taken` that are decided on.
    decided: usize,
    /// Whether no more text comes.
    ended: bool,
    /// Whether something else than the model ended it.
    is_cut: bool,
    /// Whether a call ended the reasoning, whose own end may yet come and is no text, and whether it has.
    late: Late,
    deltas: Vec<ToolDelta>,
    /// White space that is text if more text follows.
    space: String,
    /// Whether a tag came behind the last text.
    behind_mark: bool,
    /// Whether there was text that is no white space.
    begun: bool,
    /// The whole text in its parts.
    #[cfg(test)]
    pub parts: Vec<(Part, String)>,
}

impl Output {
    /// More text comes.
    pub fn take(&mut self, piece: &str) {
        self.taken += piece;
    }

    /// No more text comes.
    pub fn end(&mut self, is_cut: bool) {
        (self.ended, self.is_cut) = (true, is_cut);
    }

    /// Whether something else than the model ended the text.
    pub fn is_cut(&self) -> bool {
        self.ended && self.is_cut
    }

    /// The end of the reasoning comes late, if it does.
    pub fn await_think_end(&mut self) {
        if self.late == Late::No {
            self.late = Late::Awaited;
        }
    }

    /// A tag that is none of the calls' and no text either, where it may come.
    pub fn late_tag(&self) -> Option<&'static str> {
        matches!(self.late, Late::Awaited | Late::Came).then_some(THINK_END)
    }

    /// That tag comes next.
    pub fn late_end(&mut self) {
        self.late = Late::Came;
        self.mark(THINK_END.len());
    }

    /// The text that is not decided on.
    pub fn held(&self) -> &str {
        &self.taken[self.decided..]
    }

    /// Decides on the next `bytes`.
    fn decide(&mut self, bytes: usize) -> String {
        let piece = self.held()[..bytes].to_owned();
        self.decided += bytes;
        // Not each time: what is held may be long.
        if self.decided * 2 >= self.taken.len() {
            self.taken.drain(..self.decided);
            self.decided = 0;
        }
        piece
    }

    /// Whether no more text comes.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The next `bytes` are text.
    pub fn text(&mut self, bytes: usize) {
        let piece = self.decide(bytes);
        #[cfg(test)]
        self.parts.push((Part::Text, piece.clone()));
        let end = piece.trim_end().len();
        if end == 0 {
            self.space += &piece;
            return;
        }
        if self.late == Late::Came {
            self.late = Late::Over;
        }
        let mut text = std::mem::take(&mut self.space);
        if self.behind_mark && !self.begun {
            text.clear();
            text += piece[..end].trim_start();
        } else {
            text += &piece[..end];
        }
        (self.begun, self.behind_mark) = (true, false);
        self.space += &piece[end..];
        self.add_text(text);
    }

    /// The next `bytes` are a tag or stand beside one.
    pub fn mark(&mut self, bytes: usize) {
        let _piece = self.decide(bytes);
        #[cfg(test)]
        self.parts.push((Part::Mark, _piece));
        self.behind_mark = true;
    }

    /// The next `bytes` are white space where a tag is expected: behind a text they may be part of it.
    pub fn beside(&mut self, bytes: usize) {
        if self.behind_mark { self.mark(bytes) } else { self.text(bytes) }
    }

    /// The next `bytes` are what a call is made of; they are returned.
    pub fn source(&mut self, bytes: usize) -> String {
        let piece = self.decide(bytes);
        #[cfg(test)]
        self.parts.push((Part::Call, piece.clone()));
        piece
    }

    /// A call begins.
    pub fn call(&mut self, name: String) {
        self.behind_mark = true;
        self.deltas.push(ToolDelta::Call(name));
    }

    /// The next part of the call's arguments.
    pub fn arguments(&mut self, text: String) {
        self.deltas.push(ToolDelta::Arguments(text));
    }

    /// The arguments end in a value that was cut off.
    pub fn half(&mut self, text: String) {
        self.deltas.push(ToolDelta::Half(text));
    }

    /// What came since this was asked for last.
    pub fn deltas(&mut self) -> Vec<ToolDelta> {
        std::mem::take(&mut self.deltas)
    }

    /// White space at the end, where it is text.
    pub fn finish(&mut self) -> Option<ToolDelta> {
        let space = std::mem::take(&mut self.space);
        (!self.behind_mark && !space.is_empty()).then_some(ToolDelta::Text(space))
    }

    fn add_text(&mut self, text: String) {
        match self.deltas.last_mut() {
            Some(ToolDelta::Text(last)) => *last += &text,
            _ => self.deltas.push(ToolDelta::Text(text)),
        }
    }
}

/// Where the first of `marks`, which begin with `<`, stands in `text`.
pub(super) fn first(text: &str, marks: &[&str]) -> Option<usize> {
    let mut tags = text.match_indices('<').map(|(at, _)| at);
    tags.find(|&at| marks.iter().any(|mark| text[at..].starts_with(mark)))
}

/// Bytes at the end of `text` that may begin one of `marks`.
pub(super) fn begun(text: &str, marks: &[&str]) -> usize {
    let begun = |mark: &&str| (1..mark.len()).rev().find(|&bytes| text.ends_with(&mark[..bytes]));
    marks.iter().filter_map(begun).max().unwrap_or(0)
}

/// Whether `text` may become one of `marks`.
pub(super) fn may_become(text: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| mark.len() > text.len() && mark.starts_with(text))
}
