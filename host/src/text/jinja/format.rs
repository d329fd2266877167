//! `'{}'.format(value)`: Python's format strings.
use super::arguments::Args;
use super::fault::{Fault, Result};
use super::operators::Number;
use super::percent::ascii;
use super::render::Renderer;
use super::spec::Spec;
use super::value::{Dict, Text, Value};

/// What the fields take their values from.
struct Fields<'a> {
    positional: &'a [Value],
    named: &'a Dict,
    automatic: usize,
    /// Whether fields were numbered by hand.
    manual: bool,
}

impl Renderer {
    pub fn format(&self, format: &Text, args: Args) -> Result<Value> {
        let named = self.dict_of(args.named)?;
        let Value::Dict(named) = &named else { return Err(Fault::failed("no keywords")) };
        self.format_with(format, &args.positional, named)
    }

    pub fn format_with(&self, format: &Text, positional: &[Value], named: &Dict) -> Result<Value> {
        if format.safe {
            return Err(Fault::unsupported("format of a safe text"));
        }
        let mut fields = Fields { positional, named, automatic: 0, manual: false };
        let text = self.formatted(&format.text, &mut fields, 2)?;
        self.text(text)
    }

    fn formatted(&self, format: &str, fields: &mut Fields, levels: u32) -> Result<String> {
        if levels == 0 {
            return Err(Fault::failed("Max string recursion exceeded"));
        }
        let mut text = String::new();
        let mut rest = format;
        while let Some(at) = rest.find(['{', '}']) {
            text += &rest[..at];
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if let Some(next) = after.strip_prefix(brace) {
                text += brace;
                rest = next;
                continue;
            }
            if brace == "}" {
                return Err(Fault::failed("Single '}' encountered in format string"));
            }
            let end = field_end(after).ok_or_else(|| Fault::failed("expected '}' before end of string"))?;
            text += &self.replacement(&after[..end], fields, levels)?;
            self.budget.bytes(text.len() - at.min(text.len()))?;
            rest = &after[end + 1..];
        }
        Ok(text + rest)
    }

    fn replacement(&self, field: &str, fields: &mut Fields, levels: u32) -> Result<String> {
        let bracket = field.find('[').map_or(0, |at| field[at..].find(']').map_or(0, |end| at + end));
        let split = field[bracket..].find([':', '!']).map(|at| bracket + at);
        let (name, rest) = field.split_at(split.unwrap_or(field.len()));
        let (conversion, spec) = match rest.strip_prefix('!') {
            Some(rest) => {
                let (conversion, spec) = rest.split_once(':').unwrap_or((rest, ""));
                (Some(conversion), spec)
            }
            None => (None, rest.strip_prefix(':').unwrap_or("")),
        };
        let value = self.field_value(name, fields)?;
        let value = match conversion {
            None => value,
            Some("s") => Value::text(self.str(&value)?),
            Some("r") => Value::text(self.repr(&value)?),
            Some("a") => Value::text(ascii(&self.repr(&value)?)),
            Some(other) => return Err(Fault::failed(format!("Unknown conversion specifier '{other}'"))),
        };
        let spec = self
            .formatted(spec, fields, levels - 1)
            .or_else(|fault| if spec.is_empty() { Ok(String::new()) } else { Err(fault) })?;
        self.with_spec(&value, &spec)
    }

