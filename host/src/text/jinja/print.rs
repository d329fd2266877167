//! `str()` and `repr()` of values.
use super::fault::{Fault, Result};
use super::numbers::float_text;
use super::render::Renderer;
use super::value::{Items, Value, View};

impl Renderer {
    /// Python's `str`.
    pub fn str(&self, value: &Value) -> Result<String> {
        let mut text = String::new();
        self.append_str(value, &mut text)?;
        Ok(text)
    }

    pub fn append_str(&self, value: &Value, out: &mut String) -> Result<()> {
        match value {
            Value::Undefined(_) => Ok(()),
            Value::Text(text) => {
                self.budget.bytes(text.text.len())?;
                *out += &text.text;
                Ok(())
            }
            value => self.append_repr(value, out),
        }
    }

    /// Python's `repr`.
    pub fn repr(&self, value: &Value) -> Result<String> {
        let mut text = String::new();
        self.append_repr(value, &mut text)?;
        Ok(text)
    }

    fn append_repr(&self, value: &Value, out: &mut String) -> Result<()> {
        self.budget.bytes(8)?;
        match value {
            Value::Undefined(_) => *out += "Undefined",
            Value::None => *out += "None",
            Value::Bool(value) => *out += if *value { "True" } else { "False" },
            Value::Int(value) => *out += &value.to_string(),
            Value::Float(value) => *out += &float_text(*value),
            Value::Text(text) => {
                self.budget.bytes(text.text.len())?;
                let quoted = quoted(&text.text);
                *out += &if text.safe { format!("Markup({quoted})") } else { quoted };
            }
            Value::List(items) => self.append_items("[", items, "]", out)?,
            Value::Tuple(items) => {
                let end = if items.items.len() == 1 { ",)" } else { ")" };
                self.append_items("(", items, end, out)?;
            }
            Value::Dict(dict) => {
                out.push('{');
                for (at, (key, value)) in dict.entries().iter().enumerate() {
                    *out += if at > 0 { ", " } else { "" };
                    self.budget.deeper(|| self.append_repr(key, out))?;
                    *out += ": ";
                    self.budget.deeper(|| self.append_repr(value, out))?;
                }
                out.push('}');
            }
            Value::Range(range) => {
                *out += &format!("range({}, {}", range.start, range.stop);
                *out += &if range.step == 1 { ")".to_owned() } else { format!(", {})", range.step) };
            }
            Value::View(view, dict) => {
                *out += match view {
                    View::Keys => "dict_keys(",
                    View::Values => "dict_values(",
                    View::Items => "dict_items(",
                };
                self.append_repr(&Value::list(dict.viewed(*view)?)?, out)?;
                out.push(')');
            }
            other => return Err(Fault::unsupported(format!("the text of a {}", other.type_name()))),
        }
        Ok(())
    }

    fn append_items(&self, open: &str, items: &Items, close: &str, out: &mut String) -> Result<()> {
        *out += open;
        for (at, item) in items.items.iter().enumerate() {
            *out += if at > 0 { ", " } else { "" };
            self.budget.deeper(|| self.append_repr(item, out))?;
        }
        *out += close;
        Ok(())
    }
}

/// A text in quotes, as Python's `repr` chooses and escapes.
pub(super) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for character in text.chars() {
        match character {
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            '\\' => quoted += "\\\\",
            _ if character == quote => quoted.extend(['\\', quote]),
            _ if is_printable(character) => quoted.push(character),
            _ => quoted += &escape(character),
        }
    }
    quoted.push(quote);
    quoted
}

/// `\x1f`, `\u200b`, `\U000e0001`.
pub(super) fn escape(character: char) -> String {
    match u32::from(character) {
        code @ ..=0xff => format!("\\x{code:02x}"),
        code @ ..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// Rust's escapes know the same categories as Python's `str.isprintable`; behind a letter they take marks as printable.
pub(super) fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    let text: String = ['a', character].into_iter().collect();
    !text.escape_debug().skip(1).collect::<String>().starts_with('\\')
}
