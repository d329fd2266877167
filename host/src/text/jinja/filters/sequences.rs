//! Filters on whole sequences.
use super::super::arguments::{Args, whole};
use super::super::fault::{Fault, Result};
use super::super::render::Renderer;
use super::super::value::{Value, View};

pub(super) fn apply(r: &Renderer, name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "batch" => batch(r, &value, args),
        "slice" => slice(r, &value, args),
        "join" => join(r, &value, args),
        _ => {
            let [] = args.unnamed(name, 0)?;
            match name {
                "list" => Value::list(r.items_of(&value)?),
                "first" => first(r, &value),
                "last" => {
                    let items = reversible(r, &value)?;
                    Ok(items.last().cloned().unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")))
                }
                "length" | "count" => Ok(Value::Int(value.length()? as i128)),
                "items" => match &value {
                    Value::Undefined(_) => Value::iterator(Vec::new()),
                    Value::Dict(dict) => Value::iterator(dict.viewed(View::Items)?),
                    _ => Err(Fault::failed("Can only get item pairs from a mapping.")),
                },
                _ => reverse(r, &value),
            }
        }
    }
}

fn first(r: &Renderer, value: &Value) -> Result<Value> {
    let none = || Value::undefined("No first item, sequence was empty.");
    match value {
        // Only one item of a generator is taken.
        Value::Iterator(remaining) => Ok(remaining.items.borrow_mut().pop_front().unwrap_or_else(none)),
        Value::Text(text) => Ok(text.text.chars().next().map_or_else(none, |c| Value::text(c.to_string()))),
        other => Ok(r.items_of(other)?.into_iter().next().unwrap_or_else(none)),
    }
}

/// The items of what Python's `reversed` takes.
fn reversible(r: &Renderer, value: &Value) -> Result<Vec<Value>> {
    if matches!(value, Value::Iterator(_)) {
        return Err(Fault::failed("'generator' object is not reversible"));
    }
    r.items_of(value)
}

fn reverse(r: &Renderer, value: &Value) -> Result<Value> {
    if let Value::Text(text) = value {
        return r.text(text.text.chars().rev().collect());
    }
    let mut items = r.items_of(value)?;
    items.reverse();
    // Of a generator jinja2 gives a list, of others an iterator.
    if matches!(value, Value::Iterator(_)) { Value::list(items) } else { Value::iterator(items) }
}

fn batch(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [count, fill] = args.bind("batch", ["linecount", "fill_with"], 1)?;
    let count = whole(&count.unwrap_or(Value::None))?;
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    for item in r.items_of(value)? {
        if batch.len() as i128 == count {
            batches.push(Value::list(std::mem::take(&mut batch))?);
        }
        batch.push(item);
    }
    if !batch.is_empty() {
        if let Some(fill) = fill.filter(|fill| !matches!(fill, Value::None)) {
            let missing = r.width(count - batch.len() as i128)?;
            r.budget.items(missing)?;
            batch.extend(std::iter::repeat_n(fill, missing));
        }
        batches.push(Value::list(batch)?);
    }
    Value::iterator(batches)
}

fn slice(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [slices, fill] = args.bind("slice", ["slices", "fill_with"], 1)?;
    let slices = usize::try_from(whole(&slices.unwrap_or(Value::None))?).unwrap_or(0);
    let items = r.items_of(value)?;
    if slices == 0 {
        return Err(Fault::failed("integer division or modulo by zero"));
    }
    r.budget.items(slices)?;
    let (each, longer) = (items.len() / slices, items.len() % slices);
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let mut items = items.into_iter();
    let mut columns = Vec::new();
    for at in 0..slices {
        let mut column: Vec<Value> = items.by_ref().take(each + usize::from(at < longer)).collect();
        if at >= longer {
            column.extend(fill.clone());
        }
        columns.push(Value::list(column)?);
    }
    Value::iterator(columns)
}

fn join(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [separator, attribute] = args.bind("join", ["d", "attribute"], 0)?;
    let separator = separator.map_or(Ok(String::new()), |separator| r.str(&separator))?;
    let attribute = attribute.filter(|attribute| !matches!(attribute, Value::None));
    let mut text = String::new();
    for (at, item) in r.items_of(value)?.iter().enumerate() {
        if at > 0 {
            r.budget.bytes(separator.len())?;
            text += &separator;
        }
        r.append_str(&r.by_path(item, attribute.as_ref())?, &mut text)?;
    }
    Ok(Value::text(text))
}
