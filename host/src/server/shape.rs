//! `ResponseShape`: what becomes of a request, as objects of OpenAI's APIs: one at the end, or one for each piece.
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::answers::{AnswerEvent, End};
use super::error::ApiError;
use super::logprobs::{self, OfCompletion};
use super::parts::{AnswerParts, NewParts};
use super::prepare::{Asked, Form};
use super::stream::{AnswerShape, StreamEvent};
use crate::session::{Piece, PromptLogprob, Session, TokenLogprob};

/// One answer as far as it is there.
struct Answer {
    parts: AnswerParts,
    ids: Vec<u32>,
    tokens: Vec<TokenLogprob>,
    offsets: OfCompletion,
    scores: Value,
    count: usize,
    end: Option<End>,
    begun: bool,
}

/// The answers of a request.
pub struct ResponseShape {
    session: &'static Session,
    asked: Arc<Asked>,
    head: Value,
    answers: Vec<Answer>,
}

impl ResponseShape {
    /// A request whose response has this name.
    pub fn new(session: &'static Session, asked: Arc<Asked>, name: &str, model: &str) -> ResponseShape {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (prefix, object) = match (asked.form, asked.stream) {
            (Form::Chat, false) => ("chatcmpl", "chat.completion"),
            (Form::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Form::Completion, _) => ("cmpl", "text_completion"),
        };
        let head = json!({ "id": format!("{prefix}-{name}"), "object": object, "created": created, "model": model });
        let answers = (0..asked.prompts.len() * asked.n).map(|index| Answer::new(session, &asked, index)).collect();
        ResponseShape { session, asked, head, answers }
    }

    fn event(&mut self, event: AnswerEvent) -> Result<(), ApiError> {
        match event {
            AnswerEvent::Failed(error) => return Err(error),
            AnswerEvent::Piece { index, piece } => self.answers[index].piece(piece),
            AnswerEvent::Scored { index, scores } => self.scored(index, &scores),
            AnswerEvent::End { index, end } => self.answers[index].end(end),
        }
        Ok(())
    }

    fn scored(&mut self, index: usize, scores: &[PromptLogprob]) {
        let prompt = &self.asked.prompts[index / self.asked.n].request.prompt;
        if self.asked.prompt_logprobs {
            self.answers[index].scores = logprobs::of_prompt(scores);
        }
        if self.asked.echo && self.asked.logprobs {
            for answer in &mut self.answers[index..index + self.asked.n] {
                answer.offsets = OfCompletion::default();
                let first = prompt.first().map(|id| self.session.tokenizer().token_text(*id).unwrap_or_default());
                first.into_iter().for_each(|text| answer.offsets.first(&text));
                scores.iter().for_each(|score| answer.offsets.push(&score.token, true));
            }
        }
    }

    fn choice(&mut self, index: usize) -> Value {
        let new = self.answers[index].parts.take();
        let mut choice = self.common(index);
        if self.asked.form == Form::Completion {
            choice["text"] = format!("{}{}", self.echoed(index), new.text).into();
            return choice;
        }
        let parts = &self.answers[index].parts;
        let content = if new.text.is_empty() && parts.calls() { Value::Null } else { new.text.into() };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null, "annotations": [] });
        if parts.calls() {
            message["tool_calls"] = new.calls.iter().map(|call| call.object(false)).collect();
        }
        if parts.reasons() {
            message["reasoning"] = new.thought.as_str().into();
            message["reasoning_content"] = new.thought.into();
        }
        choice["message"] = message;
        choice
    }

    fn echoed(&self, index: usize) -> &str {
        if self.asked.echo { &self.asked.prompts[index / self.asked.n].text } else { "" }
    }

    /// What a choice has whatever the API, of what came since it was asked for last.
    fn common(&mut self, index: usize) -> Value {
        let asked = self.asked.clone();
        let answer = &mut self.answers[index];
        let end = answer.end.as_ref();
        let mut choice = json!({
            "index": index,
            "logprobs": null,
            "finish_reason": end.map(|end| answer.finish_reason(end)),
            "stop_reason": end.map(|end| end.stop_reason.clone()),
        });
        let tokens = std::mem::take(&mut answer.tokens);
        if asked.logprobs && asked.form == Form::Chat {
            choice["logprobs"] = logprobs::of_chat(self.session, &tokens);
        } else if asked.logprobs {
            let count = asked.prompts[0].request.logprobs > Some(0);
            tokens.iter().for_each(|token| answer.offsets.push(token, count));
            choice["logprobs"] = answer.offsets.take();
        }
        if asked.return_token_ids {
            choice["token_ids"] = json!(std::mem::take(&mut answer.ids));
            if asked.form == Form::Completion && !answer.begun {
                choice["prompt_token_ids"] = json!(asked.prompts[index / asked.n].request.prompt);
            }
        }
        if asked.prompt_logprobs && asked.form == Form::Completion && !answer.begun {
            choice["prompt_logprobs"] = answer.scores.take();
        }
        choice
    }

    /// The object that has what came of an answer since the last one; none where there is nothing to tell.
    fn chunk(&mut self, index: usize) -> Option<Value> {
        let asked = self.asked.clone();
        let new = self.answers[index].parts.take();
        let answer = &self.answers[index];
        let first = !answer.begun;
        let tells = asked.logprobs || asked.return_token_ids || asked.usage_everywhere;
        if new.is_empty() && answer.end.is_none() && !tells && !first {
            return None;
        }
        let mut choice = self.common(index);
        if asked.form == Form::Chat {
            choice["delta"] = delta(new, first);
        } else {
            choice["text"] = format!("{}{}", if first { self.echoed(index) } else { "" }, new.text).into();
        }
        let mut chunk = self.head.clone();
        chunk["choices"] = json!([choice]);
        if asked.usage_everywhere {
            chunk["usage"] = self.usage();
        } else if asked.include_usage {
            chunk["usage"] = Value::Null;
        }
        if first && asked.form == Form::Chat && asked.return_token_ids {
            chunk["prompt_token_ids"] = json!(asked.prompts[0].request.prompt);
        }
        if first && asked.form == Form::Chat && asked.prompt_logprobs {
            chunk["prompt_logprobs"] = self.answers[index].scores.take();
        }
        self.answers[index].begun = true;
        Some(chunk)
    }

    /// The last object of a stream, if it is asked for.
    fn last(&self) -> Option<Value> {
        self.asked.include_usage.then(|| {
            let mut last = self.head.clone();
            last["choices"] = json!([]);
            last["usage"] = self.usage();
            last
        })
    }

    fn usage(&self) -> Value {
        let prompt: usize = self.asked.prompts.iter().map(|prompt| prompt.request.prompt.len()).sum();
        let generated: usize = self.answers.iter().map(|answer| answer.count).sum();
        let firsts = self.answers.iter().step_by(self.asked.n).filter_map(|answer| answer.end.as_ref());
        let cached: usize = firsts.map(|end| end.cached).sum();
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }
}

