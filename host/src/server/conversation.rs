//! A conversation of a request as the chat template writes it.
use serde_json::{Map, Value};

use super::error::ApiError;
use super::tools;
use crate::error::Error;
use crate::session::{Prompt, Rendering, Session, check_kwargs, messages};

/// What a template is told of one conversation.
///
/// # Errors
/// `kwargs` would replace what other fields say, or both ways to end the text are asked for.
pub fn rendering(
    kwargs: Map<String, Value>,
    generation: Option<bool>,
    goes_on: Option<bool>,
) -> Result<Rendering, ApiError> {
    check_kwargs(&kwargs).map_err(|what| ApiError::field("chat_template_kwargs", what))?;
    let continue_final = goes_on.unwrap_or(false);
    if continue_final && generation == Some(true) {
        return Err(ApiError::field("continue_final_message", "excludes add_generation_prompt: true"));
    }
    let generation_prompt = generation.unwrap_or(true) && !continue_final;
    Ok(Rendering { kwargs, generation_prompt, continue_final, ..Rendering::default() })
}

/// Ids of a conversation, and where later ones may part from it.
///
/// # Errors
/// A message is none, the template refuses the conversation or leaves its tools out, or it is longer than the context.
pub fn conversation(
    session: &Session,
    messages: &[Value],
    rendering: &Rendering,
) -> Result<(Vec<u32>, Vec<usize>), ApiError> {
    let (messages, text) = written(session, messages, rendering)?;
    let ids = session.encode(&Prompt::Raw(text.clone())).map_err(|error| refused(&error))?;
    let turn_ends = session.turn_ends(&messages, rendering, &text, ids.len());
    Ok((ids, turn_ends))
}

/// Ids of a conversation that is not to be answered, however long it is.
///
/// # Errors
/// As [`conversation`], but for the last one.
pub fn all_ids(session: &Session, messages: &[Value], rendering: &Rendering) -> Result<Vec<u32>, ApiError> {
    let (_, text) = written(session, messages, rendering)?;
    session.encode_all(&Prompt::Raw(text)).map_err(|error| refused(&error))
}

/// Messages as templates take them, and the text that the template makes of them.
fn written(session: &Session, messages: &[Value], rendering: &Rendering) -> Result<(Vec<Value>, String), ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "expected at least one message, found none"));
    }
    let messages = messages::plain(messages).map_err(|what| ApiError::placed(&what))?;
    let text = session.render(messages.clone(), rendering.clone()).map_err(|error| refused(&error))?;
    if !rendering.tools.is_empty() {
        tools::check_shown(session, &messages, rendering, &text)?;
    }
    Ok((messages, text))
}

fn refused(error: &Error) -> ApiError {
    ApiError::request(error).about("messages")
}
