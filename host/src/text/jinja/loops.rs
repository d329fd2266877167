//! `for` loops and their variable `loop`.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Args;
use super::ast::For;
use super::fault::{Fault, Result};
use super::render::{Flow, Renderer};
use super::value::{Loop, Scope, Value};

/// What can be called of `loop`.
pub(super) const METHODS: [&str; 2] = ["cycle", "changed"];

impl Renderer {
    pub fn for_loop(&self, node: &Arc<For>, scope: &Rc<Scope>, out: &mut String) -> Result<()> {
        let items = self.evaluate(&node.items, scope)?;
        self.rounds(node, &items, scope, 0, out)
    }

    fn rounds(&self, node: &Arc<For>, items: &Value, scope: &Rc<Scope>, depth: usize, out: &mut String) -> Result<()> {
        let items = self.chosen(node, self.items_of(items)?, scope)?;
        if node.recursive {
            self.keep(scope);
        }
        let state = Rc::new(Loop {
            items,
            index: Cell::new(0),
            depth,
            last_changed: RefCell::default(),
            node: node.clone(),
            scope: scope.clone(),
        });
        let name: Arc<str> = "loop".into();
        for (index, item) in state.items.iter().enumerate() {
            self.budget.steps(1)?;
            state.index.set(index);
            let inner = Scope::inside(scope);
            inner.set(&name, Value::Loop(state.clone()));
            self.assign(&node.target, item.clone(), &inner)?;
            if self.block(&node.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        if state.items.is_empty() {
            self.block(&node.otherwise, &Scope::inside(scope), out)?;
        }
        Ok(())
    }

    /// The items that the loop's `if` lets through.
    fn chosen(&self, node: &For, items: Vec<Value>, scope: &Rc<Scope>) -> Result<Vec<Value>> {
        let Some(condition) = &node.condition else { return Ok(items) };
        let mut chosen = Vec::new();
        for item in items {
            let inner = Scope::inside(scope);
            self.assign(&node.target, item.clone(), &inner)?;
            if self.evaluate(condition, &inner)?.is_true() {
                chosen.push(item);
            }
        }
        Ok(chosen)
    }

    pub fn loop_attribute(&self, state: &Loop, name: &str) -> Option<Value> {
        let (index, length) = (state.index.get(), state.items.len());
        let whole = |value: usize| Value::Int(value as i128);
        let item = |at: Option<usize>, what: &str| {
            let found = at.and_then(|at| state.items.get(at)).cloned();
            found.unwrap_or_else(|| Value::undefined(format!("there is no {what} item")))
        };
        Some(match name {
            "index" => whole(index + 1),
            "index0" => whole(index),
            "revindex" => whole(length - index),
            "revindex0" => whole(length - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == length),
            "length" => whole(length),
            "depth" => whole(state.depth + 1),
            "depth0" => whole(state.depth),
            "previtem" => item(index.checked_sub(1), "previous"),
            "nextitem" => item(Some(index + 1), "next"),
            _ => return None,
        })
    }

    pub fn loop_method(&self, state: &Loop, name: &str, args: Args) -> Result<Value> {
        if name == "cycle" {
            let count = args.positional.len();
            return match count {
                0 => Err(Fault::failed("no items for cycling given")),
                _ => Ok(args.positional[state.index.get() % count].clone()),
            };
        }
        let mut last = state.last_changed.borrow_mut();
        let same = match last.as_ref() {
            Some(last) if last.len() == args.positional.len() => self.all_equal(last, &args.positional)?,
            _ => false,
        };
        *last = Some(args.positional);
        Ok(Value::Bool(!same))
    }

    /// `loop(items)` of a recursive loop.
    pub fn recurse(&self, state: &Loop, args: Args) -> Result<Value> {
        if !state.node.recursive {
            return Err(Fault::failed("The loop must have the 'recursive' marker to be called recursively."));
        }
        let [items] = args.bind("loop", ["iterable"], 1)?;
        let mut text = String::new();
        let items = items.unwrap_or(Value::None);
        self.budget.deeper(|| self.rounds(&state.node, &items, &state.scope, state.depth + 1, &mut text))?;
        Ok(Value::text(text))
    }
}
