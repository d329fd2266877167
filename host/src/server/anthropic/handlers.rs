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
use super::super::prepare::{self, Asked};
use super::super::respond::respond;
use super::super::schemas::EventSchema;
use super::answer::MessageShape;
use super::requests::MessagesRequest;
use super::schemas::{InputTokensSchema, MessageAnswerSchema, MessagesErrorSchema};
use super::translate;

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
    let asked = asked(&app, &caller, request, |body| body).await?;
    respond(&app, caller, asked, MessageShape::new).await
}

/// How many tokens a conversation has.
#[utoipa::path(post, path = "/v1/messages/count_tokens", request_body = MessagesRequest, responses(
    (status = 200, description = "The tokens of the prompt", body = InputTokensSchema),
    (status = "default", description = "An error in Anthropic's form", body = MessagesErrorSchema),
))]
pub async fn count_tokens(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let count = |body| MessagesRequest { max_tokens: Some(1), ..body };
    let asked = asked(&app, &caller, request, count).await?;
    Ok(Json(json!({ "input_tokens": asked.prompts[0].request.prompt.len() })))
}

/// What a request asks for, once `change` has changed its body.
async fn asked(
    app: &Arc<App>,
    caller: &Caller,
    request: Request,
    change: impl FnOnce(MessagesRequest) -> MessagesRequest + Send + 'static,
) -> Result<Asked, ApiError> {
    let (session, shared, salt) = (app.session()?, app.clone(), salt(app, caller));
    let work = move |body: MessagesRequest| {
        is_this(&shared, body.model.as_deref())?;
        let chat = translate::chat(session, change(body), &shared.unknown)?;
        prepare::chat(session, chat, salt, &shared.unknown).map_err(|error| error.renamed(&translate::NAMES))
    };
    Body::read(app, request).await?.work(work).await
}