impl AnswerShape for ResponseShape {
    fn take(&mut self, event: AnswerEvent) -> Result<(), ApiError> {
        self.event(event)
    }

    fn stream(&mut self, event: AnswerEvent) -> Result<Vec<StreamEvent>, ApiError> {
        let index = match &event {
            AnswerEvent::Piece { index, .. } | AnswerEvent::End { index, .. } => Some(*index),
            AnswerEvent::Scored { .. } | AnswerEvent::Failed(_) => None,
        };
        self.event(event)?;
        let chunk = index.and_then(|index| self.chunk(index));
        let mut events: Vec<StreamEvent> = chunk.iter().map(unnamed).collect();
        if self.is_done() {
            events.extend(self.last().as_ref().map(unnamed));
            events.push(done());
        }
        Ok(events)
    }

    fn is_done(&self) -> bool {
        self.answers.iter().all(|answer| answer.end.is_some())
    }

    fn whole(mut self) -> Value {
        let choices = (0..self.answers.len()).map(|index| self.choice(index)).collect::<Vec<_>>();
        let mut whole = self.head.clone();
        whole["choices"] = choices.into();
        whole["usage"] = self.usage();
        if self.asked.form == Form::Chat {
            if self.asked.prompt_logprobs {
                whole["prompt_logprobs"] = self.answers[0].scores.take();
            }
            if self.asked.return_token_ids {
                whole["prompt_token_ids"] = json!(self.asked.prompts[0].request.prompt);
            }
        }
        whole
    }

    fn failed(&mut self, error: &ApiError) -> Vec<StreamEvent> {
        vec![unnamed(&error.body()), done()]
    }
}

fn unnamed(object: &Value) -> StreamEvent {
    StreamEvent { name: None, data: object.to_string() }
}

fn done() -> StreamEvent {
    StreamEvent { name: None, data: "[DONE]".to_owned() }
}

impl Answer {
    fn new(session: &Session, asked: &Asked, index: usize) -> Answer {
        let prompt = &asked.prompts[index / asked.n];
        let offset = if asked.echo { prompt.text.chars().count() } else { 0 };
        Answer {
            parts: AnswerParts::new(session, asked, &prompt.request.prompt),
            ids: Vec::new(),
            tokens: Vec::new(),
            offsets: OfCompletion::behind(offset),
            scores: Value::Null,
            count: 0,
            end: None,
            begun: false,
        }
    }

    fn piece(&mut self, piece: Piece) {
        self.count += 1;
        self.ids.extend(piece.id);
        self.tokens.extend(piece.logprob);
        self.parts.push(&piece.text);
    }

    fn end(&mut self, end: End) {
        self.parts.push(&end.rest);
        self.parts.end(end.is_cut());
        self.end = Some(end);
    }

    /// Calls are why an answer ends that ends by itself; one that is cut off says so.
    fn finish_reason(&self, end: &End) -> &'static str {
        let in_calls = end.finish_reason == "stop" && self.parts.end_in_calls();
        if in_calls { "tool_calls" } else { end.finish_reason }
    }
}

/// What a chat's stream has of new parts.
fn delta(new: NewParts, first: bool) -> Value {
    let mut delta = json!({});
    if first {
        delta["role"] = "assistant".into();
    }
    if !new.text.is_empty() || first {
        delta["content"] = new.text.into();
    }
    if !new.thought.is_empty() {
        delta["reasoning"] = new.thought.as_str().into();
        delta["reasoning_content"] = new.thought.into();
    }
    if !new.calls.is_empty() {
        delta["tool_calls"] = new.calls.iter().map(|call| call.object(true)).collect();
    }
    delta
}
