//! `Dict`: Python's dict, which keeps the order of its keys.
use std::collections::HashMap;
use std::rc::Rc;

use super::budget::Budget;
use super::fault::{Fault, Result};
use super::value::{Value, View, deeper};

/// A key as its hash and equality see it: `1`, `1.0` and `True` are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    None,
    Int(i128),
    Float(u64),
    Text(Rc<str>),
    Tuple(Vec<Key>),
    /// An undefined value: Python hashes it by its type.
    Undefined,
}

impl Key {
    /// # Errors
    /// The value cannot be a key, as a list or a dict.
    pub fn of(value: &Value, budget: &Budget) -> Result<Key> {
        budget.steps(1)?;
        Ok(match value {
            Value::Undefined(_) => Key::Undefined,
            Value::None => Key::None,
            Value::Bool(value) => Key::Int(i128::from(*value)),
            Value::Int(value) => Key::Int(*value),
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 1e38 => Key::Int(*value as i128),
            Value::Float(value) => Key::Float(value.to_bits()),
            Value::Text(text) => Key::Text(text.text.clone()),
            Value::Tuple(items) => {
                Key::Tuple(items.items.iter().map(|item| Key::of(item, budget)).collect::<Result<_>>()?)
            }
            other => return Err(Fault::failed(format!("unhashable type: '{}'", other.type_name()))),
        })
    }
}

/// Entries in the order in which their keys came.
#[derive(Clone, Default)]
pub(super) struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    depth: u32,
}

impl Dict {
    pub fn new() -> Dict {
        Dict { depth: 1, ..Dict::default() }
    }

    pub fn length(&self) -> usize {
        self.entries.len()
    }

    pub fn depth(&self) -> u32 {
        self.depth
    }

    pub fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.index.get(key).map(|at| &self.entries[*at].1)
    }

    pub fn get_text(&self, key: &str) -> Option<&Value> {
        self.get(&Key::Text(key.into()))
    }

    pub fn insert(&mut self, key: Value, value: Value, budget: &Budget) -> Result<()> {
        budget.items(3)?;
        self.depth = self.depth.max(deeper([&key, &value].into_iter())?);
        let hashed = Key::of(&key, budget)?;
        if let Some(at) = self.index.get(&hashed) {
            self.entries[*at].1 = value;
        } else {
            self.index.insert(hashed, self.entries.len());
            self.entries.push((key, value));
        }
        Ok(())
    }

    /// The items of a view.
    pub fn viewed(&self, view: View) -> Result<Vec<Value>> {
        let pair = |(key, value): &(Value, Value)| Value::tuple(vec![key.clone(), value.clone()]);
        match view {
            View::Keys => Ok(self.entries.iter().map(|(key, _)| key.clone()).collect()),
            View::Values => Ok(self.entries.iter().map(|(_, value)| value.clone()).collect()),
            View::Items => self.entries.iter().map(pair).collect(),
        }
    }
}
