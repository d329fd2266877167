//! Tests: `value is defined` and its kin.
use super::arguments::Args;
use super::ast::Comparison;
use super::fault::{Fault, Result};
use super::names;
use super::operators::Number;
use super::render::Renderer;
use super::value::{Value, View};

/// The comparison that a test's name stands for.
fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "eq" | "equalto" | "==" => Comparison::Equal,
        "ne" | "!=" => Comparison::NotEqual,
        "lt" | "lessthan" | "<" => Comparison::Less,
        "le" | "<=" => Comparison::LessEqual,
        "gt" | "greaterthan" | ">" => Comparison::Greater,
        "ge" | ">=" => Comparison::GreaterEqual,
        "in" => Comparison::In,
        _ => return None,
    })
}

impl Renderer {
    pub fn test(&self, name: &str, value: &Value, args: Args) -> Result<bool> {
        if !names::TESTS.contains(&name) {
            return Err(Fault::failed(format!("No test named '{name}'.")));
        }
        if let Some(comparison) = comparison(name) {
            let [other] = args.unnamed(name, 1)?;
            return self.compares(comparison, value, &other.unwrap_or(Value::None));
        }
        match name {
            "divisibleby" => {
                let [by] = args.bind(name, ["num"], 1)?;
                let rest = self.binary(super::ast::Operator::Modulo, value, &by.unwrap_or(Value::None))?;
                self.equal(&rest, &Value::Int(0))
            }
            "sameas" => {
                let [other] = args.bind(name, ["other"], 1)?;
                self.is_same(value, &other.unwrap_or(Value::None))
            }
            _ => {
                let [] = args.unnamed(name, 0)?;
                self.is(name, value)
            }
        }
    }

    fn is(&self, name: &str, value: &Value) -> Result<bool> {
        Ok(match name {
            "boolean" => matches!(value, Value::Bool(_)),
            "callable" => is_callable(value),
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "escaped" => matches!(value, Value::Text(text) if text.safe),
            "even" | "odd" => {
                let rest = self.binary(super::ast::Operator::Modulo, value, &Value::Int(2))?;
                self.equal(&rest, &Value::Int(i128::from(name == "odd")))?
            }
            "false" => matches!(value, Value::Bool(false)),
            "true" => matches!(value, Value::Bool(true)),
            "filter" => self.is_known(value, &names::FILTERS)?,
            "test" => self.is_known(value, &names::TESTS)?,
            "float" => matches!(value, Value::Float(_)),
            "integer" => matches!(value, Value::Int(_)),
            "number" => Number::of(value).is_some(),
            "none" => matches!(value, Value::None),
            "string" => matches!(value, Value::Text(_)),
            "mapping" => matches!(value, Value::Dict(_)),
            "iterable" => is_iterable(value),
            "sequence" => is_sequence(value),
            _ => {
                let text = self.str(value)?;
                super::letters::is(&text, if name == "upper" { "isupper" } else { "islower" })?
            }
        })
    }

    fn is_known(&self, value: &Value, names: &[&str]) -> Result<bool> {
        if !matches!(value, Value::View(View::Values, _)) && has_no_hash(value) {
            super::value::Key::of(value, &self.budget)?;
        }
        Ok(value.as_text().is_some_and(|name| names.contains(&name)))
    }

    /// Python keeps one object of small whole numbers and of equal constants; of others nobody can say.
    fn is_same(&self, left: &Value, right: &Value) -> Result<bool> {
        match (left, right) {
            (Value::Int(left), Value::Int(right)) if (-5..=256).contains(left) || left != right => Ok(left == right),
            (Value::Text(left), Value::Text(right)) if left.text != right.text => Ok(false),
            (Value::Float(left), Value::Float(right)) if left != right => Ok(false),
            (Value::Int(_), Value::Int(_)) | (Value::Text(_), Value::Text(_)) | (Value::Float(_), Value::Float(_)) => {
                Err(Fault::unsupported("sameas of equal texts or large numbers, which Python decides by memory"))
            }
            _ => Ok(self.same(left, right)),
        }
    }
}

/// What may be a key in Python, functions and ranges among it, is no error to ask for.
fn has_no_hash(value: &Value) -> bool {
    matches!(value, Value::List(_) | Value::Dict(_) | Value::View(..) | Value::Tuple(_))
}

fn is_callable(value: &Value) -> bool {
    // Undefined has `__call__`, to raise there.
    matches!(
        value,
        Value::Undefined(_)
            | Value::Function(_)
            | Value::Method(_)
            | Value::Macro(_)
            | Value::Loop(_)
            | Value::Joiner(_)
    )
}

fn is_iterable(value: &Value) -> bool {
    match value {
        Value::Undefined(_) | Value::Loop(_) => true,
        other => is_sequence(other) || matches!(other, Value::View(..) | Value::Iterator(_)),
    }
}

fn is_sequence(value: &Value) -> bool {
    match value {
        // Its `__len__` gives 0, but asking for `__getitem__` is no error: it is a sequence.
        Value::Undefined(_) => true,
        other => matches!(other, Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Range(_)),
    }
}
