//! Functions of the environment: jinja2's and the two of transformers.
use std::cell::Cell;
use std::rc::Rc;

use chrono::Local;

use super::arguments::{Args, str_of, whole};
use super::fault::{Fault, Kind, Result};
use super::render::{Renderer, not_hidden};
use super::value::{Dict, Range, Text, Value};

const NAMES: [&str; 8] =
    ["range", "dict", "lipsum", "cycler", "joiner", "namespace", "raise_exception", "strftime_now"];

/// Numbers that the sandbox lets a range have.
const MOST_NUMBERS: usize = 100_000;

/// Bounds of ranges, far inside of what whole numbers hold here.
pub(super) const FARTHEST: i128 = 1 << 64;

pub(super) fn find(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|known| **known == name).copied()
}

pub(super) fn call(renderer: &Renderer, name: &str, args: Args) -> Result<Value> {
    match name {
        "range" => range(args),
        "dict" => Ok(Value::Dict(Rc::new(entries(renderer, args)?))),
        "namespace" => {
            let entries = entries(renderer, args)?;
            entries.entries().iter().try_for_each(|(name, _)| not_hidden(name.as_text().unwrap_or("")))?;
            Ok(renderer.namespace(entries))
        }
        "cycler" => {
            let Args { positional, named } = args;
            if positional.is_empty() || !named.is_empty() {
                return Err(Fault::failed("at least one item has to be provided"));
            }
            let Value::List(items) = Value::list(positional)? else { return Ok(Value::None) };
            Ok(Value::Cycler(Rc::new((items, Cell::new(0)))))
        }
        "joiner" => {
            let [separator] = args.bind(name, ["sep"], 0)?;
            let text = separator.as_ref().map_or(Ok(", "), |separator| str_of(separator, "joiner's separator"))?;
            Ok(Value::Joiner(Rc::new((Text { text: text.into(), safe: false }, Cell::new(false)))))
        }
        "raise_exception" => {
            let [message] = args.bind(name, ["message"], 1)?;
            Err(Fault::new(Kind::Raised, renderer.str(&message.unwrap_or(Value::None))?))
        }
        "strftime_now" => {
            let [format] = args.bind(name, ["format"], 1)?;
            let format = format.unwrap_or(Value::None);
            renderer.text(now(str_of(&format, "strftime() argument 1")?)?)
        }
        _ => Err(Fault::unsupported(format!("the function {name}"))),
    }
}

fn range(args: Args) -> Result<Value> {
    let bounds = args.positional.iter().map(whole).collect::<Result<Vec<i128>>>()?;
    if !args.named.is_empty() {
        return Err(Fault::failed("range() takes no keyword arguments"));
    }
    let (start, stop, step) = match bounds[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return Err(Fault::failed("range expected 1 to 3 arguments")),
    };
    if step == 0 {
        return Err(Fault::failed("range() arg 3 must not be zero"));
    }
    if bounds.iter().any(|bound| bound.abs() > FARTHEST) {
        return Err(Fault::unsupported("a range beyond 64 bits"));
    }
    let range = Range { start, stop, step };
    if range.length() > MOST_NUMBERS {
        return Err(Fault::limit(format!("Range too big. The sandbox blocks ranges larger than {MOST_NUMBERS}.")));
    }
    Ok(Value::Range(range))
}

/// The entries of Python's `dict(…)`.
fn entries(renderer: &Renderer, args: Args) -> Result<Dict> {
    let mut dict = Dict::new();
    if args.positional.len() > 1 {
        return Err(Fault::failed("dict expected at most 1 argument"));
    }
    if let Some(first) = args.positional.first() {
        if let Value::Dict(other) = first {
            for (key, value) in other.entries() {
                dict.insert(key.clone(), value.clone(), &renderer.budget)?;
            }
        } else {
            for pair in renderer.items_of(first)? {
                let [key, value] = <[Value; 2]>::try_from(renderer.items_of(&pair)?)
                    .map_err(|_| Fault::failed("dictionary update sequence element has not length 2"))?;
                dict.insert(key, value, &renderer.budget)?;
            }
        }
    }
    for (key, value) in args.named {
        dict.insert(Value::text(key), value, &renderer.budget)?;
    }
    Ok(dict)
}

fn now(format: &str) -> Result<String> {
    let mut text = String::new();
    let unknown = |_| Fault::failed(format!("strftime_now does not know the format {format:?}"));
    Local::now().format(format).write_to(&mut text).map_err(unknown)?;
    Ok(text)
}
