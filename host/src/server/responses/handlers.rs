//! What the route of the Responses API answers.
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use super::super::app::App;
use super::super::body::Body;
use super::super::caller::Caller;
use super::super::error::ApiError;
use super::super::handlers::{is_this, salt};
use super::super::prepare;
use super::super::respond::respond;
use super::super::schemas::{ErrorSchema, EventSchema};
use super::answer::ResponseObject;
use super::events::ResponseEvents;
use super::requests::ResponsesRequest;
use super::schemas::ResponseSchema;
use super::translate;

/// Answers a text or the items of a conversation; nothing is stored.
#[utoipa::path(post, path = "/v1/responses", request_body = ResponsesRequest, responses(
    (status = 200, description = "A response, or server-sent events from response.created to response.completed",
        content((ResponseSchema = "application/json"), (EventSchema = "text/event-stream"))),
    (status = "default", description = "An error in OpenAI's form", body = ErrorSchema),
))]
pub async fn responses(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let (session, shared, salt) = (app.session()?, app.clone(), salt(&app, &caller));
    let work = move |body: ResponsesRequest| {
        is_this(&shared, body.model.as_deref())?;
        let (chat, told) = translate::chat(body, &shared.unknown)?;
        let asked = prepare::chat(session, chat, salt, &shared.unknown);
        Ok((asked.map_err(|error| error.renamed(&translate::NAMES))?, told))
    };
    let (asked, told) = Body::read(&app, request).await?.work(work).await?;
    let shape = move |session, asked, name: &str, model: &str| {
        ResponseEvents::new(ResponseObject::new(session, asked, name, model, told))
    };
    respond(&app, caller, asked, shape).await
}
