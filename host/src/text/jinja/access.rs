//! Attributes, items, slices, and what a loop runs over.
use std::rc::Rc;

use super::arguments::whole;
use super::fault::{Fault, Result};
use super::functions::FARTHEST;
use super::methods::{self, Found};
use super::render::Renderer;
use super::value::{Items, Key, Range, Value};

impl Renderer {
    /// `object.name`: an attribute of the object, else its item of that name.
    pub fn attribute(&self, object: &Value, name: &str) -> Result<Value> {
        object.defined()?;
        if let Some(found) = self.own_attribute(object, name) {
            return Ok(found);
        }
        let key = Value::text(name);
        Ok(self.own_item(object, &key)?.unwrap_or_else(|| missing(object, &format!("attribute '{name}'"))))
    }

    /// `object[key]`: an item, else an attribute of that name.
    pub fn item(&self, object: &Value, key: &Value) -> Result<Value> {
        object.defined()?;
        if let Some(found) = self.own_item(object, key)? {
            return Ok(found);
        }
        if let Some(found) = key.as_text().and_then(|name| self.own_attribute(object, name)) {
            return Ok(found);
        }
        Ok(missing(object, &format!("element {}", self.repr(key).unwrap_or_default())))
    }

    /// The filter `attr`: an attribute alone, no item.
    pub fn attribute_alone(&self, object: &Value, name: &str) -> Result<Value> {
        object.defined()?;
        let found = self.own_attribute(object, name);
        Ok(found.unwrap_or_else(|| missing(object, &format!("attribute '{name}'"))))
    }

    fn own_attribute(&self, object: &Value, name: &str) -> Option<Value> {
        match object {
            Value::Namespace(entries) => return entries.borrow().get_text(name).cloned(),
            Value::Loop(state) => {
                if let Some(value) = self.loop_attribute(state, name) {
                    return Some(value);
                }
            }
            Value::Tuple(items) if items.group && matches!(name, "grouper" | "list") => {
                return items.items.get(usize::from(name == "list")).cloned();
            }
            Value::Range(range) => match name {
                "start" => return Some(Value::Int(range.start)),
                "stop" => return Some(Value::Int(range.stop)),
                "step" => return Some(Value::Int(range.step)),
                _ => (),
            },
            Value::Macro(called) if name == "name" => return Some(Value::text(&*called.node.name)),
            Value::Cycler(cycler) if name == "current" => return cycler.0.items.get(cycler.1.get()).cloned(),
            _ => (),
        }
        match methods::find(object, name)? {
            Found::Method(name) => Some(Value::Method(Rc::new((object.clone(), name)))),
            Found::Value(value) => Some(value),
            Found::Unsafe => {
                let kind = object.type_name();
                Some(Value::undefined(format!("access to attribute '{name}' of '{kind}' object is unsafe.")))
            }
        }
    }

    fn own_item(&self, object: &Value, key: &Value) -> Result<Option<Value>> {
        if let Value::Dict(dict) = object {
            return Ok(Key::of(key, &self.budget).ok().and_then(|key| dict.get(&key).cloned()));
        }
        if !matches!(key, Value::Int(_) | Value::Bool(_)) {
            return Ok(None);
        }
        let index = whole(key)?;
        let place = |length: usize| {
            let index = if index < 0 { index + length as i128 } else { index };
            usize::try_from(index).ok().filter(|index| *index < length)
        };
        Ok(match object {
            Value::List(items) | Value::Tuple(items) => place(items.items.len()).map(|at| items.items[at].clone()),
            Value::Range(range) => place(range.length()).map(|at| Value::Int(range.get(at))),
            Value::Text(text) if text.text.is_ascii() => {
                place(text.text.len()).map(|at| Value::text(&text.text[at..=at]))
            }
            Value::Text(text) => {
                self.budget.steps(text.text.len() / 16)?;
                let found = place(text.text.chars().count()).and_then(|at| text.text.chars().nth(at));
                found.map(|character| Value::text(character.to_string()))
            }
            _ => None,
        })
    }

    /// `object[start:stop:step]`.
    pub fn slice(&self, object: &Value, parts: [Value; 3]) -> Result<Value> {
        object.defined()?;
        let refused = || Fault::failed(format!("'{}' object cannot be sliced", object.type_name()));
        let length = match object {
            Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Range(_) => object.length()?,
            _ => return Err(refused()),
        };
        let chosen = chosen(parts, length)?;
        self.budget.items(length / 16 + chosen.length())?;
        let at = (0..chosen.length()).map(|index| chosen.get(index) as usize);
        match object {
            Value::Text(text) => {
                let characters: Vec<char> = text.text.chars().collect();
                self.text(at.map(|at| characters[at]).collect())
            }
            Value::List(items) => Value::list(at.map(|at| items.items[at].clone()).collect()),
            Value::Tuple(items) => Value::tuple(at.map(|at| items.items[at].clone()).collect()),
            Value::Range(range) => {
                let step = range.step.saturating_mul(chosen.step).clamp(-FARTHEST, FARTHEST);
                let at = |index: i128| range.start + index * range.step;
                Ok(Value::Range(Range { start: at(chosen.start), stop: at(chosen.stop), step }))
            }
            _ => Err(refused()),
        }
    }

    /// The items of whatever Python can iterate over.
    pub fn items_of(&self, value: &Value) -> Result<Vec<Value>> {
        let items = match value {
            Value::Undefined(_) => Vec::new(),
            Value::Text(text) => {
                self.budget.items(text.text.len())?;
                text.text.chars().map(|character| Value::text(character.encode_utf8(&mut [0; 4]) as &str)).collect()
            }
            Value::List(items) | Value::Tuple(items) => self.copied(items)?,
            Value::Dict(dict) => dict.viewed(super::value::View::Keys)?,
            Value::View(view, dict) => dict.viewed(*view)?,
            Value::Range(range) => {
                self.budget.items(range.length())?;
                (0..range.length()).map(|at| Value::Int(range.get(at))).collect()
            }
            Value::Iterator(remaining) => std::mem::take(&mut *remaining.items.borrow_mut()).into(),
            other => return Err(Fault::failed(format!("'{}' object is not iterable", other.type_name()))),
        };
        self.budget.items(items.len())?;
        Ok(items)
    }

    fn copied(&self, items: &Items) -> Result<Vec<Value>> {
        Ok(items.items.clone())
    }
}

/// The indices of a slice of `length` items, as Python's `slice.indices`.
fn chosen([start, stop, step]: [Value; 3], length: usize) -> Result<Range> {
    let length = length as i128;
    let step = if matches!(step, Value::None) { 1 } else { whole(&step)? };
    if step == 0 {
        return Err(Fault::failed("slice step cannot be zero"));
    }
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |value: Value, default: i128| -> Result<i128> {
        if matches!(value, Value::None) {
            return Ok(default);
        }
        let value = whole(&value)?;
        Ok(if value < 0 { value + length } else { value }.clamp(lowest, highest))
    };
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let step_in_bounds = step.clamp(-length - 1, length + 1);
    Ok(Range { start: bound(start, first)?, stop: bound(stop, last)?, step: step_in_bounds })
}

fn missing(object: &Value, what: &str) -> Value {
    let kind = if matches!(object, Value::None) { "None".to_owned() } else { format!("{} object", object.type_name()) };
    Value::undefined(format!("'{kind}' has no {what}"))
}
