//! JSON → values.
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Number, Value as Json};

use super::budget::Budget;
use super::fault::Result;
use super::value::{Dict, Value};

/// The variables of a template.
pub(super) fn context(context: &Map<String, Json>, budget: &Budget) -> Result<HashMap<String, Value>> {
    context.iter().map(|(name, json)| Ok((name.clone(), value(json, budget)?))).collect()
}

fn value(json: &Json, budget: &Budget) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::None,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => of_number(number),
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(items) => {
            Value::list(items.iter().map(|item| budget.deeper(|| value(item, budget))).collect::<Result<_>>()?)?
        }
        Json::Object(entries) => {
            let mut dict = Dict::new();
            for (key, item) in entries {
                let item = budget.deeper(|| value(item, budget))?;
                dict.insert(Value::text(key.as_str()), item, budget)?;
            }
            Value::Dict(Rc::new(dict))
        }
    })
}

fn of_number(number: &Number) -> Value {
    if let Some(whole) = number.as_i128() {
        return Value::Int(whole);
    }
    Value::Float(number.as_f64().unwrap_or(f64::NAN))
}
