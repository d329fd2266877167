//! `Form`: how answers are written: those of a chat, or completions.
use serde_json::{Value, json};

use super::access::Caller;
use super::app::App;
use super::choice::Piece;
use super::failure::Refusal;
use super::job::Asked;
use crate::openai::logprobs;
use crate::session::{Finish, Generation, LikelyToken, PromptLogprob, Session, TokenLogprob};
use crate::text::{Parts, Reasoning, Tokenizer};

/// An endpoint's way to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Chat,
    Completion,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub prompt: usize,
    generated: usize,
    cached: usize,
}

impl Usage {
    pub fn add(&mut self, generation: Option<&Generation>) {
        let Some(generation) = generation else { return };
        self.generated += generation.ids.len();
        self.cached += generation.prompt_tokens - generation.prefilled_tokens;
    }

    pub fn object(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.generated,
            "total_tokens": self.prompt + self.generated,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }
}

/// Why a generation ended, in OpenAI's words.
fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopText => "stop",
        Finish::Length | Finish::Context => "length",
        Finish::Interrupted => "abort",
    }
}

impl Form {
    /// What stands around choices; of a chunk of a stream, or of the whole.
    pub fn frame(self, app: &App, caller: &Caller, chunk: bool) -> Value {
        let (prefix, object) = match (self, chunk) {
            (Form::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Form::Chat, false) => ("chatcmpl", "chat.completion"),
            (Form::Completion, _) => ("cmpl", "text_completion"),
        };
        let created = app.created + caller.began.saturating_duration_since(app.started).as_secs();
        json!({
            "id": format!("{prefix}-{}", caller.request), "object": object, "created": created, "model": app.model
        })
    }

    /// A whole choice.
    ///
    /// # Errors
    /// A token of an echoed prompt has no text.
    pub fn choice(
        self,
        index: usize,
        asked: &Asked,
        scored: Option<&[PromptLogprob]>,
        generation: Option<&Generation>,
        tokenizer: &Tokenizer,
    ) -> Result<Value, Refusal> {
        let finish = generation.map_or("length", |generation| reason(generation.finish));
        let tokens = generation.map(|generation| generation.logprobs.as_slice()).unwrap_or_default();
        let mut choice = json!({ "index": index, "finish_reason": finish, "logprobs": null });
        if self == Form::Chat {
            let (reasoning, content) = generation.map(Generation::parts).unwrap_or_default();
            choice["message"] = json!({
                "role": "assistant", "content": content, "refusal": null,
                "reasoning": reasoning, "reasoning_content": reasoning,
            });
            if !tokens.is_empty() {
                choice["logprobs"] = logprobs::of_chat(tokens);
            }
            return Ok(choice);
        }
        let text = generation.map(|generation| generation.text.as_str()).unwrap_or_default();
        choice["text"] = format!("{}{text}", asked.echo.as_deref().unwrap_or_default()).into();
        if asked.wants_logprobs() {
            let prompt = asked.echoed(scored, tokenizer)?;
            choice["logprobs"] = logprobs::of_completion(prompt.iter().map(pair).chain(tokens.iter().map(whole)), 0);
        }
        if let Some(scored) = scored.filter(|_| asked.shows_scores()) {
            choice["prompt_logprobs"] = logprobs::of_prompt(scored);
        }
        Ok(choice)
    }

    /// What writes a choice in pieces.
    ///
    /// # Errors
    /// The prompt cannot be decoded.
    pub fn chunks<'a>(
        self,
        index: usize,
        asked: &'a Asked,
        scored: Option<&'a [PromptLogprob]>,
        session: &Session,
    ) -> Result<Chunks<'a>, Refusal> {
        let reasoning = if self == Form::Chat { session.reasoning(&asked.ids)? } else { None };
        Ok(Chunks { form: self, index, asked, scored, reasoning, offset: 0 })
    }
}

fn whole(token: &TokenLogprob) -> (&LikelyToken, Option<&TokenLogprob>) {
    (&token.chosen, Some(token))
}

fn pair<'a>(
    (token, scored): &'a (LikelyToken, Option<&'a TokenLogprob>),
) -> (&'a LikelyToken, Option<&'a TokenLogprob>) {
    (token, *scored)
}

impl Asked {
    fn wants_logprobs(&self) -> bool {
        self.echo.is_some() && self.score.is_some()
            || self.options.as_ref().is_some_and(|options| options.logprobs.is_some())
    }

