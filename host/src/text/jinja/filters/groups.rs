//! Filters that order and compare items.
use std::cmp::Ordering;
use std::collections::HashSet;
use std::rc::Rc;

use super::super::arguments::{Args, str_of};
use super::super::fault::{Fault, Result};
use super::super::render::Renderer;
use super::super::value::{Key, Text, Value};

pub(super) fn apply(r: &Renderer, name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "sort" => sort(r, &value, args),
        "dictsort" => dict_sort(r, &value, args),
        "unique" => unique(r, &value, args),
        "groupby" => group_by(r, &value, args),
        _ => extreme(r, name, &value, args),
    }
}

fn is_set(option: Option<Value>) -> bool {
    option.is_some_and(|option| option.is_true())
}

/// Texts in lower case, unless case counts.
fn key(value: Value, case_sensitive: bool) -> Value {
    match value {
        Value::Text(text) if !case_sensitive => {
            let text: Rc<str> = text.text.to_lowercase().into();
            Value::Text(Text { text, safe: false })
        }
        other => other,
    }
}

fn values(sorted: Vec<(Value, Value)>) -> Vec<Value> {
    sorted.into_iter().map(|(_, value)| value).collect()
}

fn sort(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [reverse, case_sensitive, attribute] = args.bind("sort", ["reverse", "case_sensitive", "attribute"], 0)?;
    let case_sensitive = is_set(case_sensitive);
    let paths: Vec<Option<Value>> = match &attribute {
        Some(Value::Text(text)) => text.text.split(',').map(|path| Some(Value::text(path))).collect(),
        other => vec![other.clone()],
    };
    let mut keyed = Vec::new();
    for item in r.items_of(value)? {
        let parts = paths.iter().map(|path| Ok(key(r.by_path(&item, path.as_ref())?, case_sensitive)));
        keyed.push((Value::list(parts.collect::<Result<_>>()?)?, item));
    }
    Value::list(values(r.sorted(keyed, is_set(reverse))?))
}

fn dict_sort(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, by, reverse] = args.bind("dictsort", ["case_sensitive", "by", "reverse"], 0)?;
    let case_sensitive = is_set(case_sensitive);
    let by = by.unwrap_or_else(|| Value::text("key"));
    let by = by.as_text().unwrap_or("");
    if !matches!(by, "key" | "value") {
        return Err(Fault::failed("You can only sort by either \"key\" or \"value\""));
    }
    value.defined()?;
    let Value::Dict(dict) = value else { return Err(Fault::failed("dictsort wants a mapping")) };
    let mut keyed = Vec::new();
    for (name, item) in dict.entries() {
        let by = key(if by == "key" { name.clone() } else { item.clone() }, case_sensitive);
        keyed.push((by, Value::tuple(vec![name.clone(), item.clone()])?));
    }
    Value::list(values(r.sorted(keyed, is_set(reverse))?))
}

fn unique(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind("unique", ["case_sensitive", "attribute"], 0)?;
    let case_sensitive = is_set(case_sensitive);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for item in r.items_of(value)? {
        let key = key(r.by_path(&item, attribute.as_ref())?, case_sensitive);
        if seen.insert(Key::of(&key, &r.budget)?) {
            found.push(item);
        }
    }
    Value::iterator(found)
}

fn group_by(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [attribute, default, case_sensitive] = args.bind("groupby", ["attribute", "default", "case_sensitive"], 1)?;
    let case_sensitive = is_set(case_sensitive);
    let mut keyed = Vec::new();
    for item in r.items_of(value)? {
        let by = r.by_path_or(&item, attribute.as_ref(), default.as_ref())?;
        keyed.push((key(by.clone(), case_sensitive), Value::tuple(vec![by, item])?));
    }
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for (key, pair) in r.sorted(keyed, false)? {
        let Value::Tuple(pair) = pair else { continue };
        let (by, item) = (pair.items[0].clone(), pair.items[1].clone());
        match groups.last_mut() {
            Some((last, _, items)) if r.equal(last, &key)? => items.push(item),
            _ => groups.push((key, by, vec![item])),
        }
    }
    Value::list(groups.into_iter().map(|(_, by, items)| Value::group(by, items)).collect::<Result<_>>()?)
}

fn extreme(r: &Renderer, name: &str, value: &Value, args: Args) -> Result<Value> {
    let [case_sensitive, attribute] = args.bind(name, ["case_sensitive", "attribute"], 0)?;
    let case_sensitive = is_set(case_sensitive);
    let mut best: Option<(Value, Value)> = None;
    for item in r.items_of(value)? {
        let by = key(r.by_path(&item, attribute.as_ref())?, case_sensitive);
        let better = match &best {
            None => true,
            Some((other, _)) if name == "min" => r.ordered(&by, other, "<")? == Some(Ordering::Less),
            Some((other, _)) => r.ordered(&by, other, ">")? == Some(Ordering::Greater),
        };
        if better {
            best = Some((by, item));
        }
    }
    Ok(best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item))
}

impl Renderer {
    /// The value at a path such as `function.name` or `0.name`; `item` itself without a path.
    pub fn by_path(&self, item: &Value, path: Option<&Value>) -> Result<Value> {
        self.by_path_or(item, path, None)
    }

    /// The same with a default for each step.
    pub fn by_path_or(&self, item: &Value, path: Option<&Value>, default: Option<&Value>) -> Result<Value> {
        let path = match path {
            None | Some(Value::None) => return Ok(item.clone()),
            Some(path @ Value::Int(_)) => return self.step(item, path, default),
            Some(path) => str_of(path, "attribute")?,
        };
        let mut value = item.clone();
        for part in path.split('.') {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let index = if is_number { part.parse().ok().map(Value::Int) } else { None };
            value = self.step(&value, &index.unwrap_or_else(|| Value::text(part)), default)?;
        }
        Ok(value)
    }

    fn step(&self, value: &Value, part: &Value, default: Option<&Value>) -> Result<Value> {
        let found = self.item(value, part)?;
        Ok(default.filter(|_| found.is_undefined()).cloned().unwrap_or(found))
    }
}
