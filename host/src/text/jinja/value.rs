//! `Value`: what a template's variables hold, with Python's types.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::dict::Dict;
use super::fault::{Fault, Result};
use super::loops::Loop;
use super::macros::Macro;

/// Containers inside one another, so that no recursion over a value overflows the stack.
const DEPTH: u32 = 500;

/// A value of Python as far as templates meet one. Containers never change: the sandbox refuses what would.
#[derive(Clone)]
pub(super) enum Value {
    /// What to say when it is used.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Dict(Rc<Dict>),
    Range(Range),
    View(View, Rc<Dict>),
    /// A generator: its items are gone once they are read.
    Iterator(Rc<Remaining>),
    Namespace(Rc<RefCell<Dict>>),
    Function(&'static str),
    Method(Rc<(Value, &'static str)>),
    Macro(Rc<Macro>),
    Loop(Rc<Loop>),
    Cycler(Rc<(Rc<Items>, Cell<usize>)>),
    Joiner(Rc<(Text, Cell<bool>)>),
}

/// A text; a safe one (`Markup`) is not escaped again.
#[derive(Clone)]
pub(super) struct Text {
    pub text: Rc<str>,
    pub safe: bool,
}

/// The items of a list or tuple, and how deep containers lie in it.
pub(super) struct Items {
    pub items: Vec<Value>,
    depth: u32,
    /// Whether it is one of groupby's pairs, whose items have names.
    pub group: bool,
}

/// What a generator has left.
pub(super) struct Remaining {
    pub items: RefCell<VecDeque<Value>>,
    depth: u32,
}

/// Python's `range`.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Range {
    pub start: i128,
    pub stop: i128,
    pub step: i128,
}

/// What of a dict a view shows.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

impl Range {
    pub fn length(self) -> usize {
        let span = if self.step > 0 { self.stop - self.start } else { self.start - self.stop };
        if span <= 0 { 0 } else { usize::try_from((span - 1) / self.step.abs() + 1).unwrap_or(usize::MAX) }
    }

    pub fn get(self, index: usize) -> i128 {
        self.start + index as i128 * self.step
    }
}

impl Items {
    fn new(items: Vec<Value>, group: bool) -> Result<Rc<Items>> {
        let depth = deeper(items.iter())?;
        Ok(Rc::new(Items { items, depth, group }))
    }
}

/// One level more than the deepest of `values`.
pub(super) fn deeper<'a>(values: impl Iterator<Item = &'a Value>) -> Result<u32> {
    let depth = values.map(Value::depth).max().unwrap_or(0) + 1;
    if depth > DEPTH {
        return Err(Fault::limit(format!("values lie more than {DEPTH} deep in one another")));
    }
    Ok(depth)
}

impl Value {
    pub fn text(text: impl Into<Rc<str>>) -> Value {
        Value::Text(Text { text: text.into(), safe: false })
    }

    pub fn safe(text: impl Into<Rc<str>>) -> Value {
        Value::Text(Text { text: text.into(), safe: true })
    }

    pub fn list(items: Vec<Value>) -> Result<Value> {
        Ok(Value::List(Items::new(items, false)?))
    }

    pub fn tuple(items: Vec<Value>) -> Result<Value> {
        Ok(Value::Tuple(Items::new(items, false)?))
    }

    pub fn group(grouper: Value, items: Vec<Value>) -> Result<Value> {
        Ok(Value::Tuple(Items::new(vec![grouper, Value::list(items)?], true)?))
    }

    pub fn iterator(items: Vec<Value>) -> Result<Value> {
        let depth = deeper(items.iter())?;
        Ok(Value::Iterator(Rc::new(Remaining { items: RefCell::new(items.into()), depth })))
    }

    pub fn undefined(message: impl Into<Rc<str>>) -> Value {
        Value::Undefined(message.into())
    }

    pub fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(&text.text) } else { None }
    }

    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    /// What is wrong with the use of an undefined value.
    pub fn defined(&self) -> Result<()> {
        if let Value::Undefined(message) = self { Err(Fault::failed(&**message)) } else { Ok(()) }
    }

    fn depth(&self) -> u32 {
        match self {
            Value::List(items) | Value::Tuple(items) => items.depth,
            Value::Dict(dict) | Value::View(_, dict) => dict.depth(),
            Value::Iterator(remaining) => remaining.depth,
            Value::Method(method) => method.0.depth(),
            Value::Cycler(cycler) => cycler.0.depth,
            _ => 0,
        }
    }

    /// The name of its type, as Python's messages have it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(text) if text.safe => "Markup",
            Value::Text(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Range(_) => "range",
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Iterator(_) => "generator",
            Value::Namespace(_) => "Namespace",
            Value::Function(_) => "function",
            Value::Method(_) => "builtin_function_or_method",
            Value::Macro(_) => "Macro",
            Value::Loop(_) => "LoopContext",
            Value::Cycler(_) => "Cycler",
            Value::Joiner(_) => "Joiner",
        }
    }

    pub fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.text.is_empty(),
            Value::List(items) | Value::Tuple(items) => !items.items.is_empty(),
            Value::Dict(dict) | Value::View(_, dict) => dict.length() > 0,
            Value::Range(range) => range.length() > 0,
            _ => true,
        }
    }

    /// Python's `len`.
    pub fn length(&self) -> Result<usize> {
        Ok(match self {
            Value::Undefined(_) => 0,
            Value::Text(text) => text.text.chars().count(),
            Value::List(items) | Value::Tuple(items) => items.items.len(),
            Value::Dict(dict) | Value::View(_, dict) => dict.length(),
            Value::Range(range) => range.length(),
            Value::Loop(state) => state.items.len(),
            other => return Err(Fault::failed(format!("object of type '{}' has no len()", other.type_name()))),
        })
    }
}
