//! Filters that lay text out.
use super::super::arguments::{Args, str_of, whole, whole_or};
use super::super::fault::{Fault, Result};
use super::super::render::Renderer;
use super::super::splits;
use super::super::text_methods::centered;
use super::super::token::is_blank;
use super::super::value::Value;

pub(super) fn apply(r: &Renderer, name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "center" => {
            let [width] = args.bind(name, ["width"], 0)?;
            let width = r.width(whole_or(width, 80)?)?;
            r.text(centered(&r.str(&value)?, width, ' '))
        }
        "indent" => indent(r, &value, args),
        "truncate" => truncate(r, &value, args),
        "wordcount" => {
            let [] = args.unnamed(name, 0)?;
            let text = r.str(&value)?;
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            Ok(Value::Int(text.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count() as i128))
        }
        _ => wrap(r, &value, args),
    }
}

fn indent(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"], 0)?;
    let is_set = |option: Option<Value>| option.is_some_and(|option| option.is_true());
    let (first, blank) = (is_set(first), is_set(blank));
    let margin = match &width {
        Some(Value::Text(text)) => text.text.to_string(),
        other => " ".repeat(r.width(other.as_ref().map_or(Ok(4), whole)?)?),
    };
    value.defined()?;
    let text = value.as_text().ok_or_else(|| Fault::failed("indent wants a text"))?.to_owned() + "\n";
    let lines = splits::lines(&text, false);
    r.budget.bytes(lines.len().saturating_mul(margin.len()))?;
    let mut indented = if first { margin.clone() } else { String::new() };
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            indented.push('\n');
            indented += if blank || !line.is_empty() { &margin } else { "" };
        }
        indented += line;
    }
    // With blank lines indented, the text is joined from all lines, and so ends as it began.
    r.text(indented)
}

fn truncate(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let [length, kill, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let length = whole_or(length, 255)?;
    let end = end.unwrap_or_else(|| Value::text("..."));
    let end = str_of(&end, "truncate's end")?;
    let leeway = whole_or(leeway.filter(|leeway| !matches!(leeway, Value::None)), 5)?;
    let kept = length - end.chars().count() as i128;
    if kept < 0 || leeway < 0 {
        return Err(Fault::failed(format!("expected length >= {}, got {length}", end.chars().count())));
    }
    if value.length()? as i128 <= length + leeway {
        return Ok(value.clone());
    }
    let text = value.as_text().ok_or_else(|| Fault::failed("truncate wants a text"))?;
    let cut: String = text.chars().take(kept as usize).collect();
    let words = if kill.is_some_and(|kill| kill.is_true()) { None } else { cut.rsplit_once(' ') };
    r.text(words.map_or(cut.as_str(), |(words, _)| words).to_owned() + end)
}

fn wrap(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, breaks, newline, hyphens] = args.bind("wordwrap", names, 0)?;
    let width = whole_or(width, 79)?;
    if width <= 0 {
        return Err(Fault::failed(format!("invalid width {width} (must be > 0)")));
    }
    let width = usize::try_from(width).unwrap_or(usize::MAX);
    let breaks = breaks.is_none_or(|breaks| breaks.is_true());
    let newline = newline.filter(|newline| newline.is_true()).unwrap_or_else(|| Value::text("\n"));
    let newline = str_of(&newline, "wrapstring")?;
    value.defined()?;
    let text = value.as_text().ok_or_else(|| Fault::failed("wordwrap wants a text"))?;
    if text.contains('-') && hyphens.is_none_or(|hyphens| hyphens.is_true()) {
        return Err(Fault::unsupported("wordwrap that breaks at hyphens"));
    }
    let mut wrapped = Vec::new();
    for line in splits::lines(text, false) {
        wrapped.push(wrapped_line(line, width, breaks).join(newline));
    }
    r.budget.bytes(wrapped.len().saturating_mul(newline.len()))?;
    r.text(wrapped.join(newline))
}

/// The lines of one line, as Python's textwrap cuts it.
fn wrapped_line(line: &str, width: usize, breaks: bool) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    for character in line.chars() {
        let blank = is_blank(character);
        match chunks.last_mut() {
            Some(chunk) if chunk.starts_with(is_blank) == blank => chunk.push(character),
            _ => chunks.push(character.to_string()),
        }
    }
    chunks.reverse();
    let count = |text: &str| text.chars().count();
    let mut lines: Vec<String> = Vec::new();
    while let Some(mut chunk) = chunks.pop() {
        if chunk.starts_with(is_blank) && !lines.is_empty() {
            match chunks.pop() {
                Some(next) => chunk = next,
                None => break,
            }
        }
        let mut current = String::new();
        let mut next = Some(chunk);
        while let Some(chunk) = next.take() {
            if count(&current) + count(&chunk) <= width {
                current += &chunk;
                next = chunks.pop();
                continue;
            }
            if count(&chunk) > width && (breaks || current.is_empty()) {
                let room = if breaks { width.saturating_sub(count(&current)).max(1) } else { count(&chunk) };
                current.extend(chunk.chars().take(room));
                let left: String = chunk.chars().skip(room).collect();
                chunks.extend(Some(left).filter(|left| !left.is_empty()));
            } else {
                chunks.push(chunk);
            }
        }
        let trimmed = current.trim_end_matches(is_blank);
        // Only a last chunk of blanks goes.
        let current = if trimmed.is_empty() { "" } else { trimmed };
        if !current.is_empty() {
            lines.push(current.to_owned());
        }
    }
    lines
}
