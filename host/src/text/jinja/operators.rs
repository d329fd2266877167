//! Python's arithmetic.
use super::arguments::whole;
use super::ast::Operator;
use super::fault::{Fault, Result};
use super::render::Renderer;
use super::value::{Text, Value};

/// A number; a bool is one too.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub fn of(value: &Value) -> Option<Number> {
        match value {
            Value::Bool(value) => Some(Number::Int(i128::from(*value))),
            Value::Int(value) => Some(Number::Int(*value)),
            Value::Float(value) => Some(Number::Float(*value)),
            _ => None,
        }
    }

    pub fn float(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Float(value) => value,
        }
    }
}

fn beyond() -> Fault {
    Fault::unsupported("a whole number beyond 128 bits")
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Modulo => "%",
        Operator::Power => "** or pow()",
    }
}

impl Renderer {
    pub fn negative(&self, value: &Value) -> Result<Value> {
        value.defined()?;
        match Number::of(value) {
            Some(Number::Int(value)) => value.checked_neg().map(Value::Int).ok_or_else(beyond),
            Some(Number::Float(value)) => Ok(Value::Float(-value)),
            None => Err(Fault::failed(format!("bad operand type for unary -: '{}'", value.type_name()))),
        }
    }

    pub fn positive(&self, value: &Value) -> Result<Value> {
        value.defined()?;
        match Number::of(value) {
            Some(Number::Int(value)) => Ok(Value::Int(value)),
            Some(Number::Float(value)) => Ok(Value::Float(value)),
            None => Err(Fault::failed(format!("bad operand type for unary +: '{}'", value.type_name()))),
        }
    }

    pub fn binary(&self, operator: Operator, left: &Value, right: &Value) -> Result<Value> {
        left.defined()?;
        if let (Operator::Modulo, Value::Text(text)) = (operator, left) {
            return self.percent(text, right);
        }
        right.defined()?;
        if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
            return arithmetic(operator, left, right);
        }
        match (operator, left, right) {
            (Operator::Add, Value::Text(left), Value::Text(right)) => self.joined(left, right),
            (Operator::Add, Value::List(left), Value::List(right)) => {
                self.budget.items(left.items.len() + right.items.len())?;
                Value::list([&left.items[..], &right.items[..]].concat())
            }
            (Operator::Add, Value::Tuple(left), Value::Tuple(right)) => {
                self.budget.items(left.items.len() + right.items.len())?;
                Value::tuple([&left.items[..], &right.items[..]].concat())
            }
            (Operator::Multiply, Value::Int(_) | Value::Bool(_), Value::Text(_) | Value::List(_) | Value::Tuple(_)) => {
                self.repeated(right, left)
            }
            (Operator::Multiply, Value::Text(_) | Value::List(_) | Value::Tuple(_), Value::Int(_) | Value::Bool(_)) => {
                self.repeated(left, right)
            }
            _ => {
                let (left, right) = (left.type_name(), right.type_name());
                let symbol = symbol(operator);
                Err(Fault::failed(format!("unsupported operand type(s) for {symbol}: '{left}' and '{right}'")))
            }
        }
    }

    /// Two texts; where one is safe, the other is escaped.
    fn joined(&self, left: &Text, right: &Text) -> Result<Value> {
        let safe = left.safe || right.safe;
        let part = |text: &Text| if safe { self.escaped(text) } else { text.text.to_string() };
        let text = part(left) + &part(right);
        self.budget.bytes(text.len())?;
        Ok(if safe { Value::safe(text) } else { Value::text(text) })
    }

    fn repeated(&self, value: &Value, count: &Value) -> Result<Value> {
        let count = usize::try_from(whole(count)?.max(0)).unwrap_or(usize::MAX);
        match value {
            Value::Text(text) => {
                self.budget.bytes(text.text.len().saturating_mul(count))?;
                // An empty text may be asked for more often than memory has bytes.
                let text = Text {
                    text: if text.text.is_empty() { "".into() } else { text.text.repeat(count).into() },
                    ..*text
                };
                Ok(Value::Text(text))
            }
            Value::List(items) | Value::Tuple(items) => {
                let length = items.items.len().saturating_mul(count);
                self.budget.items(length)?;
                let count = if items.items.is_empty() { 0 } else { count };
                let all = std::iter::repeat_n(&items.items, count).flatten().cloned().collect();
                if matches!(value, Value::List(_)) { Value::list(all) } else { Value::tuple(all) }
            }
            _ => Err(Fault::failed("can't multiply")),
        }
    }
}

fn arithmetic(operator: Operator, left: Number, right: Number) -> Result<Value> {
    if let (Number::Int(left), Number::Int(right)) = (left, right) {
        return of_ints(operator, left, right);
    }
    let (left, right) = (left.float(), right.float());
    let divides = matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Modulo);
    if divides && right == 0.0 {
        return Err(Fault::failed("float division by zero"));
    }
    Ok(Value::Float(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        Operator::FloorDivide => divided(left, right).0,
        Operator::Modulo => divided(left, right).1,
        Operator::Power => return float_power(left, right),
    }))
}

/// Python's `divmod` of floats: the remainder has the sign of the divisor.
fn divided(left: f64, right: f64) -> (f64, f64) {
    let mut remainder = left % right;
    let mut quotient = (left - remainder) / right;
    if remainder == 0.0 {
        remainder = 0.0_f64.copysign(right);
    } else if (right < 0.0) != (remainder < 0.0) {
        remainder += right;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(left / right), remainder);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, remainder)
}

fn float_power(left: f64, right: f64) -> Result<Value> {
    if left == 0.0 && right < 0.0 {
        return Err(Fault::failed("0.0 cannot be raised to a negative power"));
    }
    if left < 0.0 && left.is_finite() && right.is_finite() && right.fract() != 0.0 {
        return Err(Fault::unsupported("a complex number"));
    }
    let power = left.powf(right);
    if power.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(Fault::failed("(34, 'Numerical result out of range')"));
    }
    Ok(Value::Float(power))
}

fn of_ints(operator: Operator, left: i128, right: i128) -> Result<Value> {
    let divides = matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Modulo);
    if divides && right == 0 {
        return Err(Fault::failed("division by zero"));
    }
    let value = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide => return quotient(left, right),
        Operator::FloorDivide => {
            left.checked_div(right).map(|whole| whole - i128::from(left % right != 0 && (left < 0) != (right < 0)))
        }
        Operator::Modulo => {
            left.checked_rem(right).map(|rest| if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest })
        }
        Operator::Power if right < 0 => return float_power(left as f64, right as f64),
        Operator::Power => int_power(left, right),
    };
    value.map(Value::Int).ok_or_else(beyond)
}

fn int_power(base: i128, exponent: i128) -> Option<i128> {
    match base {
        0 | 1 => Some(if exponent == 0 { 1 } else { base }),
        -1 => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        _ => base.checked_pow(u32::try_from(exponent).ok()?),
    }
}

/// The float nearest to a quotient of whole numbers.
fn quotient(left: i128, right: i128) -> Result<Value> {
    const EXACT: u128 = 1 << 53;
    if left.unsigned_abs() <= EXACT && right.unsigned_abs() <= EXACT {
        return Ok(Value::Float(left as f64 / right as f64));
    }
    if left % right == 0 {
        return Ok(Value::Float((left / right) as f64));
    }
    Err(Fault::unsupported("the quotient of whole numbers beyond 53 bits"))
}
