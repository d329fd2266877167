//! Methods of Python's `str` that templates call and minijinja's own set lacks.
use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Calls `method` of `value` as Python has it.
///
/// # Errors
/// There is no such method, or it is called in another way.
pub fn call(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    match value.as_str().filter(|_| value.kind() == ValueKind::String) {
        Some(text) => of_text(text, method, arguments).unwrap_or_else(|| missing(state, value, method, arguments)),
        None => missing(state, value, method, arguments),
    }
}

fn missing(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    pycompat::unknown_method_callback(state, value, method, arguments)
}

fn of_text(text: &str, method: &str, arguments: &[Value]) -> Option<Result<Value, Error>> {
    let with_part = |make: &dyn Fn(&str) -> Value| from_args::<(&str,)>(arguments).map(|(part,)| make(part));
    let splits = matches!(method, "partition" | "rpartition" | "rsplit");
    if splits && arguments.first().and_then(Value::as_str) == Some("") {
        return Some(Err(Error::new(ErrorKind::InvalidOperation, "empty separator")));
    }
    Some(match method {
        "removeprefix" => with_part(&|part| Value::from(text.strip_prefix(part).unwrap_or(text))),
        "removesuffix" => with_part(&|part| Value::from(text.strip_suffix(part).unwrap_or(text))),
        "partition" => with_part(&|part| {
            let (before, after) = text.split_once(part).unwrap_or((text, ""));
            three(before, if before.len() == text.len() { "" } else { part }, after)
        }),
        "rpartition" => with_part(&|part| {
            let (before, after) = text.rsplit_once(part).unwrap_or(("", text));
            three(before, if after.len() == text.len() { "" } else { part }, after)
        }),
        "rsplit" => rsplit(text, arguments),
        _ => return None,
    })
}

fn three(before: &str, part: &str, after: &str) -> Value {
    list([before, part, after])
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    texts.into_iter().map(Value::from).collect()
}

fn rsplit(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (separator, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    let mut parts: Vec<&str> = match (separator, most) {
        (Some(separator), Some(most)) => text.rsplitn(most + 1, separator).collect(),
        (Some(separator), None) => text.rsplit(separator).collect(),
        (None, None) => text.split_whitespace().rev().collect(),
        (None, Some(_)) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "rsplit with a number needs a separator here"));
        }
    };
    parts.reverse();
    Ok(list(parts))
}
