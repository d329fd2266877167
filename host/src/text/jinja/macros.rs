//! Macros: named pieces of a template with parameters, and the calls of everything else.
use std::rc::Rc;

use super::arguments::Args;
use super::fault::{Fault, Result};
use super::render::Renderer;
use super::value::{Dict, Macro, Scope, Value};
use super::{functions, methods};

impl Renderer {
    /// Calls a value.
    pub fn call(&self, callee: &Value, args: Args) -> Result<Value> {
        callee.defined()?;
        match callee {
            Value::Macro(node) => self.budget.deeper(|| self.call_macro(node, args)),
            Value::Function(name) => functions::call(self, name, args),
            Value::Method(method) => methods::call(self, &method.0, method.1, args),
            Value::Loop(state) => self.recurse(state, args),
            Value::Joiner(joiner) => {
                let [] = args.unnamed("joiner", 0)?;
                Ok(if joiner.1.replace(true) { Value::Text(joiner.0.clone()) } else { Value::text("") })
            }
            other => Err(Fault::failed(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    fn call_macro(&self, called: &Macro, mut args: Args) -> Result<Value> {
        let node = &called.node;
        let scope = Scope::inside(&called.scope);
        let extra = args.positional.split_off(args.positional.len().min(node.parameters.len()));
        let mut positional = args.positional.into_iter();
        let mut has_caller = false;
        for (name, default) in &node.parameters {
            let given = positional.next();
            let is_positional = given.is_some();
            let given = given.or_else(|| take(&mut args.named, name));
            has_caller |= **name == *"caller" && (is_positional || given.is_some() || default.is_some());
            let value = match (given, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.evaluate(default, &scope)?,
                (None, None) => Value::undefined(format!("parameter '{name}' was not provided")),
            };
            scope.set(name, value);
        }
        let [reads_caller, reads_varargs, reads_kwargs] = node.reads;
        if reads_caller && !has_caller {
            let caller = take(&mut args.named, "caller");
            scope.set(&"caller".into(), caller.unwrap_or_else(|| Value::undefined("No caller defined")));
        }
        if reads_kwargs {
            scope.set(&"kwargs".into(), self.dict_of(args.named)?);
        } else if let Some((name, _)) = args.named.first() {
            return Err(Fault::failed(format!("macro '{}' takes no keyword argument '{name}'", node.name)));
        }
        if reads_varargs {
            scope.set(&"varargs".into(), Value::tuple(extra)?);
        } else if !extra.is_empty() {
            let most = node.parameters.len();
            return Err(Fault::failed(format!("macro '{}' takes not more than {most} argument(s)", node.name)));
        }
        self.captured(&node.body, &scope)
    }

    /// A dict of named arguments.
    pub fn dict_of(&self, named: Vec<(Rc<str>, Value)>) -> Result<Value> {
        let mut dict = Dict::new();
        for (name, value) in named {
            dict.insert(Value::text(name), value, &self.budget)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }
}

fn take(named: &mut Vec<(Rc<str>, Value)>, name: &str) -> Option<Value> {
    let at = named.iter().position(|(known, _)| **known == *name)?;
    Some(named.remove(at).1)
}