    fn field_value(&self, name: &str, fields: &mut Fields) -> Result<Value> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(end);
        let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        let mut value = if first.is_empty() || is_number {
            let index = if is_number { first.parse().unwrap_or(usize::MAX) } else { fields.automatic };
            if (is_number && fields.automatic > 0) || (!is_number && fields.manual) {
                return Err(Fault::failed("cannot switch between manual and automatic field numbering"));
            }
            fields.manual |= is_number;
            fields.automatic += usize::from(!is_number);
            let missing = || Fault::failed(format!("Replacement index {index} out of range for positional args tuple"));
            fields.positional.get(index).cloned().ok_or_else(missing)?
        } else {
            fields.named.get_text(first).cloned().ok_or_else(|| Fault::failed(format!("'{first}'")))?
        };
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value = self.attribute(&value, &after[..end])?;
                rest = &after[end..];
            } else {
                let end = rest.find(']').ok_or_else(|| Fault::failed("Missing ']' in format string"))?;
                let key = &rest[1..end];
                let key = key.parse().map_or_else(|_| Value::text(key), Value::Int);
                value = self.item(&value, &key)?;
                rest = &rest[end + 1..];
            }
        }
        Ok(value)
    }

    /// Python's `format(value, spec)`.
    fn with_spec(&self, value: &Value, spec: &str) -> Result<String> {
        if spec.is_empty() {
            return self.str(value);
        }
        let spec = self.spec(spec)?;
        if let Some(number) = Number::of(value) {
            return number_with(number, spec);
        }
        let Value::Text(text) = value else {
            let kind = value.type_name();
            return Err(Fault::failed(format!("unsupported format string passed to {kind}.__format__")));
        };
        let refused = spec.sign.is_some() || spec.alternate || spec.grouping.is_some() || spec.align == Some('=');
        if refused || !matches!(spec.kind, None | Some('s')) {
            return Err(Fault::failed("the format does not fit a text"));
        }
        let most = spec.precision.unwrap_or(usize::MAX);
        let shown: String = text.text.chars().take(most).collect();
        let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
        Ok(spec.padded(&shown, spec.align.unwrap_or('<'), fill))
    }

    fn spec(&self, text: &str) -> Result<Spec> {
        let mut spec = Spec::default();
        let characters: Vec<char> = text.chars().collect();
        let is_align = |at: usize| characters.get(at).is_some_and(|c| "<>=^".contains(*c));
        let mut at = 0;
        if is_align(1) {
            (spec.fill, spec.align, at) = (Some(characters[0]), Some(characters[1]), 2);
        } else if is_align(0) {
            (spec.align, at) = (Some(characters[0]), 1);
        }
        let mut take = |set: &str| {
            let found = characters.get(at).copied().filter(|c| set.contains(*c));
            at += usize::from(found.is_some());
            found
        };
        spec.sign = take("+- ");
        spec.alternate = take("#").is_some();
        spec.zero = take("0").is_some();
        let digits = |take: &mut dyn FnMut(&str) -> Option<char>| {
            let digits: String = std::iter::from_fn(|| take("0123456789")).collect();
            if digits.is_empty() {
                Ok(None)
            } else {
                digits.parse().map(Some).map_err(|_| Fault::failed("Too many decimal digits in format string"))
            }
        };
        let width: Option<i128> = digits(&mut take)?;
        spec.grouping = take(",_");
        if take(".").is_some() {
            let precision = digits(&mut take)?.ok_or_else(|| Fault::failed("Format specifier missing precision"))?;
            spec.precision = Some(usize::try_from(precision).unwrap_or(usize::MAX));
        }
        spec.kind = take("bcdeEfFgGnosxX%");
        if at != characters.len() {
            return Err(Fault::failed(format!("Invalid format specifier '{text}'")));
        }
        spec.width = self.width(width.unwrap_or(0))?;
        Ok(spec)
    }
}

fn number_with(number: Number, mut spec: Spec) -> Result<String> {
    match (spec.kind, number) {
        (Some('n'), _) => return Err(Fault::unsupported("the format 'n'")),
        (Some('c'), Number::Int(code)) => {
            let found = u32::try_from(code).ok().and_then(char::from_u32);
            let text = found.ok_or_else(|| Fault::failed("%c arg not in range(0x110000)"))?.to_string();
            return Ok(spec.padded(&text, spec.align.unwrap_or('<'), spec.fill.unwrap_or(' ')));
        }
        (Some('s'), _) => return Err(Fault::failed("Unknown format code 's' for a number")),
        (None | Some('b' | 'd' | 'o' | 'x' | 'X'), Number::Int(_)) if spec.precision.is_some() => {
            return Err(Fault::failed("Precision not allowed in integer format specifier"));
        }
        (Some('b' | 'o' | 'x' | 'X'), Number::Int(_)) if spec.grouping == Some(',') => {
            return Err(Fault::failed("Cannot specify ',' with this format"));
        }
        (Some(kind @ ('b' | 'c' | 'd' | 'o' | 'x' | 'X')), Number::Float(_)) => {
            return Err(Fault::failed(format!("Unknown format code '{kind}' for object of type 'float'")));
        }
        _ => (),
    }
    spec.zero &= spec.align.is_none();
    let (negative, prefix, digits) = spec.digits(number)?;
    Ok(spec.padded_number(negative, &prefix, &digits))
}

/// Where the field closes that is open, nested ones skipped.
fn field_end(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => (),
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
