//! `/v1/completions`.
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;

use super::access::Caller;
use super::app::App;
use super::ask::{self, Ask};
use super::failure::Refusal;
use super::form::Form;
use super::job::{Asked, Job};
use super::{body, tokens};
use crate::openai::fields::Fields;
use crate::session::{MOST_LOGPROBS, Prompt, Session};

/// Tokens of a completion that does not say how many.
const TOKENS: usize = 16;

/// Most prompts of a request.
const MOST_PROMPTS: usize = 1024;

/// A prompt as the body has it.
enum Given {
    Text(String),
    Ids(Vec<u32>),
}

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
    let mut ask = Ask::read(&app, &mut fields, 1, session.model().sampling())?;
    let prompts = given(&mut fields).map_err(Refusal::field)?;
    let echo = fields.flag("echo").map_err(Refusal::field)?.unwrap_or(false);
    let count = ask::count(&mut fields, "logprobs", MOST_LOGPROBS).map_err(Refusal::field)?;
    ask.options.logprobs = count;
    Ask::end(&app, &fields);
    let entry = app.admission.enter(prompts.len() * ask.n).ok_or_else(|| full(&app, prompts.len() * ask.n))?;
    let mut asked = Vec::new();
    for given in prompts {
        asked.push(understand(&session, given, echo, &ask).await?);
    }
    drop(room);
    Job {
        app: app.clone(),
        session,
        under_way: Some(under_way),
        caller,
        entry: Some(entry),
        started,
        form: Form::Completion,
        ask,
        prompts: asked,
        generated: AtomicUsize::new(0),
    }
    .answer()
    .await
}

/// Why a request has no room: it never will, or not now.
pub fn full(app: &App, count: usize) -> Refusal {
    let most = app.admission.most();
    match count > most {
        true => Refusal::bad(format!("{count} generations are asked for; at most {most} may run and wait")),
        false => Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many generations wait already"),
    }
}

async fn understand(session: &Arc<Session>, given: Given, echo: bool, ask: &Ask) -> Result<Asked, Refusal> {
    let (ids, text) = match given {
        Given::Text(text) => (tokens::encode(session, Prompt::Text(text.clone()), true).await?, Some(text)),
        Given::Ids(ids) => {
            session.check_ids(&ids)?;
            (ids, None)
        }
    };
    let echo = match (echo, text) {
        (false, _) => None,
        (true, Some(text)) => Some(text),
        (true, None) => Some(session.tokenizer().decode(&ids)?),
    };
    // A prompt that is only scored generates nothing.
    let scored_alone = echo.is_some() && ask.max_tokens == Some(0);
    let options = if scored_alone { None } else { Some(ask.options(session, ids.len(), TOKENS)?) };
    let score = ask.options.prompt_logprobs.or(ask.options.logprobs.filter(|_| echo.is_some()));
    Ok(Asked { ids, echo, options, score })
}

/// The prompts: a text, ids, or a list of either.
fn given(fields: &mut Fields) -> Result<Vec<Given>, String> {
    let expected = format!("a text, token ids, or a list of up to {MOST_PROMPTS} of either, not empty");
    let prompts = fields.take("prompt", &expected, |value| match value {
        Value::String(text) => Some(vec![Given::Text(text.clone())]),
        Value::Array(list) if list.first().is_some_and(Value::is_number) => Some(vec![Given::Ids(tokens::ids(value)?)]),
        Value::Array(list) if (1..=MOST_PROMPTS).contains(&list.len()) => list.iter().map(one).collect(),
        _ => None,
    })?;
    prompts.ok_or_else(|| format!("prompt: expected {expected}, found none"))
}

fn one(value: &Value) -> Option<Given> {
    match value {
        Value::String(text) => Some(Given::Text(text.clone())),
        Value::Array(_) => Some(Given::Ids(tokens::ids(value)?)),
        _ => None,
    }
}
