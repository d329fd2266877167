//! `Line`: one line of a batch, and the request that it becomes over the command line's options.
mod fields;
mod parameters;

use serde_json::{Map, Value};

pub use fields::{Fields, nearest};

use super::prompt::FormArguments;
use crate::session::messages::{self, shown};
use crate::session::{BatchRequest, GenerateOptions, Prompt};
use parameters::{OPENAI, OWN, Parameters};

/// What a line that is an object may have.
const FIELDS: [&str; 8] = ["id", "custom_id", "prompt", "messages", "raw", "chat", "system", "echo"];

/// What a request of OpenAI's batch format has.
const ENVELOPE: [&str; 4] = ["custom_id", "method", "url", "body"];

/// What a body may have beside the parameters. The model that is loaded answers, whatever name a body has for it.
const BODY: [&str; 7] = ["model", "messages", "prompt", "echo", "user", "metadata", "store"];

/// A line.
pub struct Line {
    /// What its result has of it.
    pub head: LineHead,
    asked: Result<Asked, String>,
}

/// What the result of a line has of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineHead {
    /// `id` and `custom_id`, as they are.
    pub names: Map<String, Value>,
    /// The form of the result.
    pub shape: ResultForm,
    /// The text in front of the answer, where the line asks for it.
    pub echo: Option<bool>,
    /// The prompt, where it is a text.
    pub prompt: String,
}

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultForm {
    /// That of this program.
    #[default]
    Own,
    /// That of OpenAI's batches, for `/v1/chat/completions`.
    Chat,
    /// The same for `/v1/completions`.
    Completion,
}

/// What is asked for.
#[derive(Debug, Default)]
struct Asked {
    prompt: Option<String>,
    messages: Option<Vec<Value>>,
    raw: Option<bool>,
    chat: Option<bool>,
    system: Option<String>,
    parameters: Parameters,
}

impl Line {
    /// A line that begins with a brace is an object, another one a prompt.
    pub fn read(text: &str) -> Line {
        let trimmed = text.trim_start();
        if trimmed.starts_with('{') {
            return Line::of_object(trimmed);
        }
        if trimmed.starts_with('[') && serde_json::from_str::<Vec<Value>>(trimmed).is_ok() {
            let what = "it is a JSON array: write each object in a line of its own, and a prompt that is one as {\"prompt\": …}";
            return Line { head: LineHead::default(), asked: Err(what.into()) };
        }
        let asked = Asked { prompt: Some(text.to_owned()), ..Asked::default() };
        Line { head: LineHead { prompt: text.to_owned(), ..LineHead::default() }, asked: Ok(asked) }
    }

    fn of_object(text: &str) -> Line {
        let mut head = LineHead::default();
        let asked = Fields::parse(text).and_then(|fields| asked(fields, &mut head));
        if let Ok(Asked { prompt: Some(prompt), .. }) = &asked {
            head.prompt.clone_from(prompt);
        }
        Line { head, asked }
    }

    /// The request; what is wrong with the line is said in a few words.
    pub fn over(self, defaults: &GenerateOptions, form: &FormArguments) -> Result<BatchRequest, String> {
        let mut asked = self.asked?;
        let parameters = std::mem::take(&mut asked.parameters);
        let prompt = asked.prompt(form)?;
        Ok(parameters.over(prompt, defaults))
    }
}

/// What an object asks for; `head` is filled as far as the object is understood.
fn asked(mut fields: Fields, head: &mut LineHead) -> Result<Asked, String> {
    for name in ["id", "custom_id"] {
        head.names.extend(fields.value(name).map(|value| (name.to_owned(), value)));
    }
    if fields.has("body") || fields.has("url") {
        return enveloped(fields, head);
    }
    head.echo = fields.flag("echo")?;
    let asked = Asked {
        prompt: fields.text("prompt")?,
        messages: listed(&mut fields)?,
        raw: fields.flag("raw")?,
        chat: fields.flag("chat")?,
        system: fields.text("system")?,
        parameters: Parameters::own(&mut fields)?,
    };
    fields.end(&[&FIELDS[..], &OWN].concat())?;
    Ok(asked)
}

/// What a request of OpenAI's batch format asks for.
fn enveloped(mut fields: Fields, head: &mut LineHead) -> Result<Asked, String> {
    head.shape = ResultForm::Chat;
    let url = fields.text("url")?.ok_or("a request with a body needs a url")?;
    head.shape = match url.as_str() {
        "/v1/chat/completions" => ResultForm::Chat,
        "/v1/completions" => ResultForm::Completion,
        _ => {
            return Err(format!("url: expected /v1/chat/completions or /v1/completions, found {}", shown(&url.into())));
        }
    };
    if let Some(method) = fields.text("method")?.filter(|method| method != "POST") {
        return Err(format!("method: expected POST, found {}", shown(&method.into())));
    }
    let mut body = fields.object("body", "body.")?.ok_or("a request with a url needs a body")?;
    fields.end(&ENVELOPE)?;
    for ignored in ["model", "user", "metadata", "store"] {
        body.value(ignored);
    }
    let is_chat = head.shape == ResultForm::Chat;
    let mut asked = Asked { chat: is_chat.then_some(true), ..Asked::default() };
    if is_chat {
        asked.messages = Some(listed(&mut body)?.ok_or("body.messages: expected a list of messages, found none")?);
    } else {
        asked.prompt = Some(body.text("prompt")?.ok_or("body.prompt: expected a text, found none")?);
        head.echo = body.flag("echo")?;
        asked.chat = Some(false);
        asked.raw = Some(false);
    }
    asked.parameters = Parameters::of_openai(&mut body, is_chat)?;
    body.end(&[&BODY[..], &OPENAI].concat())?;
    Ok(asked)
}

fn listed(fields: &mut Fields) -> Result<Option<Vec<Value>>, String> {
    let messages = fields.take("messages", "a list of messages", |value| value.as_array().cloned())?;
    messages.map(|messages| messages::plain(&messages)).transpose()
}

impl Asked {
    fn prompt(self, form: &FormArguments) -> Result<Prompt, String> {
        if let Some(messages) = self.messages {
            let alone =
                self.prompt.is_none() && self.system.is_none() && self.raw.is_none() && self.chat != Some(false);
            return match alone {
                true => Ok(Prompt::Chat(messages)),
                false => Err("messages stand alone: without prompt, system and raw, and with no chat but true".into()),
            };
        }
        let prompt = self.prompt.ok_or("expected a prompt or messages, found neither")?;
        let raw = self.raw.unwrap_or(form.raw && self.chat != Some(true));
        let chat = self.chat.unwrap_or(form.chat && !raw || self.system.is_some());
        match (raw, chat) {
            (true, true) => Err("raw and chat exclude each other".into()),
            (false, false) if self.system.is_some() => Err("a system text needs chat".into()),
            _ => Ok(FormArguments { raw, chat, system: self.system.or_else(|| form.system.clone()) }.prompt(&prompt)),
        }
    }
}

#[cfg(test)]
mod tests;
