//! `map`, `select`, `reject` and those by attribute.
use super::super::arguments::Args;
use super::super::fault::{Fault, Result};
use super::super::render::Renderer;
use super::super::value::Value;
use super::apply as filter;

pub(super) fn apply(r: &Renderer, name: &str, value: Value, mut args: Args) -> Result<Value> {
    if !value.is_true() && name == "map" || matches!(value, Value::Undefined(_) | Value::None) {
        return Value::iterator(Vec::new());
    }
    if name == "map" {
        return map(r, &value, args);
    }
    let wanted = name.starts_with("select");
    let attribute = if name.ends_with("attr") {
        if args.positional.is_empty() {
            return Err(Fault::failed("Missing parameter for attribute name"));
        }
        Some(args.positional.remove(0))
    } else {
        None
    };
    let test = if args.positional.is_empty() { None } else { Some(r.str(&args.positional.remove(0))?) };
    let mut chosen = Vec::new();
    if !value.is_true() {
        return Value::iterator(chosen);
    }
    for item in r.items_of(&value)? {
        let tested = r.by_path(&item, attribute.as_ref())?;
        let passes = match &test {
            Some(test) => r.test(test, &tested, args.clone())?,
            None => tested.is_true(),
        };
        if passes == wanted {
            chosen.push(item);
        }
    }
    Value::iterator(chosen)
}

fn map(r: &Renderer, value: &Value, mut args: Args) -> Result<Value> {
    let mut mapped = Vec::new();
    if args.positional.is_empty() && args.named.iter().any(|(name, _)| **name == *"attribute") {
        let [attribute, default] = args.bind("map", ["attribute", "default"], 1)?;
        let default = default.filter(|default| !matches!(default, Value::None));
        for item in r.items_of(value)? {
            mapped.push(r.by_path_or(&item, attribute.as_ref(), default.as_ref())?);
        }
        return Value::iterator(mapped);
    }
    if args.positional.is_empty() {
        return Err(Fault::failed("map requires a filter argument"));
    }
    let name = args.positional.remove(0);
    let name = r.str(&name)?;
    for item in r.items_of(value)? {
        let result = r.budget.deeper(|| filter(r, &name, item, args.clone()))?;
        mapped.push(result);
    }
    Value::iterator(mapped)
}
