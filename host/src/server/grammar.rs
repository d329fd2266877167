//! What a request says of its answer's form: a schema, an expression, choices or a grammar; or that functions must be called.
use std::collections::HashMap;

use serde_json::Value;

use super::error::ApiError;
use super::tools::Tools;
use crate::session::{GrammarFault, GrammarField, GrammarSource, Session};

/// The form that a request's fields ask for, which are taken out of `fields`.
///
/// # Errors
/// Names the field that cannot be honoured.
pub fn asked(session: &Session, fields: &mut HashMap<&'static str, Value>) -> Result<Option<GrammarSource>, ApiError> {
    let field = GrammarField::of(|name| fields.remove(name));
    let field = field.map_err(|GrammarFault { path, what }| ApiError::field(path, what))?;
    let Some(GrammarField { path, source }) = field else { return Ok(None) };
    checked(session, &path, source).map(Some)
}

/// The form of a chat's answer: that of its fields, and calls of its `tools`.
///
/// # Errors
/// A function's schema cannot be honoured.
pub fn with_tools(
    session: &Session,
    source: Option<GrammarSource>,
    tools: Option<&Tools>,
) -> Result<Option<GrammarSource>, ApiError> {
    let Some(tools) = tools else { return Ok(source) };
    for (index, tool) in tools.list.iter().enumerate().filter(|_| tools.demand.is_some() || source.is_some()) {
        let schema = tool["function"]["parameters"].clone();
        if schema.is_object() {
            checked(session, &format!("tools[{index}].function.parameters"), GrammarSource::JsonSchema(schema))?;
        }
    }
    let special =
        |tag: &str| session.tokenizer().token_to_id(tag).filter(|id| session.tokenizer().hidden_name(*id).is_some());
    match tools.form.grammar(&tools.schemas, tools.demand.as_ref(), source.as_ref(), tools.parallel, &special) {
        Some(calls) => checked(session, "tools", calls).map(Some),
        None => Ok(source),
    }
}

fn checked(session: &Session, path: &str, source: GrammarSource) -> Result<GrammarSource, ApiError> {
    match session.check_grammar(&source) {
        Ok(()) => Ok(source),
        Err(error) => Err(ApiError::field(path, format_args!("{}: {}", error.message(), error.details_text()))),
    }
}
