//! `Args`: the arguments of a call, and how they find their parameters.
use std::rc::Rc;

use super::fault::{Fault, Result};
use super::render::Renderer;
use super::value::Value;

/// Positional and named arguments.
#[derive(Clone, Default)]
pub(super) struct Args {
    pub positional: Vec<Value>,
    pub named: Vec<(Rc<str>, Value)>,
}

impl Args {
    /// The arguments by the names of the parameters; the first `required` must be there.
    pub fn bind<const N: usize>(self, callee: &str, names: [&str; N], required: usize) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            let given = self.positional.len();
            return Err(Fault::failed(format!("{callee}() takes at most {N} arguments ({given} given)")));
        }
        let mut bound = [const { None }; N];
        for (place, value) in bound.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let Some(at) = names.iter().position(|known| **known == *name && !known.is_empty()) else {
                return Err(Fault::failed(format!("{callee}() got an unexpected keyword argument '{name}'")));
            };
            if bound[at].replace(value).is_some() {
                return Err(Fault::failed(format!("{callee}() got multiple values for argument '{name}'")));
            }
        }
        if let Some(missing) = bound[..required].iter().position(Option::is_none) {
            return Err(Fault::failed(format!("{callee}() lacks its argument {} '{}'", missing + 1, names[missing])));
        }
        Ok(bound)
    }

    /// The arguments of what takes no names, as most methods of Python's types.
    pub fn unnamed<const N: usize>(self, callee: &str, required: usize) -> Result<[Option<Value>; N]> {
        self.bind(callee, [""; N], required)
    }
}

/// The whole number of an argument that Python takes as an index.
pub(super) fn whole(value: &Value) -> Result<i128> {
    match value {
        Value::Int(value) => Ok(*value),
        Value::Bool(value) => Ok(i128::from(*value)),
        Value::Undefined(message) => Err(Fault::failed(&**message)),
        other => Err(Fault::failed(format!("'{}' object cannot be interpreted as an integer", other.type_name()))),
    }
}

pub(super) fn whole_or(value: Option<Value>, default: i128) -> Result<i128> {
    value.as_ref().map_or(Ok(default), whole)
}

/// The text of an argument that must be one.
pub(super) fn str_of<'a>(value: &'a Value, callee: &str) -> Result<&'a str> {
    value.defined()?;
    value.as_text().ok_or_else(|| Fault::failed(format!("{callee} must be str, not {}", value.type_name())))
}

impl Renderer {
    /// A width in characters, whose memory is taken at once.
    pub fn width(&self, width: i128) -> Result<usize> {
        let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
        self.budget.bytes(width)?;
        Ok(width)
    }
}
