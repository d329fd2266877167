//! Python's comparisons, `in`, and sorting.
use std::cmp::Ordering;
use std::rc::Rc;

use super::ast::Comparison;
use super::fault::{Fault, Result};
use super::operators::Number;
use super::render::Renderer;
use super::value::{Dict, Key, Value, View};

impl Renderer {
    pub fn compares(&self, comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
        Ok(match comparison {
            Comparison::Equal => self.equal(left, right)?,
            Comparison::NotEqual => !self.equal(left, right)?,
            Comparison::In => self.contains(right, left)?,
            Comparison::NotIn => !self.contains(right, left)?,
            Comparison::Less => self.ordered(left, right, "<")? == Some(Ordering::Less),
            Comparison::LessEqual => self.ordered(left, right, "<=")?.is_some_and(Ordering::is_le),
            Comparison::Greater => self.ordered(left, right, ">")? == Some(Ordering::Greater),
            Comparison::GreaterEqual => self.ordered(left, right, ">=")?.is_some_and(Ordering::is_ge),
        })
    }

    pub fn equal(&self, left: &Value, right: &Value) -> Result<bool> {
        self.budget.steps(1)?;
        Ok(match (left, right) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Text(left), Value::Text(right)) => {
                self.budget.steps(left.text.len().min(right.text.len()) / 64)?;
                left.text == right.text
            }
            (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
                Rc::ptr_eq(left, right) || self.all_equal(&left.items, &right.items)?
            }
            (Value::Dict(left), Value::Dict(right)) => Rc::ptr_eq(left, right) || self.equal_dicts(left, right)?,
            (Value::Range(left), Value::Range(right)) => {
                left.length() == right.length()
                    && (left.length() == 0
                        || left.start == right.start && (left.length() == 1 || left.step == right.step))
            }
            (Value::View(kind, left), Value::View(other, right)) if *kind != View::Values && *other != View::Values => {
                let (left, right) = (left.viewed(*kind)?, right.viewed(*other)?);
                left.len() == right.len() && self.all_contained(&left, &right)?
            }
            _ => match (Number::of(left), Number::of(right)) {
                (Some(left), Some(right)) => number_order(left, right) == Some(Ordering::Equal),
                _ => self.same(left, right),
            },
        })
    }

    fn all_contained(&self, left: &[Value], right: &[Value]) -> Result<bool> {
        for value in left {
            if !self.has(right, value)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn all_equal(&self, left: &[Value], right: &[Value]) -> Result<bool> {
        if left.len() != right.len() {
            return Ok(false);
        }
        for (left, right) in left.iter().zip(right) {
            if !self.budget.deeper(|| self.equal(left, right))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn equal_dicts(&self, left: &Dict, right: &Dict) -> Result<bool> {
        if left.length() != right.length() {
            return Ok(false);
        }
        for (key, value) in left.entries() {
            let Some(other) = right.get(&Key::of(key, &self.budget)?) else { return Ok(false) };
            if !self.budget.deeper(|| self.equal(value, other))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Python's `is`.
    pub fn same(&self, left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::None, Value::None) => true,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
                Rc::ptr_eq(left, right)
            }
            (Value::Dict(left), Value::Dict(right)) => Rc::ptr_eq(left, right),
            (Value::Namespace(left), Value::Namespace(right)) => Rc::ptr_eq(left, right),
            (Value::Iterator(left), Value::Iterator(right)) => Rc::ptr_eq(left, right),
            (Value::Macro(left), Value::Macro(right)) => Rc::ptr_eq(left, right),
            (Value::Loop(left), Value::Loop(right)) => Rc::ptr_eq(left, right),
            (Value::Cycler(left), Value::Cycler(right)) => Rc::ptr_eq(left, right),
            (Value::Joiner(left), Value::Joiner(right)) => Rc::ptr_eq(left, right),
            (Value::Function(left), Value::Function(right)) => left == right,
            _ => false,
        }
    }

    /// How two values are ordered; none where neither is less, as with NaN.
    pub fn ordered(&self, left: &Value, right: &Value, symbol: &str) -> Result<Option<Ordering>> {
        self.budget.steps(1)?;
        left.defined()?;
        right.defined()?;
        match (left, right) {
            (Value::Text(left), Value::Text(right)) => {
                self.budget.steps(left.text.len().min(right.text.len()) / 64)?;
                Ok(Some(left.text.cmp(&right.text)))
            }
            (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !self.budget.deeper(|| self.equal(left, right))? {
                        return self.budget.deeper(|| self.ordered(left, right, symbol));
                    }
                }
                Ok(Some(left.items.len().cmp(&right.items.len())))
            }
            _ => match (Number::of(left), Number::of(right)) {
                (Some(left), Some(right)) => Ok(number_order(left, right)),
                _ => {
                    let (left, right) = (left.type_name(), right.type_name());
                    let message = format!("'{symbol}' not supported between instances of '{left}' and '{right}'");
                    Err(Fault::failed(message))
                }
            },
        }
    }

    /// `value in container`.
    pub fn contains(&self, container: &Value, value: &Value) -> Result<bool> {
        match container {
            Value::Text(text) => {
                value.defined()?;
                let part = value.as_text().ok_or_else(|| {
                    Fault::failed(format!("'in <string>' requires string as left operand, not {}", value.type_name()))
                })?;
                self.budget.steps(text.text.len() / 64)?;
                Ok(text.text.contains(part))
            }
            Value::Dict(dict) | Value::View(View::Keys, dict) => Ok(dict.get(&Key::of(value, &self.budget)?).is_some()),
            Value::List(items) | Value::Tuple(items) => self.has(&items.items, value),
            Value::Namespace(_) | Value::None => {
                Err(Fault::failed(format!("argument of type '{}' is not iterable", container.type_name())))
            }
            other => self.has(&self.items_of(other)?, value),
        }
    }

    pub fn has(&self, items: &[Value], value: &Value) -> Result<bool> {
        for item in items {
            if self.equal(item, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `items` with their keys, sorted by the keys; equal ones keep their order, also in reverse.
    pub fn sorted(&self, items: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>> {
        if items.len() < 2 {
            return Ok(items);
        }
        let mut left = items;
        let right = self.sorted(left.split_off(left.len() / 2), reverse)?;
        let left = self.sorted(left, reverse)?;
        let mut merged = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
            let (lower, higher) = if reverse { (first, second) } else { (second, first) };
            let swaps = self.ordered(&lower.0, &higher.0, "<")? == Some(Ordering::Less);
            merged.extend(if swaps { right.next() } else { left.next() });
        }
        merged.extend(left);
        merged.extend(right);
        Ok(merged)
    }
}

fn number_order(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
        (Number::Float(left), Number::Float(right)) => left.partial_cmp(&right),
        (Number::Int(left), Number::Float(right)) => whole_and_float(left, right),
        (Number::Float(left), Number::Int(right)) => whole_and_float(right, left).map(Ordering::reverse),
    }
}

/// Exact, also where a float cannot hold the whole number.
fn whole_and_float(whole: i128, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float.abs() >= 1.7e38 {
        return Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    Some(whole.cmp(&(float.trunc() as i128)).then_with(|| 0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
}
