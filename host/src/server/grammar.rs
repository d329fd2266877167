//! What a request says of its answer's form: a schema, an expression, choices or a grammar; or that functions must be called.
use std::collections::HashMap;

use serde_json::Value;

use super::error::ApiError;
use super::tools::Tools;
use crate::error::Error;
use crate::session::{AnswerForm, GrammarFault, GrammarField, GrammarSource, Session};

/// What a request's fields ask for.
pub struct AskedForm {
    source: GrammarSource,
    /// The same, as the engine takes it.
    pub form: AnswerForm,
}

/// The form that a request's fields ask for, which are taken out of `fields`.
///
/// # Errors
/// Names the field that cannot be honoured.
pub fn asked(session: &Session, fields: &mut HashMap<&'static str, Value>) -> Result<Option<AskedForm>, ApiError> {
    let field = GrammarField::of(|name| fields.remove(name));
    let field = field.map_err(|GrammarFault { path, what }| ApiError::field(path, what))?;
    let Some(GrammarField { path, source }) = field else { return Ok(None) };
    let form = checked(session, &path, &source)?;
    Ok(Some(AskedForm { source, form }))
}

/// The form of a chat's answer: that of its fields, and calls of its `tools`.
///
/// # Errors
/// A function's schema cannot be honoured.
pub fn with_tools(
    session: &Session,
    wanted: Option<AskedForm>,
    tools: Option<&Tools>,
) -> Result<Option<AnswerForm>, ApiError> {
    let Some(tools) = tools else { return Ok(wanted.map(|wanted| wanted.form)) };
    for (index, tool) in tools.list.iter().enumerate().filter(|_| tools.demand.is_some() || wanted.is_some()) {
        let schema = tool["function"]["parameters"].clone();
        if schema.is_object() {
            checked(session, &format!("tools[{index}].function.parameters"), &GrammarSource::JsonSchema(schema))?;
        }
    }
    let special =
        |tag: &str| session.tokenizer().token_to_id(tag).filter(|id| session.tokenizer().hidden_name(*id).is_some());
    let source = wanted.as_ref().map(|wanted| &wanted.source);
    let calls = tools.form.grammar(&tools.schemas, tools.demand.as_ref(), source, tools.parallel, &special);
    match calls.map_err(|GrammarFault { path, what }| ApiError::field(path, what))? {
        Some(calls) => checked(session, "tools", &calls).map(Some),
        None => Ok(wanted.map(|wanted| wanted.form)),
    }
}

fn checked(session: &Session, path: &str, source: &GrammarSource) -> Result<AnswerForm, ApiError> {
    let refused = |error: Error| {
        // A place within a schema, as references write it.
        let details = error.details_text();
        let (inner, found) = details.strip_prefix('#').and_then(|rest| rest.split_once(": ")).unwrap_or(("", details));
        ApiError::field(format!("{path}{}", inner.replace('/', ".")), format_args!("{}: {found}", error.message()))
    };
    session.form(source).map_err(refused)
}
