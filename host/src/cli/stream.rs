//! Streaming: pieces of text to an output at once.
use std::io::{IsTerminal, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use super::failure::Failure;
use crate::error::Result;
use crate::session::{AnswerCalls, Generation};
use crate::text::{Parts, Reasoning, ToolDelta, ToolParser};

/// Writes each piece of what `generate` gives at once; where nobody reads any more, the generation ends too.
pub fn stream(
    out: &mut impl Write,
    interrupt: &AtomicBool,
    mut dimmed: Dimmed,
    generate: impl FnOnce(&mut dyn FnMut(&str)) -> Result<Generation>,
) -> std::result::Result<Generation, Failure> {
    let mut written = Ok(());
    let mut write = |text: &str| {
        if written.is_ok() {
            written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
        if written.is_err() {
            interrupt.store(true, Ordering::Relaxed);
        }
    };
    let generation = generate(&mut |piece| dimmed.piece(piece, &mut write))?;
    dimmed.end(generation.calls.as_ref(), &mut write);
    written?;
    Ok(generation)
}

/// A generation as [`stream`] writes it where stdout is no terminal.
pub fn shown_text(generation: &Generation) -> String {
    if generation.calls.is_none() {
        return generation.text.clone();
    }
    let (reasoning, text) = generation.parts();
    let parts = [reasoning.unwrap_or_default(), text];
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let calls = generation.calls().iter().map(ToString::to_string);
    let text = Some(parts.join("\n\n")).filter(|text| !text.is_empty());
    text.into_iter().chain(calls).collect::<Vec<_>>().join("\n")
}

/// What stands around reasoning on a terminal.
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Shows reasoning dimmed, and the answer in a paragraph of its own, where stdout is a terminal and NO_COLOR is not set;
/// elsewhere a text is written as it is. Where functions may be called, its parts stand apart everywhere, and the calls come
/// behind the text, each in a line, as OpenAI's API has them.
pub struct Dimmed {
    reasoning: Option<Reasoning>,
    calls: Option<ToolParser>,
    has_colour: bool,
    thought: bool,
    /// Bytes of the answer beside calls.
    answered: usize,
}

impl Dimmed {
    /// A text whose parts `reasoning` and `calls` tell apart.
    pub fn on_terminal(reasoning: Option<Reasoning>, calls: Option<ToolParser>) -> Dimmed {
        let has_colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let reasoning = reasoning.filter(|_| has_colour || calls.is_some());
        Dimmed { reasoning, calls, has_colour, thought: false, answered: 0 }
    }

    /// Calls `show` with a piece as it is to be seen.
    pub fn piece(&mut self, piece: &str, show: &mut dyn FnMut(&str)) {
        match self.reasoning.as_mut().map(|reasoning| reasoning.push(piece)) {
            None => self.answer(piece, show),
            Some(parts) => self.parts(&parts, show),
        }
    }

    /// Calls `show` with the rest that was held back, and with the calls.
    pub fn end(mut self, calls: Option<&AnswerCalls>, show: &mut dyn FnMut(&str)) {
        if let Some(reasoning) = self.reasoning.clone() {
            self.parts(&reasoning.finish(), show);
        }
        let Some(AnswerCalls { text, list, .. }) = calls else { return };
        // Whether the last of the text is a call is known by its end alone.
        self.calls = None;
        self.answer(text.get(self.answered..).unwrap_or_default(), show);
        for call in list {
            let begins = self.answered == 0 && !self.thought;
            show(&format!("{}{call}", if begins { "" } else { "\n" }));
            self.thought = true;
        }
    }

    fn parts(&mut self, Parts { reasoning, answer }: &Parts, show: &mut dyn FnMut(&str)) {
        if !reasoning.is_empty() {
            let (dim, plain) = if self.has_colour { (DIM, PLAIN) } else { ("", "") };
            show(&format!("{dim}{reasoning}{plain}"));
            self.thought = true;
        }
        self.answer(answer, show);
    }

    fn answer(&mut self, text: &str, show: &mut dyn FnMut(&str)) {
        let said = match &mut self.calls {
            None => text.to_owned(),
            Some(calls) => {
                if self.reasoning.as_ref().is_some_and(Reasoning::ended_by_tag) {
                    calls.await_think_end();
                }
                let said = |delta| if let ToolDelta::Text(text) = delta { Some(text) } else { None };
                calls.push(text).into_iter().filter_map(said).collect()
            }
        };
        if said.is_empty() {
            return;
        }
        if self.thought && self.answered == 0 {
            show("\n\n");
        }
        show(&said);
        self.answered += said.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_is_dimmed_and_the_answer_stands_apart() {
        let reasoning = Some(Reasoning::behind("<think>\n"));
        let mut dimmed = Dimmed { reasoning, calls: None, has_colour: true, thought: false, answered: 0 };
        let mut seen = String::new();
        for piece in ["Why", " not?\n</thi", "nk>\n\nBlue", " sky"] {
            dimmed.piece(piece, &mut |text| seen += text);
        }
        dimmed.end(None, &mut |text| seen += text);
        assert_eq!(seen, "\x1b[2mWhy\x1b[0m\x1b[2m not?\x1b[0m\n\nBlue sky");
    }
}
