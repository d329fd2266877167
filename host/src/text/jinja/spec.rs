//! The mini-language of formats that `%` and `str.format` share: width, precision, sign, and how digits are written.
use super::fault::{Fault, Result};
use super::numbers::with_exponent;
use super::operators::Number;

/// Digits behind the point that a format may ask for.
const MOST_PRECISION: usize = 10_000;

/// How a value is written.
#[derive(Clone, Default)]
pub(super) struct Spec {
    pub fill: Option<char>,
    pub align: Option<char>,
    pub sign: Option<char>,
    pub alternate: bool,
    pub zero: bool,
    pub width: usize,
    pub grouping: Option<char>,
    pub precision: Option<usize>,
    pub kind: Option<char>,
}

impl Spec {
    /// Sign and digits of a number, grouped, without padding.
    pub fn digits(&self, number: Number) -> Result<(bool, String, String)> {
        match (number, self.kind) {
            (Number::Int(value), None | Some('d' | 'b' | 'o' | 'x' | 'X')) => {
                let size = value.unsigned_abs();
                let (prefix, digits) = match self.kind {
                    Some('b') => ("0b", format!("{size:b}")),
                    Some('o') => ("0o", format!("{size:o}")),
                    Some('x') => ("0x", format!("{size:x}")),
                    Some('X') => ("0X", format!("{size:X}")),
                    _ => ("", size.to_string()),
                };
                let prefix = if self.alternate { prefix } else { "" };
                Ok((value < 0, prefix.to_owned(), digits))
            }
            (number, kind) => {
                let value = number.float();
                let negative = value.is_sign_negative() && !value.is_nan();
                Ok((negative, String::new(), self.float_digits(value.abs(), kind)?))
            }
        }
    }

    fn float_digits(&self, value: f64, kind: Option<char>) -> Result<String> {
        let precision = self.precision.unwrap_or(6);
        if precision > MOST_PRECISION {
            return Err(Fault::limit(format!("a precision of more than {MOST_PRECISION} digits")));
        }
        let upper = kind.is_some_and(char::is_uppercase);
        if !value.is_finite() {
            let word = if value.is_nan() { "nan" } else { "inf" };
            let percent = if kind == Some('%') { "%" } else { "" };
            return Ok(if upper { word.to_uppercase() } else { word.to_owned() } + percent);
        }
        let digits = match kind.map(|kind| kind.to_ascii_lowercase()) {
            Some('f') => self.pointed(format!("{value:.precision$}")),
            Some('%') => self.pointed(format!("{:.precision$}", value * 100.0)) + "%",
            Some('e') => scientific(value, precision),
            Some('g') => self.general(value, precision, false),
            None => match self.precision {
                None => super::numbers::float_text(value),
                Some(precision) => self.general(value, precision, true),
            },
            Some(kind) => {
                return Err(Fault::failed(format!("Unknown format code '{kind}' for object of type 'float'")));
            }
        };
        Ok(if upper { digits.to_uppercase() } else { digits })
    }

    fn pointed(&self, digits: String) -> String {
        if self.alternate && !digits.contains('.') { digits + "." } else { digits }
    }

    fn general(&self, value: f64, precision: usize, as_repr: bool) -> String {
        let precision = precision.max(1);
        let text = format!("{value:.*e}", precision - 1);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let trimmed = |digits: &str| match digits.contains('.') && !self.alternate {
            true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => digits.to_owned(),
        };
        let limit = precision as i32 - i32::from(as_repr);
        if exponent < -4 || exponent >= limit {
            return with_exponent(&trimmed(mantissa), exponent);
        }
        let behind = (precision as i32 - 1 - exponent).max(0) as usize;
        let digits = trimmed(&format!("{value:.behind$}"));
        if as_repr && !digits.contains('.') { digits + ".0" } else { digits }
    }

    /// `sign`, `prefix` and `digits` in the width; zeros stand behind sign and prefix.
    pub fn padded_number(&self, negative: bool, prefix: &str, digits: &str) -> String {
        let sign = match self.sign {
            _ if negative => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        let head = format!("{sign}{prefix}");
        let align = self.align.unwrap_or(if self.zero { '=' } else { '>' });
        let fill = self.fill.unwrap_or(if self.zero { '0' } else { ' ' });
        let mut digits = digits.to_owned();
        if let Some(mark) = self.grouping {
            let width = if fill == '0' && align == '=' { self.width.saturating_sub(head.len()) } else { 0 };
            digits =
                grouped(&digits, mark, if self.kind.is_some_and(|kind| "boxX".contains(kind)) { 4 } else { 3 }, width);
        }
        if align == '=' {
            let missing = self.width.saturating_sub(head.len() + digits.len());
            return head + &fill.to_string().repeat(missing) + &digits;
        }
        self.padded(&(head + &digits), align, fill)
    }

    /// `text` in the width.
    pub fn padded(&self, text: &str, align: char, fill: char) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        let before = match align {
            '>' => missing,
            '^' => missing / 2,
            _ => 0,
        };
        let fill = |count: usize| fill.to_string().repeat(count);
        fill(before) + text + &fill(missing - before)
    }
}

fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    with_exponent(mantissa, exponent.parse().unwrap_or(0))
}

/// `mark` between groups of `size` digits in front of the point, with zeros in front up to `width`.
fn grouped(digits: &str, mark: char, size: usize, width: usize) -> String {
    let end =
        digits.find(|c: char| !c.is_ascii_hexdigit() || (size == 3 && !c.is_ascii_digit())).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(end);
    let mut reversed = Vec::new();
    let mut length = rest.len();
    let mut left = whole.chars().rev();
    for at in 0.. {
        let next = left.next();
        if next.is_none() && length >= width {
            break;
        }
        if at > 0 && at % size == 0 {
            reversed.push(mark);
            length += 1;
        }
        reversed.push(next.unwrap_or('0'));
        length += 1;
    }
    reversed.into_iter().rev().collect::<String>() + rest
}
