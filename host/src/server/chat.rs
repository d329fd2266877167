//! `/v1/chat/completions`.
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::access::Caller;
use super::app::App;
use super::ask::{self, Ask};
use super::failure::Refusal;
use super::form::Form;
use super::job::{Asked, Job};
use super::{body, completions, tokens};
use crate::openai::fields::Fields;
use crate::openai::messages;
use crate::session::{ChatOptions, MOST_LOGPROBS, Prompt};

/// The route.
pub async fn answer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let started = Instant::now();
    let (session, under_way) = app.phase.begin()?;
    let (mut fields, room) = body::read(&app, &headers, body).await?;
    let mut ask = Ask::read(&app, &mut fields, 0, session.model().sampling())?;
    let prompt = conversation(&mut fields).map_err(Refusal::field)?;
    ask.options.logprobs = logprobs(&mut fields).map_err(Refusal::field)?;
    let most = fields.count("max_completion_tokens", Some(usize::MAX)).map_err(Refusal::field)?;
    ask.max_tokens = most.or(ask.max_tokens);
    Ask::end(&app, &fields);
    let entry = app.admission.enter(ask.n).ok_or_else(|| completions::full(&app, ask.n))?;
    let ids = tokens::encode(&session, prompt, true).await?;
    let options = ask.options(&session, ids.len(), session.model().max_tokens().unwrap_or(usize::MAX))?;
    drop(room);
    let prompts = vec![Asked { ids, echo: None, score: options.prompt_logprobs, options: Some(options) }];
    Job {
        app: app.clone(),
        session,
        under_way: Some(under_way),
        caller,
        entry: Some(entry),
        started,
        form: Form::Chat,
        ask,
        prompts,
        generated: AtomicUsize::new(0),
    }
    .answer()
    .await
}

fn conversation(fields: &mut Fields) -> Result<Prompt, String> {
    let list = fields.take("messages", "a list of messages, not empty", |value| {
        value.as_array().filter(|list| !list.is_empty()).cloned()
    })?;
    let list = list.ok_or("messages: expected a list of messages, found none")?;
    let messages = messages::plain(&list)?;
    let continues = fields.flag("continue_final_message")?.unwrap_or(false);
    let begins = fields.flag("add_generation_prompt")?;
    if continues && begins == Some(true) {
        return Err("continue_final_message: not with add_generation_prompt".into());
    }
    let options = ChatOptions {
        kwargs: ask::template_variables(fields)?,
        no_generation_prompt: begins == Some(false),
        continue_final_message: continues,
    };
    Ok(Prompt::ChatWith(messages, options))
}

/// How many of the best tokens come beside each, where a chat asks for them.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, String> {
    let asked = fields.flag("logprobs")?.unwrap_or(false);
    match (asked, ask::count(fields, "top_logprobs", MOST_LOGPROBS)?) {
        (false, Some(top)) if top > 0 => Err("top_logprobs: needs logprobs".into()),
        (asked, top) => Ok(asked.then_some(top.unwrap_or(0))),
    }
}
