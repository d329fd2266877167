//! `ResponseEvents`: the events of a stream of the Responses API, each with its number.
use serde_json::{Value, json};

use super::super::answers::AnswerEvent;
use super::super::blocks::{AnswerBlock, BlockKind, BlockStep};
use super::super::error::ApiError;
use super::super::stream::{AnswerShape, StreamEvent};
use super::answer::{ResponseObject, part};

/// A response, and how many events its stream has had.
pub struct ResponseEvents {
    response: ResponseObject,
    number: u64,
}

impl ResponseEvents {
    /// A response of which nothing was sent.
    pub fn new(response: ResponseObject) -> ResponseEvents {
        ResponseEvents { response, number: 0 }
    }

    fn event(&mut self, name: &'static str, mut fields: Value) -> StreamEvent {
        fields["sequence_number"] = self.number.into();
        self.number += 1;
        StreamEvent::typed(name, fields)
    }

    /// What the client is told of a step.
    fn step(&mut self, index: usize, step: BlockStep) -> Vec<StreamEvent> {
        let block = self.response.answer.blocks.list()[index].clone();
        match step {
            BlockStep::Begins => self.begins(index, &block),
            BlockStep::More(text) => {
                let name = match block.kind {
                    BlockKind::Reasoning => "response.reasoning_text.delta",
                    BlockKind::Text => "response.output_text.delta",
                    BlockKind::Call { .. } => "response.function_call_arguments.delta",
                };
                let mut fields = self.place(index, &block);
                fields["delta"] = text.into();
                vec![self.event(name, fields)]
            }
            BlockStep::Ends => self.ends(index, &block),
        }
    }

    fn begins(&mut self, index: usize, block: &AnswerBlock) -> Vec<StreamEvent> {
        let item = self.response.begun(index);
        let mut events = vec![self.event("response.output_item.added", json!({ "output_index": index, "item": item }))];
        if !matches!(block.kind, BlockKind::Call { .. }) {
            let mut fields = self.place(index, block);
            fields["part"] = part(&AnswerBlock { kind: block.kind.clone(), text: String::new() });
            events.push(self.event("response.content_part.added", fields));
        }
        events
    }

    fn ends(&mut self, index: usize, block: &AnswerBlock) -> Vec<StreamEvent> {
        let place = self.place(index, block);
        let mut events = Vec::new();
        let mut done = place.clone();
        match &block.kind {
            BlockKind::Call { name, .. } => {
                done["name"] = name.as_str().into();
                done["arguments"] = block.text.as_str().into();
                events.push(self.event("response.function_call_arguments.done", done));
            }
            kind => {
                let is_text = *kind == BlockKind::Text;
                let name = if is_text { "response.output_text.done" } else { "response.reasoning_text.done" };
                done["text"] = block.text.as_str().into();
                events.push(self.event(name, done));
                let mut fields = place;
                fields["part"] = part(block);
                events.push(self.event("response.content_part.done", fields));
            }
        }
        let item = self.response.item(index);
        events.push(self.event("response.output_item.done", json!({ "output_index": index, "item": item })));
        events
    }

    /// Which item an event is of, and which part of it.
    fn place(&self, index: usize, block: &AnswerBlock) -> Value {
        let mut place = json!({ "item_id": self.response.id(index), "output_index": index });
        if !matches!(block.kind, BlockKind::Call { .. }) {
            place["content_index"] = 0.into();
        }
        if block.kind == BlockKind::Text {
            place["logprobs"] = json!([]);
        }
        place
    }
}

impl AnswerShape for ResponseEvents {
    fn take(&mut self, event: AnswerEvent) -> Result<(), ApiError> {
        self.response.take(event).map(drop)
    }

    fn stream(&mut self, event: AnswerEvent) -> Result<Vec<StreamEvent>, ApiError> {
        let mut events = Vec::new();
        if self.number == 0 {
            let begun = json!({ "response": self.response.object("in_progress") });
            events.push(self.event("response.created", begun.clone()));
            events.push(self.event("response.in_progress", begun));
        }
        for (index, step) in self.response.take(event)? {
            events.extend(self.step(index, step));
        }
        if self.is_done() {
            let status = self.response.status();
            let name = if status == "completed" { "response.completed" } else { "response.incomplete" };
            let response = self.response.object(status);
            events.push(self.event(name, json!({ "response": response })));
        }
        Ok(events)
    }

    fn is_done(&self) -> bool {
        self.response.answer.end.is_some()
    }

    fn whole(self) -> Value {
        self.response.object(self.response.status())
    }

    fn failed(&mut self, error: &ApiError) -> Vec<StreamEvent> {
        let mut response = self.response.object("failed");
        response["error"] = json!({ "code": "server_error", "message": error.message() });
        vec![self.event("response.failed", json!({ "response": response }))]
    }
}
