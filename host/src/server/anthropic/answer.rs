//! `MessageShape`: an answer as Anthropic's API has it: a message, or the events of its stream.
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::super::answers::AnswerEvent;
use super::super::blocks::{AnswerBlock, BlockKind, BlockStep, OneAnswer};
use super::super::error::ApiError;
use super::super::prepare::Asked;
use super::super::stream::{AnswerShape, StreamEvent};
use super::errors;
use crate::session::Session;

/// The answer of a request.
pub struct MessageShape {
    answer: OneAnswer,
    asked: Arc<Asked>,
    context: usize,
    name: String,
    model: String,
    begun: bool,
}

impl MessageShape {
    /// A request of this name.
    pub fn new(session: &'static Session, asked: Arc<Asked>, name: &str, model: &str) -> MessageShape {
        let answer = OneAnswer::new(session, &asked);
        let (name, model) = (name.to_owned(), model.to_owned());
        MessageShape { answer, asked, context: session.context(), name, model, begun: false }
    }

    /// The message with what is known of it.
    fn message(&self, content: Vec<Value>) -> Value {
        let (stop_reason, stop_sequence) = self.stop();
        json!({
            "id": format!("msg_{}", self.name),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "container": null,
            "stop_details": null,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence,
            "usage": self.usage(),
        })
    }

    /// Why it ended, and the stop sequence that came. Calls go first: the client is to answer them.
    fn stop(&self) -> (Option<&'static str>, Value) {
        let Some(end) = &self.answer.end else { return (None, Value::Null) };
        let is_full = self.prompt() + self.answer.tokens() >= self.context;
        let reason = match end.finish_reason {
            "length" if is_full => "model_context_window_exceeded",
            "length" => "max_tokens",
            _ if self.answer.end_in_calls() => "tool_use",
            _ if end.stop_reason.is_string() => return (Some("stop_sequence"), end.stop_reason.clone()),
            _ => "end_turn",
        };
        (Some(reason), Value::Null)
    }

    fn prompt(&self) -> usize {
        self.asked.prompts[0].request.prompt.len()
    }

    /// Tokens; those that came from the cache are no input tokens here.
    fn usage(&self) -> Value {
        let cached = self.answer.end.as_ref().map_or(0, |end| end.cached);
        json!({
            "input_tokens": self.prompt() - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "cache_creation": null,
            "inference_geo": null,
            "server_tool_use": null,
            "service_tier": null,
            "output_tokens": self.answer.tokens(),
            "output_tokens_details": { "thinking_tokens": self.answer.reasoning_tokens() },
        })
    }

    /// What the client is told of a step.
    fn event(&self, index: usize, step: BlockStep, events: &mut Vec<StreamEvent>) {
        let AnswerBlock { kind, .. } = &self.answer.blocks.list()[index];
        let mut delta = |delta: Value| {
            events.push(StreamEvent::typed("content_block_delta", json!({ "index": index, "delta": delta })));
        };
        match (step, kind) {
            (BlockStep::Begins, kind) => {
                let empty = AnswerBlock { kind: kind.clone(), text: String::new() };
                let start = json!({ "index": index, "content_block": block(&empty) });
                events.push(StreamEvent::typed("content_block_start", start));
            }
            (BlockStep::More(text), BlockKind::Reasoning) => {
                delta(json!({ "type": "thinking_delta", "thinking": text }))
            }
            (BlockStep::More(text), BlockKind::Text) => delta(json!({ "type": "text_delta", "text": text })),
            (BlockStep::More(text), BlockKind::Call { .. }) => {
                delta(json!({ "type": "input_json_delta", "partial_json": text }));
            }
            (BlockStep::Ends, kind) => {
                if *kind == BlockKind::Reasoning {
                    delta(json!({ "type": "signature_delta", "signature": "" }));
                }
                events.push(StreamEvent::typed("content_block_stop", json!({ "index": index })));
            }
        }
    }
}

impl AnswerShape for MessageShape {
    const PING: Option<(&'static str, &'static str)> = Some(("ping", "{\"type\":\"ping\"}"));

    fn take(&mut self, event: AnswerEvent) -> Result<(), ApiError> {
        self.answer.take(event).map(drop)
    }

    fn stream(&mut self, event: AnswerEvent) -> Result<Vec<StreamEvent>, ApiError> {
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            events.push(StreamEvent::typed("message_start", json!({ "message": self.message(Vec::new()) })));
            events.push(StreamEvent::typed("ping", json!({})));
        }
        for (index, step) in self.answer.take(event)? {
            self.event(index, step, &mut events);
        }
        if self.is_done() {
            let (stop_reason, stop_sequence) = self.stop();
            let delta = json!({ "stop_reason": stop_reason, "stop_sequence": stop_sequence });
            events.push(StreamEvent::typed("message_delta", json!({ "delta": delta, "usage": self.usage() })));
            events.push(StreamEvent::typed("message_stop", json!({})));
        }
        Ok(events)
    }

    fn is_done(&self) -> bool {
        self.answer.end.is_some()
    }

    fn whole(self) -> Value {
        self.message(self.answer.blocks.list().iter().map(block).collect())
    }

    fn failed(&mut self, error: &ApiError) -> Vec<StreamEvent> {
        vec![StreamEvent::typed("error", errors::object(error, &self.name))]
    }
}

/// A block of a content. Nothing here signs reasoning.
fn block(block: &AnswerBlock) -> Value {
    match &block.kind {
        BlockKind::Reasoning => json!({ "type": "thinking", "thinking": block.text, "signature": "" }),
        BlockKind::Text => json!({ "type": "text", "text": block.text, "citations": null }),
        BlockKind::Call { id, name } => {
            let caller = json!({ "type": "direct" });
            json!({ "type": "tool_use", "id": id, "name": name, "input": entries(&block.text), "caller": caller })
        }
    }
}

/// The arguments of a call; of one that was cut off, those that are whole.
fn entries(arguments: &str) -> Map<String, Value> {
    let mut entries = Map::new();
    // What is cut off ends in an error, behind the last whole one.
    let _ = Entries(&mut entries).deserialize(&mut serde_json::Deserializer::from_str(arguments));
    entries
}

struct Entries<'a>(&'a mut Map<String, Value>);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the arguments of a call")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry()? {
            self.0.insert(key, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_arguments_of_a_call_that_was_cut_off_are_kept() {
        for (text, whole) in [
            (r#"{"a": 1, "b": "x"}"#, json!({ "a": 1, "b": "x" })),
            (r#"{"a": 1, "b": "x"#, json!({ "a": 1 })),
            (r#"{"a": 1"#, json!({ "a": 1 })),
            (r#"{"a": [1, "#, json!({})),
            ("", json!({})),
        ] {
            assert_eq!(Value::from(entries(text)), whole, "{text}");
        }
    }
}
