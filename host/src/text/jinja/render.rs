//! `Renderer`: runs the statements of a template.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Block, Expression, Statement, StatementKind, Target};
use super::budget::Budget;
use super::fault::{Fault, Result};
use super::value::{Dict, Macro, Scope, Value};

/// Where a block went on to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

/// One rendering: its context, what it may still do, and what must be taken apart at its end.
pub(super) struct Renderer {
    pub budget: Budget,
    context: HashMap<String, Value>,
    seen_by_macros: RefCell<Vec<Rc<Scope>>>,
    namespaces: RefCell<Vec<Rc<RefCell<Dict>>>>,
}

impl Drop for Renderer {
    fn drop(&mut self) {
        self.seen_by_macros.take().iter().for_each(|scope| scope.clear());
        for namespace in self.namespaces.take() {
            let entries = std::mem::take(&mut *namespace.borrow_mut());
            drop(entries);
        }
    }
}

impl Renderer {
    pub fn new(budget: Budget, context: HashMap<String, Value>) -> Renderer {
        Renderer { budget, context, seen_by_macros: RefCell::default(), namespaces: RefCell::default() }
    }

    /// The text of the template.
    pub fn render(&self, block: &Block) -> Result<String> {
        let mut text = String::new();
        self.block(block, &Scope::root(), &mut text)?;
        Ok(text)
    }

    pub fn context_value(&self, name: &str) -> Option<Value> {
        self.context.get(name).cloned()
    }

    /// Keeps a scope that something of longer life refers to, to clear it at the end.
    pub fn keep(&self, scope: &Rc<Scope>) {
        let mut kept = self.seen_by_macros.borrow_mut();
        if !kept.last().is_some_and(|last| Rc::ptr_eq(last, scope)) {
            kept.push(scope.clone());
        }
    }

    pub fn namespace(&self, entries: Dict) -> Value {
        let namespace = Rc::new(RefCell::new(entries));
        self.namespaces.borrow_mut().push(namespace.clone());
        Value::Namespace(namespace)
    }

    /// A new text.
    pub fn text(&self, text: String) -> Result<Value> {
        self.budget.bytes(text.len())?;
        Ok(Value::text(text))
    }

    pub fn block(&self, block: &[Statement], scope: &Rc<Scope>, out: &mut String) -> Result<Flow> {
        for statement in block {
            self.budget.steps(1)?;
            let flow = self.budget.deeper(|| self.statement(statement, scope, out));
            match flow.map_err(|fault| fault.at(statement.line))? {
                Flow::Next => (),
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&self, statement: &Statement, scope: &Rc<Scope>, out: &mut String) -> Result<Flow> {
        match &statement.kind {
            StatementKind::Data(text) => self.print(text, out)?,
            StatementKind::Output(expression) => self.output(expression, scope, out)?,
            StatementKind::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.evaluate(condition, scope)?.is_true() {
                        return self.block(body, scope, out);
                    }
                }
                return self.block(otherwise, scope, out);
            }
            StatementKind::For(node) => self.for_loop(node, scope, out)?,
            StatementKind::Set { target, value } => self.assign(target, self.evaluate(value, scope)?, scope)?,
            StatementKind::SetBlock { target, filters, body } => {
                let text = self.captured(body, &Scope::inside(scope))?;
                self.assign(target, self.through(filters, text, scope)?, scope)?;
            }
            StatementKind::Macro(node) => {
                self.keep(scope);
                scope.set(&node.name, Value::Macro(Rc::new(Macro { node: node.clone(), scope: scope.clone() })));
            }
            StatementKind::Call { call, caller } => {
                self.keep(scope);
                let caller = Value::Macro(Rc::new(Macro { node: caller.clone(), scope: scope.clone() }));
                let Expression::Call(callee, arguments) = call else { return Ok(Flow::Next) };
                let value = self.call_expression(callee, arguments, scope, Some(caller))?;
                self.print(&self.str(&value)?, out)?;
            }
            StatementKind::FilterBlock { filters, body } => {
                let inner = Scope::inside(scope);
                let text = self.captured(body, &inner)?;
                let value = self.through(filters, text, &inner)?;
                let text = value.as_text().ok_or_else(|| Fault::failed("a filter block must give a text"))?;
                self.print(text, out)?;
            }
            StatementKind::With { names, body } => {
                let inner = Scope::inside(scope);
                for (target, value) in names {
                    self.assign(target, self.evaluate(value, scope)?, &inner)?;
                }
                return self.block(body, &inner, out);
            }
            StatementKind::Scoped(body) => return self.block(body, &Scope::inside(scope), out),
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn output(&self, expression: &Expression, scope: &Rc<Scope>, out: &mut String) -> Result<()> {
        match self.evaluate(expression, scope)? {
            Value::Text(text) => self.print(&text.text, out),
            value => self.print(&self.str(&value)?, out),
        }
    }

    fn print(&self, text: &str, out: &mut String) -> Result<()> {
        self.budget.bytes(text.len())?;
        *out += text;
        Ok(())
    }

    /// What a block prints, as a text.
    pub fn captured(&self, body: &Block, scope: &Rc<Scope>) -> Result<Value> {
        let mut text = String::new();
        self.block(body, scope, &mut text)?;
        Ok(Value::text(text))
    }

    pub fn assign(&self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Tuple(targets) => {
                let values = self.items_of(&value)?;
                if values.len() != targets.len() {
                    let (want, got) = (targets.len(), values.len());
                    return Err(Fault::failed(format!("cannot unpack {got} values into {want} names")));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, scope)?;
                }
            }
            Target::Attribute(name, attribute) => {
                let Value::Namespace(namespace) = self.lookup(name, scope) else {
                    return Err(Fault::failed("cannot assign attribute on non-namespace object"));
                };
                not_hidden(attribute)?;
                let key = Value::text(&**attribute);
                namespace.borrow_mut().insert(key, value, &self.budget)?;
            }
        }
        Ok(())
    }
}

/// transformers keeps names with an underscore in front out of namespaces.
pub(super) fn not_hidden(name: &str) -> Result<()> {
    if name.starts_with('_') {
        let message =
            format!("Chat templates cannot store underscore-prefixed attributes on a namespace, but got '{name}'");
        return Err(Fault::failed(message));
    }
    Ok(())
}
