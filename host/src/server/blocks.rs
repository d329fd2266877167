//! `OneAnswer`: the only answer of a request as a row of blocks, in the order in which they came: reasoning, text, and calls.
use std::sync::Arc;

use super::answers::{AnswerEvent, End};
use super::error::ApiError;
use super::parts::{AnswerParts, NewParts};
use super::prepare::Asked;
use crate::session::Session;

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockKind {
    Reasoning,
    Text,
    /// A call of a function; the block's text is the arguments.
    Call {
        id: String,
        name: String,
    },
}

/// A block as far as it is there.
#[derive(Clone, Debug)]
pub struct AnswerBlock {
    pub kind: BlockKind,
    pub text: String,
}

/// What has become of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum BlockStep {
    Begins,
    /// More of its text.
    More(String),
    Ends,
}

/// The blocks of an answer.
#[derive(Default)]
pub struct Blocks {
    list: Vec<AnswerBlock>,
    open: bool,
}

impl Blocks {
    /// All of them.
    pub fn list(&self) -> &[AnswerBlock] {
        &self.list
    }

    /// Takes new parts, and gives what becomes of which block.
    fn take(&mut self, new: NewParts) -> Vec<(usize, BlockStep)> {
        let mut steps = Vec::new();
        self.text(BlockKind::Reasoning, new.thought, &mut steps);
        let (begun, goes_on): (Vec<_>, Vec<_>) = new.calls.into_iter().partition(|call| call.begins.is_some());
        // What belongs to a call that has begun goes in front of text behind it.
        goes_on.into_iter().for_each(|part| self.more(part.arguments, &mut steps));
        self.text(BlockKind::Text, new.text, &mut steps);
        for part in begun {
            let (id, name) = part.begins.unwrap_or_default();
            self.begin(BlockKind::Call { id, name }, &mut steps);
            self.more(part.arguments, &mut steps);
        }
        steps
    }

    fn text(&mut self, kind: BlockKind, text: String, steps: &mut Vec<(usize, BlockStep)>) {
        if text.is_empty() {
            return;
        }
        if !self.open || self.list.last().is_none_or(|last| last.kind != kind) {
            self.begin(kind, steps);
        }
        self.more(text, steps);
    }

    fn begin(&mut self, kind: BlockKind, steps: &mut Vec<(usize, BlockStep)>) {
        self.end(steps);
        steps.push((self.list.len(), BlockStep::Begins));
        self.list.push(AnswerBlock { kind, text: String::new() });
        self.open = true;
    }

    fn more(&mut self, text: String, steps: &mut Vec<(usize, BlockStep)>) {
        let index = self.list.len().saturating_sub(1);
        if let Some(last) = self.list.last_mut().filter(|_| !text.is_empty()) {
            last.text += &text;
            steps.push((index, BlockStep::More(text)));
        }
    }

    fn end(&mut self, steps: &mut Vec<(usize, BlockStep)>) {
        if std::mem::take(&mut self.open) {
            steps.push((self.list.len() - 1, BlockStep::Ends));
        }
    }
}

/// The answer of a request that has one.
pub struct OneAnswer {
    session: &'static Session,
    asked: Arc<Asked>,
    parts: AnswerParts,
    pub blocks: Blocks,
    /// Its tokens so far.
    ids: Vec<u32>,
    pub end: Option<End>,
}

impl OneAnswer {
    /// What follows the prompt of a request.
    pub fn new(session: &'static Session, asked: &Arc<Asked>) -> OneAnswer {
        let (asked, parts) = (asked.clone(), AnswerParts::new(session, asked, &asked.prompts[0].request.prompt));
        OneAnswer { session, asked, parts, blocks: Blocks::default(), ids: Vec::new(), end: None }
    }

    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Those of them that are reasoning, without its tags.
    pub fn reasoning_tokens(&self) -> usize {
        let request = &self.asked.prompts[0].request;
        self.session.reasoning_tokens(&request.prompt, &self.ids, request.text.tags).unwrap_or_default()
    }

    /// Takes an event, and gives what becomes of which block.
    ///
    /// # Errors
    /// The request failed.
    pub fn take(&mut self, event: AnswerEvent) -> Result<Vec<(usize, BlockStep)>, ApiError> {
        match event {
            AnswerEvent::Failed(error) => return Err(error),
            AnswerEvent::Scored { .. } => {}
            AnswerEvent::Piece { piece, .. } => {
                self.ids.extend(piece.id);
                self.parts.push(&piece.text);
            }
            AnswerEvent::End { end, .. } => {
                self.parts.push(&end.rest);
                self.parts.end(end.is_cut());
                self.end = Some(end);
            }
        }
        let mut steps = self.blocks.take(self.parts.take());
        if self.end.is_some() {
            self.blocks.end(&mut steps);
        }
        Ok(steps)
    }

    /// As [`AnswerParts::end_in_calls`].
    pub fn end_in_calls(&self) -> bool {
        self.parts.end_in_calls()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::CallPart;
    use super::*;

    #[test]
    fn a_call_goes_on_in_front_of_the_text_behind_it() {
        let call = |begins: Option<&str>, arguments: &str| {
            let begins = begins.map(|name| ("id".to_owned(), name.to_owned()));
            CallPart::new(0, begins, arguments.to_owned())
        };
        let parts = |thought: &str, text: &str, calls: Vec<CallPart>| NewParts {
            thought: thought.to_owned(),
            text: text.to_owned(),
            calls,
        };
        let mut blocks = Blocks::default();
        let mut steps = blocks.take(parts("hm", "", vec![]));
        steps.extend(blocks.take(parts("m", "so", vec![call(Some("f"), "{")])));
        steps.extend(blocks.take(parts("", "and", vec![call(None, "}"), call(Some("g"), "")])));
        blocks.end(&mut steps);
        let more = |text: &str| BlockStep::More(text.to_owned());
        let expected = [
            (0, BlockStep::Begins),
            (0, more("hm")),
            (0, more("m")),
            (0, BlockStep::Ends),
            (1, BlockStep::Begins),
            (1, more("so")),
            (1, BlockStep::Ends),
            (2, BlockStep::Begins),
            (2, more("{")),
            (2, more("}")),
            (2, BlockStep::Ends),
            (3, BlockStep::Begins),
            (3, more("and")),
            (3, BlockStep::Ends),
            (4, BlockStep::Begins),
            (4, BlockStep::Ends),
        ];
        assert_eq!(steps, expected);
        assert_eq!(
            blocks.list().iter().map(|block| block.text.as_str()).collect::<Vec<_>>(),
            ["hmm", "so", "{}", "and", ""]
        );
    }
}