    /// Whether the scores of the prompt were asked for by that name.
    fn shows_scores(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.prompt_logprobs.is_some())
    }

    /// The tokens of the prompt in front of a completion, with their log-probabilities.
    fn echoed<'a>(
        &self,
        scored: Option<&'a [PromptLogprob]>,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<(LikelyToken, Option<&'a TokenLogprob>)>, Refusal> {
        let (Some(_), Some(scored)) = (&self.echo, scored) else { return Ok(Vec::new()) };
        let Some(first) = self.ids.first() else { return Ok(Vec::new()) };
        let text = tokenizer.decode(&[*first])?;
        let first = LikelyToken { id: *first, bytes: text.clone().into_bytes(), text, logprob: 0.0 };
        let rest = scored.iter().map(|scored| (scored.token.chosen.clone(), Some(&scored.token)));
        Ok([(first, None)].into_iter().chain(rest).collect())
    }
}

/// Writes a choice in pieces.
pub struct Chunks<'a> {
    form: Form,
    index: usize,
    asked: &'a Asked,
    scored: Option<&'a [PromptLogprob]>,
    reasoning: Option<Reasoning>,
    /// Characters of a completion's text so far.
    offset: usize,
}

impl Chunks<'_> {
    /// What comes first: a chat's role, or an echoed prompt.
    ///
    /// # Errors
    /// A token of the prompt has no text.
    pub fn begin(&mut self, tokenizer: &Tokenizer) -> Result<Option<Value>, Refusal> {
        match (self.form, &self.asked.echo) {
            (Form::Chat, _) => Ok(Some(self.delta(json!({ "role": "assistant", "content": "" }), Value::Null))),
            (Form::Completion, None) => Ok(None),
            (Form::Completion, Some(echo)) => {
                let prompt = self.asked.echoed(self.scored, tokenizer)?;
                let scores = match prompt.is_empty() {
                    true => Value::Null,
                    false => logprobs::of_completion(prompt.iter().map(pair), 0),
                };
                self.offset = echo.chars().count();
                Ok(Some(self.text(echo, scores)))
            }
        }
    }

    /// A piece; none where it has nothing to show.
    pub fn piece(&mut self, piece: &Piece, with_ids: bool) -> Option<Value> {
        let quiet = piece.text.is_empty() && piece.logprobs.is_empty() && !with_ids;
        let mut choice = match self.form {
            _ if quiet => return None,
            Form::Completion => {
                let scores = match piece.logprobs {
                    [] => Value::Null,
                    tokens => logprobs::of_completion(tokens.iter().map(whole), self.offset),
                };
                self.offset += piece.text.chars().count();
                self.text(piece.text, scores)
            }
            Form::Chat => {
                let parts = match &mut self.reasoning {
                    Some(reasoning) => reasoning.push(piece.text),
                    None => Parts { answer: piece.text.to_owned(), ..Parts::default() },
                };
                let scores = if piece.logprobs.is_empty() { Value::Null } else { logprobs::of_chat(piece.logprobs) };
                let empty = parts.answer.is_empty() && parts.reasoning.is_empty();
                if empty && scores.is_null() && !with_ids {
                    return None;
                }
                self.delta(delta(&parts), scores)
            }
        };
        if with_ids {
            choice["token_ids"] = json!(piece.ids);
        }
        Some(choice)
    }

    /// The last piece, with what was held back, and the reason of the end.
    pub fn end(&mut self, generation: Option<&Generation>) -> Value {
        let mut choice = match self.form {
            Form::Completion => self.text("", Value::Null),
            Form::Chat => {
                let rest = self.reasoning.take().map(Reasoning::finish).unwrap_or_default();
                self.delta(delta(&rest), Value::Null)
            }
        };
        choice["finish_reason"] = generation.map_or("length", |generation| reason(generation.finish)).into();
        choice
    }

    fn text(&self, text: &str, scores: Value) -> Value {
        json!({ "index": self.index, "text": text, "logprobs": scores, "finish_reason": null })
    }

    fn delta(&self, delta: Value, scores: Value) -> Value {
        json!({ "index": self.index, "delta": delta, "logprobs": scores, "finish_reason": null })
    }
}

fn delta(parts: &Parts) -> Value {
    let mut delta = json!({});
    if !parts.answer.is_empty() {
        delta["content"] = parts.answer.as_str().into();
    }
    if !parts.reasoning.is_empty() {
        delta["reasoning"] = parts.reasoning.as_str().into();
        delta["reasoning_content"] = parts.reasoning.as_str().into();
    }
    delta
}
