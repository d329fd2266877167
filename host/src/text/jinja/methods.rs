//! Methods of values: which there are, which the sandbox refuses, and their calls.
use std::rc::Rc;

use super::arguments::{Args, str_of, whole_or};
use super::fault::{Fault, Result};
use super::loops;
use super::operators::Number;
use super::render::Renderer;
use super::value::{Dict, Items, Key, Value, View};

/// What a name is of a value.
pub(super) enum Found {
    Method(&'static str),
    Value(Value),
    /// It would change the value: the immutable sandbox has no such attribute.
    Unsafe,
}

const TEXT: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const LIST: [&str; 3] = ["copy", "count", "index"];
const LIST_UNSAFE: [&str; 8] = ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];
const SEQUENCE: [&str; 2] = ["count", "index"];
const DICT: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const DICT_UNSAFE: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const INT: [&str; 6] = ["as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"];
const FLOAT: [&str; 5] = ["as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"];
const CYCLER: [&str; 2] = ["next", "reset"];
const VIEW: [&str; 2] = ["isdisjoint", "mapping"];

/// What `name` is of `object`, if anything.
pub(super) fn find(object: &Value, name: &str) -> Option<Found> {
    let (methods, refused): (&[&'static str], &[&str]) = match object {
        Value::Text(_) => (&TEXT, &[]),
        Value::List(_) => (&LIST, &LIST_UNSAFE),
        Value::Tuple(_) | Value::Range(_) => (&SEQUENCE, &[]),
        Value::Dict(_) => (&DICT, &DICT_UNSAFE),
        Value::Int(_) | Value::Bool(_) => (&INT, &[]),
        Value::Float(_) => (&FLOAT, &[]),
        Value::Loop(_) => (&loops::METHODS, &[]),
        Value::Cycler(_) => (&CYCLER, &[]),
        Value::View(..) => (&VIEW, &[]),
        _ => (&[], &[]),
    };
    if refused.contains(&name) {
        return Some(Found::Unsafe);
    }
    if let Some(value) = Number::of(object).and_then(|number| part(number, name)) {
        return Some(Found::Value(value));
    }
    methods.iter().find(|method| **method == name).map(|method| Found::Method(method))
}

/// The attributes of a number that are no methods.
fn part(number: Number, name: &str) -> Option<Value> {
    match (number, name) {
        (Number::Int(value), "real" | "numerator") => Some(Value::Int(value)),
        (Number::Int(_), "imag") => Some(Value::Int(0)),
        (Number::Int(_), "denominator") => Some(Value::Int(1)),
        (Number::Float(value), "real") => Some(Value::Float(value)),
        (Number::Float(_), "imag") => Some(Value::Float(0.0)),
        _ => None,
    }
}

/// Calls `object.method(args)`.
pub(super) fn call(renderer: &Renderer, object: &Value, method: &'static str, args: Args) -> Result<Value> {
    match object {
        Value::Text(text) => renderer.text_method(text, method, args),
        Value::List(items) | Value::Tuple(items) => renderer.sequence_method(object, items, method, args),
        Value::Dict(dict) => renderer.dict_method(dict, method, args),
        Value::Int(_) | Value::Bool(_) | Value::Float(_) => number_method(object, method, args),
        Value::Loop(state) => renderer.loop_method(state, method, args),
        Value::Range(_) => {
            let items = Value::list(renderer.items_of(object)?)?;
            let Value::List(list) = &items else { return Ok(items) };
            renderer.sequence_method(object, list, method, args)
        }
        Value::Cycler(cycler) => {
            let [] = args.unnamed(method, 0)?;
            if method == "reset" {
                cycler.1.set(0);
                return Ok(Value::None);
            }
            let at = cycler.1.get();
            cycler.1.set((at + 1) % cycler.0.items.len());
            Ok(cycler.0.items[at].clone())
        }
        other => Err(Fault::unsupported(format!("the method {method} of {}", other.type_name()))),
    }
}

impl Renderer {
    fn sequence_method(&self, object: &Value, items: &Rc<Items>, method: &str, args: Args) -> Result<Value> {
        match method {
            "copy" => {
                let [] = args.unnamed(method, 0)?;
                Value::list(items.items.clone())
            }
            "count" => {
                let [value] = args.unnamed(method, 1)?;
                let value = value.unwrap_or(Value::None);
                let mut count = 0;
                for item in &items.items {
                    count += i128::from(self.equal(item, &value)?);
                }
                Ok(Value::Int(count))
            }
            _ => {
                let [value, start, stop] = args.unnamed(method, 1)?;
                let value = value.unwrap_or(Value::None);
                let length = items.items.len() as i128;
                let place = |at: i128| (if at < 0 { at + length } else { at }).clamp(0, length) as usize;
                let (start, stop) = (place(whole_or(start, 0)?), place(whole_or(stop, length)?));
                for at in start..stop {
                    if self.equal(&items.items[at], &value)? {
                        return Ok(Value::Int(at as i128));
                    }
                }
                let kind = object.type_name();
                Err(Fault::failed(format!("{kind}.index(x): x not in {kind}")))
            }
        }
    }

    fn dict_method(&self, dict: &Rc<Dict>, method: &str, args: Args) -> Result<Value> {
        match method {
            "get" => {
                let [key, default] = args.unnamed(method, 1)?;
                let key = Key::of(&key.unwrap_or(Value::None), &self.budget)?;
                Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None))
            }
            "fromkeys" => Err(Fault::unsupported("dict.fromkeys")),
            _ => {
                let [] = args.unnamed(method, 0)?;
                Ok(match method {
                    "items" => Value::View(View::Items, dict.clone()),
                    "keys" => Value::View(View::Keys, dict.clone()),
                    "values" => Value::View(View::Values, dict.clone()),
                    _ => Value::Dict(Rc::new((**dict).clone())),
                })
            }
        }
    }

    /// Whether a text is one of the texts of an argument: a text, or a tuple of texts.
    pub fn any_text(&self, argument: &Value, callee: &str, is_one: impl Fn(&str) -> bool) -> Result<bool> {
        let texts = match argument {
            Value::Tuple(items) => &items.items,
            other => std::slice::from_ref(other),
        };
        for text in texts {
            if is_one(str_of(text, callee)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn number_method(object: &Value, method: &str, args: Args) -> Result<Value> {
    let unsupported = || Fault::unsupported(format!("the method {method} of {}", object.type_name()));
    if matches!(method, "from_bytes" | "to_bytes" | "fromhex" | "hex" | "as_integer_ratio") {
        return Err(unsupported());
    }
    let [] = args.unnamed(method, 0)?;
    match (Number::of(object).ok_or_else(unsupported)?, method) {
        (Number::Int(value), "bit_count") => Ok(Value::Int(i128::from(value.unsigned_abs().count_ones()))),
        (Number::Int(value), "bit_length") => Ok(Value::Int(i128::from(128 - value.unsigned_abs().leading_zeros()))),
        (Number::Int(value), "conjugate") => Ok(Value::Int(value)),
        (Number::Float(value), "conjugate") => Ok(Value::Float(value)),
        (Number::Float(value), "is_integer") => Ok(Value::Bool(value.fract() == 0.0)),
        _ => Err(unsupported()),
    }
}
