//! What the routes of Anthropic's API answer.
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::super::app::App;
use super::super::body::Body;
use super::super::caller::Caller;
use super::super::error::ApiError;
use super::super::handlers::{is_this, salt};
use super::super::other_fields::Unknown;
use super::super::prepare;
use super::super::respond::respond;
use super::super::schemas::EventSchema;
use super::answer::MessageShape;
use super::requests::MessagesRequest;
use super::schemas::{InputTokensSchema, MessageAnswerSchema, MessagesErrorSchema};
use super::translate;
use crate::session::Session;

/// Answers a conversation, in Anthropic's form.
#[utoipa::path(post, path = "/v1/messages", request_body = MessagesRequest, responses(
    (status = 200, description = "A message, or server-sent events from message_start to message_stop",
        content((MessageAnswerSchema = "application/json"), (EventSchema = "text/event-stream"))),
    (status = "default", description = "An error in Anthropic's form", body = MessagesErrorSchema),
))]
pub async fn messages(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let salt = salt(&app, &caller);
    let asked = asked(&app, request, move |session, body, unknown| {
        let chat = translate::chat(session, body, unknown)?;
        prepare::chat(session, chat, salt, unknown)
    });
    let asked = asked.await?;
    respond(&app, caller, asked, MessageShape::new).await
}

/// How many tokens a conversation has, however long it is.
#[utoipa::path(post, path = "/v1/messages/count_tokens", request_body = MessagesRequest, responses(
    (status = 200, description = "The tokens of the prompt", body = InputTokensSchema),
    (status = "default", description = "An error in Anthropic's form", body = MessagesErrorSchema),
))]
pub async fn count_tokens(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let count = asked(&app, request, |session, body, unknown| {
        let chat = translate::chat(session, MessagesRequest { max_tokens: Some(1), ..body }, unknown)?;
        prepare::count_tokens(session, chat, unknown)
    });
    Ok(Json(json!({ "input_tokens": count.await? })))
}

/// What `work` makes of a request that means the model that is loaded.
async fn asked<T: Send + 'static>(
    app: &Arc<App>,
    request: Request,
    work: impl FnOnce(&'static Session, MessagesRequest, &Unknown) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let (session, shared) = (app.session()?, app.clone());
    let work = move |body: MessagesRequest| {
        is_this(&shared, body.model.as_deref())?;
        work(session, body, &shared.unknown).map_err(|error| error.renamed(&translate::NAMES))
    };
    Body::read(app, request).await?.work(work).await
}
