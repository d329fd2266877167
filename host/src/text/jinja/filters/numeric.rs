//! Filters that give numbers.
use super::super::arguments::{Args, str_of, whole, whole_or};
use super::super::ast::Operator;
use super::super::fault::{Fault, Result};
use super::super::numbers::{float_of_text, int_of_text};
use super::super::operators::Number;
use super::super::render::Renderer;
use super::super::value::Value;

/// The first float beyond what whole numbers hold here.
const BEYOND: f64 = 1.7e38;

pub(super) fn apply(r: &Renderer, name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "abs" => {
            let [] = args.unnamed(name, 0)?;
            value.defined()?;
            match Number::of(&value) {
                Some(Number::Int(value)) => Ok(Value::Int(value.checked_abs().ok_or_else(beyond)?)),
                Some(Number::Float(value)) => Ok(Value::Float(value.abs())),
                None => Err(Fault::failed(format!("bad operand type for abs(): '{}'", value.type_name()))),
            }
        }
        "float" => {
            let [default] = args.bind(name, ["default"], 0)?;
            value.defined()?;
            let number = match &value {
                Value::Text(text) => float_of_text(&text.text),
                other => Number::of(other).map(Number::float),
            };
            Ok(number.map(Value::Float).or(default).unwrap_or(Value::Float(0.0)))
        }
        "int" => int(&value, args),
        "round" => round(r, &value, args),
        "sum" => sum(r, &value, args),
        _ => file_size(r, &value, args),
    }
}

fn beyond() -> Fault {
    Fault::unsupported("a whole number beyond 128 bits")
}

fn int(value: &Value, args: Args) -> Result<Value> {
    let [default, base] = args.bind("int", ["default", "base"], 0)?;
    value.defined()?;
    let base = u32::try_from(whole_or(base, 10)?).ok().filter(|base| matches!(base, 0 | 2..=36));
    let float = match value {
        Value::Text(text) => {
            if let Some(found) = base.and_then(|base| int_of_text(&text.text, base)) {
                return found.map(Value::Int).ok_or_else(beyond);
            }
            float_of_text(&text.text)
        }
        Value::Float(value) if value.is_infinite() => {
            return Err(Fault::failed("cannot convert float infinity to integer"));
        }
        other => match Number::of(other) {
            Some(Number::Int(value)) => return Ok(Value::Int(value)),
            number => number.map(Number::float),
        },
    };
    match float.filter(|float| float.is_finite()) {
        Some(float) if float.abs() >= BEYOND => Err(beyond()),
        Some(float) => Ok(Value::Int(float as i128)),
        None => Ok(default.unwrap_or(Value::Int(0))),
    }
}

fn round(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let method = method.unwrap_or_else(|| Value::text("common"));
    let method = str_of(&method, "the method")?;
    if !matches!(method, "common" | "ceil" | "floor") {
        return Err(Fault::failed("method must be common, ceil or floor"));
    }
    value.defined()?;
    let precision = precision.unwrap_or(Value::Int(0));
    let refused = || Fault::failed(format!("type {} doesn't define __round__ method", value.type_name()));
    let number = Number::of(value).ok_or_else(refused)?;
    if method != "common" {
        let factor = r.binary(Operator::Power, &Value::Int(10), &precision)?;
        let scaled = match r.binary(Operator::Multiply, value, &factor)? {
            Value::Float(scaled) if !scaled.is_finite() || scaled.abs() >= BEYOND => {
                return Err(Fault::failed("cannot convert float infinity or NaN to integer"));
            }
            Value::Float(scaled) => Value::Int(if method == "ceil" { scaled.ceil() } else { scaled.floor() } as i128),
            whole => whole,
        };
        return r.binary(Operator::Divide, &scaled, &factor);
    }
    if matches!(precision, Value::None) {
        return match number {
            Number::Int(value) => Ok(Value::Int(value)),
            Number::Float(value) if value.abs() < BEYOND => Ok(Value::Int(value.round_ties_even() as i128)),
            Number::Float(_) => Err(Fault::failed("cannot convert float to integer")),
        };
    }
    match number {
        Number::Int(value) => round_int(value, whole(&precision)?).map(Value::Int),
        Number::Float(value) => round_float(value, whole(&precision)?).map(Value::Float),
    }
}

/// To a multiple of a power of ten, ties to the even one.
fn round_int(value: i128, precision: i128) -> Result<i128> {
    if precision >= 0 {
        return Ok(value);
    }
    let exponent = u32::try_from(-precision).unwrap_or(u32::MAX);
    let Some(unit) = 10_i128.checked_pow(exponent) else { return Ok(0) };
    let (quotient, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
    let up = rest > unit - rest || (rest == unit - rest && quotient % 2 != 0);
    (quotient + i128::from(up)).checked_mul(unit).ok_or_else(beyond)
}

/// The decimal digits of a float are exact, so rounding them is too.
fn round_float(value: f64, precision: i128) -> Result<f64> {
    if !value.is_finite() || precision > 323 {
        return Ok(value);
    }
    if precision >= 0 {
        return Ok(format!("{value:.*}", precision as usize).parse().unwrap_or(value));
    }
    if precision < -308 {
        return Ok(0.0_f64.copysign(value));
    }
    let digits = format!("{value:e}");
    let exponent: i128 = digits.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let kept = exponent + precision;
    if kept < -1 {
        return Ok(0.0_f64.copysign(value));
    }
    if value.abs() < BEYOND && value.fract() == 0.0 {
        return Ok(round_int(value as i128, precision)? as f64);
    }
    let unit = 10_f64.powi((-precision) as i32);
    Ok((value / unit).round_ties_even() * unit)
}

fn sum(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [attribute, start] = args.bind("sum", ["attribute", "start"], 0)?;
    let mut total = start.unwrap_or(Value::Int(0));
    if matches!(total, Value::Text(_)) {
        return Err(Fault::failed("sum() can't sum strings [use ''.join(seq) instead]"));
    }
    for item in r.items_of(value)? {
        total = r.binary(Operator::Add, &total, &r.by_path(&item, attribute.as_ref())?)?;
    }
    Ok(total)
}

fn file_size(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [binary] = args.bind("filesizeformat", ["binary"], 0)?;
    let binary = binary.is_some_and(|binary| binary.is_true());
    value.defined()?;
    let bytes = match value {
        Value::Text(text) => float_of_text(&text.text),
        other => Number::of(other).map(Number::float),
    };
    let bytes = bytes.ok_or_else(|| Fault::failed("could not convert string to float"))?;
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok(Value::text("1 Byte"));
    }
    if bytes < base {
        return r.text(format!("{} Bytes", bytes.trunc()));
    }
    let prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let fits = |power: &usize| bytes < base.powi(*power as i32 + 2);
    let power = (0..prefixes.len()).find(fits).unwrap_or(prefixes.len() - 1);
    let prefix = match (binary, prefixes[power]) {
        (true, "k") => "Ki".to_owned(),
        (true, prefix) => format!("{prefix}i"),
        (false, prefix) => prefix.to_owned(),
    };
    r.text(format!("{:.1} {prefix}B", base * bytes / base.powi(power as i32 + 2)))
}
