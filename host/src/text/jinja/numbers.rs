//! Numbers as Python writes and reads them.

/// The shortest text that reads back as `value`: Python's `repr`.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    with_exponent(mantissa, exponent)
}

/// `1.5` and -7 as `1.5e-07`.
pub(super) fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Python's `float(text)`.
pub(super) fn float_of_text(text: &str) -> Option<f64> {
    let text = without_underscores(text.trim_matches(super::token::is_blank))?;
    let letters = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let is_word = matches!(letters.as_str(), "inf" | "infinity" | "nan");
    if !is_word && letters.contains(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | 'e' | '+' | '-')) {
        return None;
    }
    text.parse().ok()
}

/// Python's `int(text, base)`; an outer none where it is no number, an inner one where it is beyond 128 bits.
pub(super) fn int_of_text(text: &str, base: u32) -> Option<Option<i128>> {
    let text = text.trim_matches(super::token::is_blank);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = |letter: char| {
        let rest = digits.strip_prefix('0')?.strip_prefix([letter, letter.to_ascii_uppercase()])?;
        Some(rest.strip_prefix('_').unwrap_or(rest))
    };
    let of_prefix = [(2, 'b'), (8, 'o'), (16, 'x')];
    let found = of_prefix.into_iter().find_map(|(radix, letter)| {
        if base != 0 && base != radix { None } else { prefixed(letter).map(|rest| (radix, rest)) }
    });
    let (radix, digits) = found.unwrap_or((if base == 0 { 10 } else { base }, digits));
    let digits = without_underscores(digits)?;
    let leading_zero = base == 0 && found.is_none() && digits.starts_with('0') && digits.contains(|c| c != '0');
    if digits.is_empty() || leading_zero || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(i128::from_str_radix(&format!("{sign}{digits}"), radix).ok())
}

/// Single underscores may stand between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let mut marks = (0..bytes.len()).filter(|at| bytes[*at] == b'_');
    let fine = marks.all(|at| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1)));
    fine.then(|| text.replace('_', ""))
}
