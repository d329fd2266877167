//! JSON as Python's `json.dumps` writes it: what `tojson` gives in transformers.
use super::fault::{Fault, Result};
use super::numbers::float_text;
use super::render::Renderer;
use super::value::Value;

/// The options of `json.dumps`.
pub(super) struct Style {
    /// What each level is indented by; without, all is in one line.
    pub indent: Option<String>,
    /// Between items, and between a key and its value.
    pub separators: [String; 2],
    /// Whether characters outside ASCII are escaped.
    pub ascii: bool,
    /// Whether keys are sorted.
    pub sorted: bool,
}

impl Renderer {
    /// `value` as JSON.
    pub fn dump(&self, value: &Value, style: &Style) -> Result<String> {
        let mut text = String::new();
        self.write_json(value, style, 0, &mut text)?;
        Ok(text)
    }

    fn write_json(&self, value: &Value, style: &Style, level: usize, text: &mut String) -> Result<()> {
        self.budget.bytes(8)?;
        match value {
            Value::None => *text += "null",
            Value::Bool(value) => *text += if *value { "true" } else { "false" },
            Value::Int(value) => *text += &value.to_string(),
            Value::Float(value) => *text += &json_float(*value),
            Value::Text(string) => {
                self.budget.bytes(string.text.len())?;
                write_string(&string.text, style.ascii, text);
            }
            Value::List(items) | Value::Tuple(items) => {
                let items = items.items.iter().map(|item| (None, item));
                self.write_entries(['[', ']'], items, style, level, text)?;
            }
            Value::Dict(dict) => {
                let mut entries = dict.entries().to_vec();
                if style.sorted {
                    entries = self.sorted(entries, false)?;
                }
                let entries = entries.iter().map(|(key, value)| (Some(key), value));
                self.write_entries(['{', '}'], entries, style, level, text)?;
            }
            other => {
                let message = format!("Object of type {} is not JSON serializable", other.type_name());
                return Err(Fault::failed(message));
            }
        }
        Ok(())
    }

    fn write_entries<'a>(
        &self,
        [open, close]: [char; 2],
        entries: impl Iterator<Item = (Option<&'a Value>, &'a Value)>,
        style: &Style,
        level: usize,
        text: &mut String,
    ) -> Result<()> {
        text.push(open);
        let mut empty = true;
        for (key, value) in entries {
            if !std::mem::take(&mut empty) {
                *text += &style.separators[0];
            }
            self.break_line(style, level + 1, text)?;
            if let Some(key) = key {
                write_string(&json_key(key)?, style.ascii, text);
                *text += &style.separators[1];
            }
            self.budget.deeper(|| self.write_json(value, style, level + 1, text))?;
        }
        if !empty {
            self.break_line(style, level, text)?;
        }
        text.push(close);
        Ok(())
    }

    fn break_line(&self, style: &Style, level: usize, text: &mut String) -> Result<()> {
        let Some(indent) = &style.indent else { return Ok(()) };
        self.budget.bytes(indent.len().saturating_mul(level))?;
        text.push('\n');
        text.extend(std::iter::repeat_n(indent.as_str(), level));
        Ok(())
    }
}

fn json_float(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => float_text(value),
    }
}

fn json_key(key: &Value) -> Result<String> {
    Ok(match key {
        Value::Text(text) => text.text.to_string(),
        Value::None => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => json_float(*value),
        other => {
            let kind = other.type_name();
            return Err(Fault::failed(format!("keys must be str, int, float, bool or None, not {kind}")));
        }
    })
}

fn write_string(string: &str, ascii: bool, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => *text += "\\\"",
            '\\' => *text += "\\\\",
            '\n' => *text += "\\n",
            '\r' => *text += "\\r",
            '\t' => *text += "\\t",
            '\x08' => *text += "\\b",
            '\x0c' => *text += "\\f",
            _ if character < ' ' || (ascii && !(' '..='~').contains(&character)) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    *text += &format!("\\u{unit:04x}");
                }
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}
