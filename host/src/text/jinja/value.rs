//! `Value`: what a template's variables hold, with Python's types, and what of a template values keep.
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{For, MacroNode};
use super::budget::Budget;
use super::fault::{Fault, Result};

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
}

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

/// A macro and what it sees.
pub(super) struct Macro {
    pub node: Arc<MacroNode>,
    pub scope: Rc<Scope>,
}

/// The state that a loop's body reads as `loop`.
pub(super) struct Loop {
    pub items: Vec<Value>,
    pub index: Cell<usize>,
    pub depth: usize,
    pub last_changed: RefCell<Option<Vec<Value>>>,
    pub node: Arc<For>,
    pub scope: Rc<Scope>,
}

/// Variables, and those of the scope around them.
pub(super) struct Scope {
    variables: RefCell<HashMap<Arc<str>, Value>>,
    outer: Option<Rc<Scope>>,
}

impl Scope {
    pub fn root() -> Rc<Scope> {
        Rc::new(Scope { variables: RefCell::default(), outer: None })
    }

    pub fn inside(outer: &Rc<Scope>) -> Rc<Scope> {
        Rc::new(Scope { variables: RefCell::default(), outer: Some(outer.clone()) })
    }

    pub fn set(&self, name: &Arc<str>, value: Value) {
        self.variables.borrow_mut().insert(name.clone(), value);
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        let mut scope = self;
        loop {
            if let Some(value) = scope.variables.borrow().get(name) {
                return Some(value.clone());
            }
            scope = scope.outer.as_deref()?;
        }
    }

    /// Breaks the circle of a macro and the scope that it can see.
    pub fn clear(&self) {
        let variables = std::mem::take(&mut *self.variables.borrow_mut());
        drop(variables);
    }
}
