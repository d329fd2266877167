//! `/tokenize` and `/detokenize`, as vLLM has them.
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::app::App;
use super::failure::Refusal;
use super::{ask, body, health};
use crate::openai::messages;
use crate::session::{ChatOptions, Prompt, Session};

/// The ids of a text or of a conversation.
pub async fn tokenize(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Refusal> {
    let (session, _under_way) = app.phase.begin()?;
    let (mut fields, _room) = body::read(&app, &headers, body).await?;
    if let Some(model) = fields.text("model").map_err(Refusal::field)? {
        health::known(&app, &model)?;
    }
    let special = fields.flag("add_special_tokens").map_err(Refusal::field)?.unwrap_or(true);
    let texts = fields.flag("return_token_strs").map_err(Refusal::field)?.unwrap_or(false);
    let messages = fields.take("messages", "a list of messages", |value| value.as_array().cloned());
    let prompt = match messages.map_err(Refusal::field)? {
        Some(list) => {
            let begins = fields.flag("add_generation_prompt").map_err(Refusal::field)?.unwrap_or(true);
            let kwargs = ask::template_variables(&mut fields).map_err(Refusal::field)?;
            let options = ChatOptions { kwargs, no_generation_prompt: !begins, ..ChatOptions::default() };
            Prompt::ChatWith(messages::plain(&list).map_err(Refusal::field)?, options)
        }
        None => {
            let text = fields.text("prompt").map_err(Refusal::field)?;
            let text = text.ok_or_else(|| Refusal::field("prompt: expected a text, or messages".into()))?;
            if special { Prompt::Text(text) } else { Prompt::Raw(text) }
        }
    };
    let ids = encode(&session, prompt, false).await?;
    let names: Option<Vec<_>> =
        texts.then(|| ids.iter().map(|id| session.tokenizer().id_to_token(*id).unwrap_or_default()).collect());
    Ok(Json(json!({ "count": ids.len(), "max_model_len": session.context(), "tokens": ids, "token_strs": names })))
}

/// The text of ids.
pub async fn detokenize(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Json<Value>, Refusal> {
    let (session, _under_way) = app.phase.begin()?;
    let (mut fields, _room) = body::read(&app, &headers, body).await?;
    let ids = fields.take("tokens", "a list of token ids", ids).map_err(Refusal::field)?;
    let ids = ids.ok_or_else(|| Refusal::field("tokens: expected a list of token ids".into()))?;
    let text = session.tokenizer().decode_with_special(&ids)?;
    Ok(Json(json!({ "prompt": text })))
}

/// A list of token ids.
pub fn ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}

/// Ids of a prompt, made off the threads that serve connections; `checked` against the model's limits.
///
/// # Errors
/// The template or the tokenizer refuses the prompt, or it is checked and does not fit.
pub async fn encode(session: &Arc<Session>, prompt: Prompt, checked: bool) -> Result<Vec<u32>, Refusal> {
    let session = session.clone();
    let made =
        tokio::task::spawn_blocking(move || if checked { session.encode(&prompt) } else { session.ids(&prompt) });
    made.await.map_err(|_| Refusal::failed(None))?.map_err(Refusal::from)
}
