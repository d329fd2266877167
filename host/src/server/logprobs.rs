//! Log-probabilities, as both APIs have them.
use serde_json::{Map, Value, json};

use crate::session::{LikelyToken, PromptLogprob, Session, TokenLogprob};

/// What stands for minus infinity, which JSON does not have.
const LEAST: f64 = -9999.0;

fn number(logprob: f64) -> f64 {
    logprob.max(LEAST)
}

/// Tokens of a chat, with the bytes of each.
pub fn of_chat(session: &Session, tokens: &[TokenLogprob]) -> Value {
    let entry = |token: &LikelyToken| {
        let bytes = session.tokenizer().token_bytes(token.id).unwrap_or_else(|_| token.text.clone().into_bytes());
        json!({ "token": token.text, "logprob": number(token.logprob), "bytes": bytes })
    };
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut object = entry(&token.chosen);
            object["top_logprobs"] = token.best.iter().map(entry).collect();
            object
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

/// Tokens of a completion; of the first token of a prompt nothing is known.
#[derive(Default)]
pub struct OfCompletion {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
    /// Characters so far.
    offset: usize,
}

impl OfCompletion {
    /// What follows `offset` characters.
    pub fn behind(offset: usize) -> OfCompletion {
        OfCompletion { offset, ..OfCompletion::default() }
    }

    /// A token in front of which nothing stands.
    pub fn first(&mut self, text: &str) {
        self.entry(text, Value::Null, Value::Null);
    }

    /// A token; the best ones, and itself.
    pub fn push(&mut self, token: &TokenLogprob, count: bool) {
        let mut best = Map::new();
        for token in token.best.iter().chain([&token.chosen]) {
            best.entry(token.text.clone()).or_insert(number(token.logprob).into());
        }
        let best = if count { Value::Object(best) } else { Value::Null };
        self.entry(&token.chosen.text, number(token.chosen.logprob).into(), best);
    }

    fn entry(&mut self, text: &str, logprob: Value, best: Value) {
        self.tokens.push(text.into());
        self.token_logprobs.push(logprob);
        self.top_logprobs.push(best);
        self.text_offset.push(self.offset.into());
        self.offset += text.chars().count();
    }

    /// The object of those that came since it was asked for last.
    pub fn take(&mut self) -> Value {
        let list = |values: &mut Vec<Value>| Value::Array(std::mem::take(values));
        json!({
            "tokens": list(&mut self.tokens),
            "token_logprobs": list(&mut self.token_logprobs),
            "top_logprobs": list(&mut self.top_logprobs),
            "text_offset": list(&mut self.text_offset),
        })
    }
}

/// Tokens of a prompt as vLLM has them: none for the first, then an object for each, of ids and their ranks.
pub fn of_prompt(scores: &[PromptLogprob]) -> Value {
    let entry = |token: &LikelyToken, rank: usize| json!({ "logprob": number(token.logprob), "rank": rank, "decoded_token": token.text });
    let object = |score: &PromptLogprob| {
        let chosen = &score.token.chosen;
        let mut object = Map::from_iter([(chosen.id.to_string(), entry(chosen, score.rank))]);
        for (best, rank) in score.token.best.iter().zip(1..) {
            object.entry(best.id.to_string()).or_insert_with(|| entry(best, rank));
        }
        Value::Object(object)
    };
    std::iter::once(Value::Null).chain(scores.iter().map(object)).collect()
}
