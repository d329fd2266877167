//! What comes out for a line of a batch: an object of this program's own form, or one of OpenAI's batch output.
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::cli::line::{LineHead, ResultForm};
use crate::cli::logprobs;
use crate::cli::report::{error_object, numbered, result_object};
use crate::error::Error;
use crate::session::{Finish, Generation, TokenLogprob};

/// What all results of a batch have in common.
pub struct Results<'a> {
    /// The model, as the command line names it.
    pub model: &'a str,
    /// A number that other batches do not have.
    pub batch: u64,
    /// Whether the prompt stands in front of each text where a line does not say.
    pub echo: bool,
    /// Whether objects of the own form have times.
    pub timings: bool,
}

impl Results<'_> {
    /// The object for the line with this index.
    pub fn object(&self, index: usize, head: &LineHead, result: &Result<Generation, Error>) -> Value {
        let echo = if head.echo.unwrap_or(self.echo) { head.prompt.as_str() } else { "" };
        match (head.shape, result) {
            (ResultForm::Own, Ok(generation)) => own(index, head, result_object(generation, echo, self.timings)),
            (ResultForm::Own, Err(error)) => own(index, head, error_object(error)),
            (shape, result) => self.of_openai(index, head, shape, echo, result),
        }
    }

    fn of_openai(
        &self,
        index: usize,
        head: &LineHead,
        shape: ResultForm,
        echo: &str,
        result: &Result<Generation, Error>,
    ) -> Value {
        let name = format!("{:08x}{index:08x}", self.batch);
        let (status, body, error) = match result {
            Ok(generation) if generation.finish == Finish::Interrupted => {
                (None, Value::Null, json!({ "code": "batch_cancelled", "message": "interrupted" }))
            }
            Ok(generation) => (Some(200), self.body(&name, shape, echo, generation), Value::Null),
            Err(error) => {
                let message = format!("{}: {}", error.message(), error.details_text());
                let kind = "invalid_request_error";
                let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": null } });
                (Some(400), body, json!({ "code": kind, "message": message }))
            }
        };
        let response = status.map(|status| json!({ "status_code": status, "request_id": name, "body": body }));
        json!({
            "id": format!("batch_req_{name}"),
            "custom_id": head.names.get("custom_id"),
            "response": response,
            "error": error,
        })
    }

    /// A completion, as the API that the request is written for gives it.
    fn body(&self, name: &str, shape: ResultForm, echo: &str, generation: &Generation) -> Value {
        let finish_reason = match generation.finish {
            _ if generation.ends_in_calls() => "tool_calls",
            Finish::Stop | Finish::StopText | Finish::Interrupted => "stop",
            Finish::Length | Finish::Context => "length",
        };
        let logprobs = &generation.logprobs;
        let mut choice = json!({ "index": 0 });
        if shape == ResultForm::Chat {
            let (reasoning, answer) = generation.parts();
            choice["message"] = json!({ "role": "assistant", "content": answer, "refusal": null });
            if !generation.calls().is_empty() {
                choice["message"]["tool_calls"] = generation.calls().into();
                choice["message"]["content"] = Some(answer).filter(|answer| !answer.is_empty()).into();
            }
            // As vLLM has it.
            if let Some(reasoning) = reasoning {
                choice["message"]["reasoning"] = reasoning.into();
            }
            choice["logprobs"] = if logprobs.is_empty() { Value::Null } else { chat_logprobs(logprobs) };
        } else {
            choice["text"] = format!("{echo}{}", generation.text).into();
            choice["logprobs"] = if logprobs.is_empty() { Value::Null } else { text_logprobs(logprobs, echo) };
        }
        choice["finish_reason"] = finish_reason.into();
        let scored = generation.prompt_logprobs.as_deref().map(logprobs::of_vllm);
        if let Some(scored) = scored.as_ref().filter(|_| shape == ResultForm::Completion) {
            choice["prompt_logprobs"] = scored.clone();
        }
        let (prompt, generated) = (generation.prompt_tokens, generation.ids.len());
        let (prefix, object) =
            if shape == ResultForm::Chat { ("chatcmpl", "chat.completion") } else { ("cmpl", "text_completion") };
        let mut body = json!({
            "id": format!("{prefix}-{name}"),
            "object": object,
            "created": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            "model": self.model,
            "choices": [choice],
            "usage": { "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated },
        });
        // vLLM has them beside the choices of a chat, and in the choice of a completion.
        if let Some(scored) = scored.filter(|_| shape == ResultForm::Chat) {
            body["prompt_logprobs"] = scored;
        }
        body
    }
}

/// An object with its index and the line's own names in front.
fn own(index: usize, head: &LineHead, object: Value) -> Value {
    let mut named = head.names.clone();
    if let Value::Object(object) = object {
        named.extend(object);
    }
    numbered(index, Value::Object(named))
}

fn chat_logprobs(tokens: &[TokenLogprob]) -> Value {
    let entry = |text: &str, logprob: f64| json!({ "token": text, "logprob": logprob, "bytes": text.as_bytes() });
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut object = entry(&token.chosen.text, token.chosen.logprob);
            object["top_logprobs"] = token.best.iter().map(|best| entry(&best.text, best.logprob)).collect();
            object
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

fn text_logprobs(tokens: &[TokenLogprob], echo: &str) -> Value {
    let mut offset = echo.chars().count();
    let mut offsets = Vec::new();
    for token in tokens {
        offsets.push(offset);
        offset += token.chosen.text.chars().count();
    }
    let best = |token: &TokenLogprob| -> Map<String, Value> {
        token.best.iter().map(|best| (best.text.clone(), best.logprob.into())).collect()
    };
    json!({
        "tokens": tokens.iter().map(|token| token.chosen.text.as_str()).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.chosen.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(best).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
