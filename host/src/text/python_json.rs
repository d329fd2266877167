//! JSON as Python's `json.dumps` writes it: what `tojson` gives in chat templates.
use serde_json::Value;

/// The options of `json.dumps`.
pub(super) struct Style {
    /// Spaces of each level; without, all is in one line.
    pub indent: Option<usize>,
    /// Between items, and between a key and its value; by default `, ` and `: `.
    pub separators: Option<[String; 2]>,
    /// Whether characters outside ASCII are escaped.
    pub ascii: bool,
    /// Whether keys are sorted.
    pub sorted: bool,
}

impl Style {
    /// `value` as text.
    pub fn dump(&self, value: &Value) -> String {
        let mut text = String::new();
        self.write(value, 0, &mut text);
        text
    }

    fn write(&self, value: &Value, level: usize, text: &mut String) {
        match value {
            Value::String(string) => self.write_string(string, text),
            Value::Array(items) => self.write_items(['[', ']'], items.iter().map(|item| (None, item)), level, text),
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().map(|(key, value)| (Some(key.as_str()), value)).collect();
                if self.sorted {
                    entries.sort_by_key(|(key, _)| *key);
                }
                self.write_items(['{', '}'], entries.into_iter(), level, text);
            }
            scalar => *text += &scalar.to_string(),
        }
    }

    fn write_items<'a>(
        &self,
        [open, close]: [char; 2],
        items: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
        level: usize,
        text: &mut String,
    ) {
        let item_separator = if self.indent.is_some() { "," } else { ", " };
        let [item_separator, key_separator] =
            self.separators.as_ref().map_or([item_separator, ": "], |[item, key]| [item, key]);
        text.push(open);
        let mut empty = true;
        for (key, value) in items {
            if !empty {
                *text += item_separator;
            }
            empty = false;
            self.break_line(level + 1, text);
            if let Some(key) = key {
                self.write_string(key, text);
                *text += key_separator;
            }
            self.write(value, level + 1, text);
        }
        if !empty {
            self.break_line(level, text);
        }
        text.push(close);
    }

    fn break_line(&self, level: usize, text: &mut String) {
        if let Some(indent) = self.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * level));
        }
    }

    fn write_string(&self, string: &str, text: &mut String) {
        for character in Value::from(string).to_string().chars() {
            if self.ascii && !character.is_ascii() {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    *text += &format!("\\u{unit:04x}");
                }
            } else {
                text.push(character);
            }
        }
    }
}
