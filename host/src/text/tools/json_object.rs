//! One call as a JSON object: where it ends, its name and its arguments.
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The name and the arguments of a call as they are written, which may be a text of JSON; none if `object` is no call, or
/// its name is not one that `is_named` takes. Arguments may be missing if `may_lack` says so.
pub(super) fn call(object: &str, is_named: impl Fn(&str) -> bool, may_lack: bool) -> Option<(String, String)> {
    let call: Call = serde_json::from_str(object).ok()?;
    let arguments = match call.arguments.or(call.parameters).map(RawValue::get) {
        None if !may_lack => return None,
        None | Some("null") => "{}".to_owned(),
        Some(text) if text.starts_with('"') => serde_json::from_str::<String>(text).ok()?,
        Some(text) => text.to_owned(),
    };
    let is_object = serde_json::from_str::<Map<String, Value>>(&arguments).is_ok();
    (is_named(&call.name) && is_object).then_some((call.name, arguments))
}

/// Keys of a call, one of which comes first.
const KEYS: [&str; 5] = ["name", "type", "id", "arguments", "parameters"];

/// Whether an object that begins so may become a call.
pub(super) fn may_be_call(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('{').map(str::trim_start) else { return false };
    let Some(key) = rest.strip_prefix('"') else { return rest.is_empty() };
    match key.split_once('"') {
        Some((key, _)) => KEYS.contains(&key),
        None => KEYS.iter().any(|known| known.starts_with(key)),
    }
}

/// A call as models write it.
#[derive(Deserialize)]
struct Call<'a> {
    name: String,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

/// Looks for the end of an object, each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    bytes: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Scan {
    /// Where the object that begins at `start` ends.
    pub fn end(&mut self, text: &[u8], start: usize) -> Option<usize> {
        for (index, byte) in text.iter().enumerate().skip(start + self.bytes) {
            self.bytes += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                b'{' | b'[' if !self.quoted => self.depth += 1,
                b'}' | b']' if !self.quoted => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(index + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
