//! Filters for HTML and URLs.
use super::super::arguments::Args;
use super::super::fault::{Fault, Result};
use super::super::render::Renderer;
use super::super::token::is_blank;
use super::super::value::{Text, Value};

pub(super) fn apply(r: &Renderer, name: &str, value: Value, args: Args) -> Result<Value> {
    if name == "xmlattr" {
        return attributes(r, &value, args);
    }
    let [] = args.unnamed(name, 0)?;
    let text = || -> Result<Text> {
        match &value {
            Value::Text(text) => Ok(text.clone()),
            other => Ok(Text { text: r.str(other)?.into(), safe: false }),
        }
    };
    match name {
        "safe" => Ok(Value::Text(Text { safe: true, ..text()? })),
        "forceescape" => Ok(Value::safe(r.escaped(&Text { safe: false, ..text()? }))),
        "e" | "escape" => Ok(Value::safe(r.escaped(&text()?))),
        "striptags" => without_tags(r, &text()?.text),
        _ => url_encoded(r, &value),
    }
}

impl Renderer {
    /// A text whose HTML characters are entities; a safe one is as it is.
    pub fn escaped(&self, text: &Text) -> String {
        let plain = &*text.text;
        if text.safe {
            return plain.to_owned();
        }
        let escaped = plain.replace('&', "&amp;").replace('>', "&gt;").replace('<', "&lt;");
        escaped.replace('\'', "&#39;").replace('"', "&#34;")
    }

    fn escaped_value(&self, value: &Value) -> Result<String> {
        match value {
            Value::Text(text) => Ok(self.escaped(text)),
            other => Ok(self.escaped(&Text { text: self.str(other)?.into(), safe: false })),
        }
    }
}

fn attributes(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [space] = args.bind("xmlattr", ["autospace"], 0)?;
    value.defined()?;
    let Value::Dict(dict) = value else { return Err(Fault::failed("xmlattr wants a mapping")) };
    let mut parts = Vec::new();
    for (key, value) in dict.entries().iter().filter(|(_, value)| !matches!(value, Value::None | Value::Undefined(_))) {
        let name = key.as_text().ok_or_else(|| Fault::failed("expected string or bytes-like object"))?;
        if name.contains(|c: char| matches!(c, ' ' | '\t'..='\r' | '/' | '>' | '=')) {
            return Err(Fault::failed(format!("Invalid character in attribute name: '{name}'")));
        }
        parts.push(format!("{}=\"{}\"", r.escaped_value(key)?, r.escaped_value(value)?));
    }
    let joined = parts.join(" ");
    let spaced = !joined.is_empty() && space.is_none_or(|space| space.is_true());
    r.text(if spaced { format!(" {joined}") } else { joined })
}

/// Without comments and tags, runs of blanks as one, and entities as their characters.
fn without_tags(r: &Renderer, text: &str) -> Result<Value> {
    let text = without(text, "<!--", "-->");
    let text = without(&text, "<", ">");
    let words: Vec<&str> = text.split(is_blank).filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&#39;", "'"), ("&#34;", "\""), ("&quot;", "\""), ("&amp;", "&")];
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find('&') {
        plain += &rest[..at];
        rest = &rest[at..];
        match named.iter().find(|(entity, _)| rest.starts_with(entity)) {
            Some((entity, character)) => {
                plain += character;
                rest = &rest[entity.len()..];
            }
            None if rest[1..].starts_with(|c: char| c == '#' || c.is_ascii_alphanumeric()) => {
                return Err(Fault::unsupported("striptags of a text with other entities"));
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    r.text(plain + rest)
}

fn without(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(open) {
        let Some(end) = rest[start..].find(close) else { break };
        kept += &rest[..start];
        rest = &rest[start + end + close.len()..];
    }
    kept + rest
}

fn url_encoded(r: &Renderer, value: &Value) -> Result<Value> {
    let pairs = match value {
        Value::Text(text) => return r.text(quoted(&text.text, false)),
        Value::Dict(dict) => dict.viewed(super::super::value::View::Items)?,
        Value::List(_)
        | Value::Tuple(_)
        | Value::Iterator(_)
        | Value::View(..)
        | Value::Undefined(_)
        | Value::Range(_) => r.items_of(value)?,
        other => return r.text(quoted(&r.str(other)?, false)),
    };
    let mut parts = Vec::new();
    for pair in pairs {
        let pair = r.items_of(&pair)?;
        let [key, value] = &pair[..] else { return Err(Fault::failed("urlencode wants pairs")) };
        parts.push(format!("{}={}", quoted(&r.str(key)?, true), quoted(&r.str(value)?, true)));
    }
    r.text(parts.join("&"))
}

fn quoted(text: &str, in_query: bool) -> String {
    let mut quoted = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => quoted.push(byte.into()),
            b'/' if !in_query => quoted.push('/'),
            b' ' if in_query => quoted.push('+'),
            _ => quoted += &format!("%{byte:02X}"),
        }
    }
    quoted
}
