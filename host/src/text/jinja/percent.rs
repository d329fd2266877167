//! `'%s' % value`: formatting by C's rules.
use super::fault::{Fault, Result};
use super::operators::Number;
use super::print::escape;
use super::render::Renderer;
use super::spec::Spec;
use super::value::{Text, Value};

/// Where the values of the fields come from.
struct Source<'a> {
    right: &'a Value,
    values: &'a [Value],
    used: usize,
}

impl<'a> Source<'a> {
    fn next(&mut self) -> Result<&'a Value> {
        let value =
            self.values.get(self.used).ok_or_else(|| Fault::failed("not enough arguments for format string"))?;
        self.used += 1;
        Ok(value)
    }
}

impl Renderer {
    pub fn percent(&self, format: &Text, right: &Value) -> Result<Value> {
        if format.safe {
            return Err(Fault::unsupported("% of a safe text"));
        }
        let values = match right {
            Value::Tuple(items) => &items.items,
            other => std::slice::from_ref(other),
        };
        let mut source = Source { right, values, used: 0 };
        let mut text = String::new();
        let mut rest = &*format.text;
        let mut by_name = false;
        while let Some(at) = rest.find('%') {
            text += &rest[..at];
            rest = self.field(&rest[at + 1..], &mut source, &mut by_name, &mut text)?;
        }
        text += rest;
        let is_mapping = !matches!(right, Value::Tuple(_) | Value::Text(_)) && is_subscriptable(right);
        if source.used < values.len() && !by_name && !is_mapping {
            return Err(Fault::failed("not all arguments converted during string formatting"));
        }
        self.text(text)
    }

    /// One field behind its `%`; gives what follows it.
    fn field<'a>(&self, text: &'a str, source: &mut Source, by_name: &mut bool, out: &mut String) -> Result<&'a str> {
        let incomplete = || Fault::failed("incomplete format");
        let mut rest = text;
        let mut named = None;
        if let Some(after) = rest.strip_prefix('(') {
            let end = closing(after).ok_or_else(|| Fault::failed("incomplete format key"))?;
            let Value::Dict(dict) = source.right else { return Err(Fault::failed("format requires a mapping")) };
            let value = dict.get_text(&after[..end]);
            named = Some(value.ok_or_else(|| Fault::failed(format!("'{}'", &after[..end])))?);
            *by_name = true;
            rest = &after[end + 1..];
        }
        let mut spec = Spec::default();
        while let Some(flag) = rest.chars().next().filter(|flag| "-+ #0".contains(*flag)) {
            match flag {
                '-' => spec.align = Some('<'),
                '+' => spec.sign = Some('+'),
                ' ' => spec.sign = spec.sign.or(Some(' ')),
                '#' => spec.alternate = true,
                _ => spec.zero = true,
            }
            rest = &rest[1..];
        }
        if let Some(width) = self.number(&mut rest, source)? {
            spec.align = if width < 0 { Some('<') } else { spec.align };
            spec.width = self.width(width.abs())?;
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            let precision = self.number(&mut rest, source)?.unwrap_or(0);
            spec.precision = Some(usize::try_from(precision.max(0)).unwrap_or(usize::MAX));
        }
        rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
        let kind = rest.chars().next().ok_or_else(incomplete)?;
        if kind == '%' && rest.len() == text.len() {
            out.push('%');
        } else {
            let value = named.map_or_else(|| source.next(), Ok)?;
            *out += &self.converted(kind, value, spec)?;
        }
        Ok(&rest[kind.len_utf8()..])
    }

    /// A width or precision: digits, or `*` for the next value.
    fn number(&self, rest: &mut &str, source: &mut Source) -> Result<Option<i128>> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            let Value::Int(value) = source.next()? else { return Err(Fault::failed("* wants int")) };
            return Ok(Some(*value));
        }
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, after) = rest.split_at(length);
        *rest = after;
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| Fault::failed("width too big"))
    }

    fn converted(&self, kind: char, value: &Value, mut spec: Spec) -> Result<String> {
        let align = spec.align.unwrap_or('>');
        let text = match kind {
            's' => self.str(value)?,
            'r' => self.repr(value)?,
            'a' => ascii(&self.repr(value)?),
            'c' => character(value)?,
            'd' | 'i' | 'u' | 'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                spec.kind = Some(if matches!(kind, 'i' | 'u') { 'd' } else { kind });
                let number = operand(kind, value)?;
                let (negative, prefix, mut digits) = spec.digits(number)?;
                if let (Number::Int(_), Some(least)) = (number, spec.precision) {
                    let missing = self.width(least.saturating_sub(digits.len()) as i128)?;
                    digits.insert_str(0, &"0".repeat(missing));
                }
                spec.zero &= spec.align.is_none();
                return Ok(spec.padded_number(negative, &prefix, &digits));
            }
            _ => return Err(Fault::failed(format!("unsupported format character '{kind}'"))),
        };
        let text = match spec.precision {
            Some(most) if kind != 'c' => text.chars().take(most).collect(),
            _ => text,
        };
        Ok(spec.padded(&text, align, ' '))
    }
}

fn is_subscriptable(value: &Value) -> bool {
    matches!(value, Value::Dict(_) | Value::List(_) | Value::Range(_) | Value::Undefined(_))
}

/// Where the bracket that is open closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => (),
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

pub(super) fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c.to_string() } else { escape(c) }).collect()
}

fn character(value: &Value) -> Result<String> {
    let found = match value {
        Value::Text(text) => Some(text.text.to_string()).filter(|text| text.chars().count() == 1),
        Value::Int(code) => u32::try_from(*code).ok().and_then(char::from_u32).map(String::from),
        _ => None,
    };
    found.ok_or_else(|| Fault::failed("%c requires int or char"))
}

/// The number that a conversion takes: a whole one for `d`, `x` and their like.
fn operand(kind: char, value: &Value) -> Result<Number> {
    value.defined()?;
    let is_float = "eEfFgG".contains(kind);
    let refused = || {
        let wanted = if is_float { "must be real number" } else { "a real number is required" };
        Fault::failed(format!("%{kind} format: {wanted}, not {}", value.type_name()))
    };
    match Number::of(value).ok_or_else(refused)? {
        Number::Int(value) if is_float => Ok(Number::Float(value as f64)),
        Number::Float(value) if is_float => Ok(Number::Float(value)),
        Number::Float(value) if matches!(kind, 'd' | 'i' | 'u') => {
            if !value.is_finite() {
                return Err(Fault::failed("cannot convert float NaN or infinity to integer"));
            }
            if value.abs() >= 1.7e38 {
                Err(Fault::unsupported("a whole number beyond 128 bits"))
            } else {
                Ok(Number::Int(value as i128))
            }
        }
        Number::Float(_) => Err(refused()),
        whole => Ok(whole),
    }
}
