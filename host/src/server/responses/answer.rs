//! `ResponseObject`: an answer as the Responses API has it, as a whole and as far as it is there.
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::super::answers::AnswerEvent;
use super::super::blocks::{AnswerBlock, BlockKind, BlockStep, OneAnswer};
use super::super::error::ApiError;
use super::super::prepare::Asked;
use crate::session::Session;

/// The answer of a request.
pub struct ResponseObject {
    pub answer: OneAnswer,
    asked: Arc<Asked>,
    name: String,
    created: u64,
    /// When it was whole, if it is.
    completed: Option<u64>,
    model: String,
    /// What the response repeats of the request.
    told: Value,
}

impl ResponseObject {
    /// A request of this name; `told` is what the response repeats of it.
    pub fn new(session: &'static Session, asked: Arc<Asked>, name: &str, model: &str, told: Value) -> ResponseObject {
        let answer = OneAnswer::new(session, &asked);
        let (name, model) = (name.to_owned(), model.to_owned());
        ResponseObject { answer, asked, name, created: now(), completed: None, model, told }
    }

    /// Takes what has become of the answer, and gives what becomes of which block.
    ///
    /// # Errors
    /// The request failed.
    pub fn take(&mut self, event: AnswerEvent) -> Result<Vec<(usize, BlockStep)>, ApiError> {
        let steps = self.answer.take(event)?;
        self.completed =
            self.completed.or_else(|| (self.status() == "completed").then(now)).filter(|_| self.answer.end.is_some());
        Ok(steps)
    }

    /// The response of this status.
    pub fn object(&self, status: &str) -> Value {
        let sampling = &self.asked.prompts[0].request.sampling;
        let is_cut = status == "incomplete";
        let mut object = json!({
            "id": format!("resp_{}", self.name),
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": is_cut.then(|| json!({ "reason": "max_output_tokens" })),
            "model": self.model,
            "output": (0..self.answer.blocks.list().len()).map(|index| self.item(index)).collect::<Vec<_>>(),
            "previous_response_id": null,
            "store": false,
            "background": false,
            "completed_at": self.completed,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "top_logprobs": 0,
            "max_tool_calls": null,
            "service_tier": "default",
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "usage": self.answer.end.as_ref().map(|_| self.usage()),
        });
        if let (Some(object), Some(told)) = (object.as_object_mut(), self.told.as_object()) {
            object.extend(told.clone());
        }
        object
    }

    /// How it ended.
    pub fn status(&self) -> &'static str {
        let is_cut = self.answer.end.as_ref().is_some_and(|end| end.finish_reason == "length");
        if is_cut { "incomplete" } else { "completed" }
    }

    fn usage(&self) -> Value {
        let (prompt, tokens) = (self.asked.prompts[0].request.prompt.len(), self.answer.tokens());
        let cached = self.answer.end.as_ref().map_or(0, |end| end.cached);
        json!({
            "input_tokens": prompt,
            "input_tokens_details": { "cached_tokens": cached },
            "output_tokens": tokens,
            "output_tokens_details": { "reasoning_tokens": self.answer.reasoning_tokens() },
            "total_tokens": prompt + tokens,
        })
    }

    /// What an item is called.
    pub fn id(&self, index: usize) -> String {
        let prefix = match self.answer.blocks.list()[index].kind {
            BlockKind::Reasoning => "rs",
            BlockKind::Text => "msg",
            BlockKind::Call { .. } => "fc",
        };
        format!("{prefix}_{}_{index}", self.name)
    }

    /// An item of the output; the last text and the last call may have been cut off.
    pub fn item(&self, index: usize) -> Value {
        let blocks = self.answer.blocks.list();
        let block = &blocks[index];
        let is_cut = match &block.kind {
            BlockKind::Call { .. } => serde_json::from_str::<IgnoredAny>(&block.text).is_err(),
            _ => index + 1 == blocks.len() && self.status() == "incomplete",
        };
        let mut item = self.begun(index);
        item["status"] = if is_cut { "incomplete" } else { "completed" }.into();
        match &block.kind {
            BlockKind::Reasoning | BlockKind::Text => item["content"] = json!([part(block)]),
            BlockKind::Call { .. } => item["arguments"] = block.text.as_str().into(),
        }
        item
    }

    /// An item that has nothing yet.
    pub fn begun(&self, index: usize) -> Value {
        let id = self.id(index);
        match &self.answer.blocks.list()[index].kind {
            BlockKind::Reasoning => {
                json!({ "id": id, "type": "reasoning", "status": "in_progress", "summary": [], "content": [] })
            }
            BlockKind::Text => {
                json!({ "id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": [] })
            }
            BlockKind::Call { id: call, name } => json!({
                "id": id, "type": "function_call", "status": "in_progress", "call_id": call, "name": name, "arguments": "",
            }),
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// The part of a content that a block is.
pub fn part(block: &AnswerBlock) -> Value {
    if block.kind == BlockKind::Reasoning {
        return json!({ "type": "reasoning_text", "text": block.text });
    }
    json!({ "type": "output_text", "text": block.text, "annotations": [], "logprobs": [] })
}
