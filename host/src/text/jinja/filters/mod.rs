//! Filters: `value | name(arguments)`.
mod chosen;
mod groups;
mod html;
mod layout;
mod numeric;
mod sequences;

use super::arguments::{Args, str_of};
use super::fault::{Fault, Result};
use super::json::Style;
use super::letters;
use super::render::Renderer;
use super::text_methods::stripped;
use super::value::Value;

/// `value` through the filter `name`.
pub(super) fn apply(renderer: &Renderer, name: &str, value: Value, args: Args) -> Result<Value> {
    renderer.budget.steps(1)?;
    let r = renderer;
    match name {
        "abs" | "float" | "int" | "round" | "sum" | "filesizeformat" => numeric::apply(r, name, value, args),
        "batch" | "slice" | "list" | "first" | "last" | "length" | "count" | "reverse" | "items" | "join" => {
            sequences::apply(r, name, value, args)
        }
        "sort" | "dictsort" | "unique" | "groupby" | "min" | "max" => groups::apply(r, name, value, args),
        "map" | "select" | "reject" | "selectattr" | "rejectattr" => chosen::apply(r, name, value, args),
        "e" | "escape" | "forceescape" | "safe" | "striptags" | "urlencode" | "xmlattr" => {
            html::apply(r, name, value, args)
        }
        "center" | "indent" | "truncate" | "wordcount" | "wordwrap" => layout::apply(r, name, value, args),
        "random" | "urlize" => Err(Fault::unsupported(format!("the filter {name}"))),
        _ => of_any(r, name, value, args),
    }
}

fn of_any(r: &Renderer, name: &str, value: Value, args: Args) -> Result<Value> {
    match name {
        "attr" => {
            let [name] = args.bind(name, ["name"], 1)?;
            let name = r.str(&name.unwrap_or(Value::None))?;
            r.attribute_alone(&value, &name)
        }
        "default" | "d" => {
            let [default, boolean] = args.bind(name, ["default_value", "boolean"], 0)?;
            let falsy = boolean.is_some_and(|boolean| boolean.is_true()) && !value.is_true();
            Ok(if value.is_undefined() || falsy { default.unwrap_or_else(|| Value::text("")) } else { value })
        }
        "format" => {
            if !args.positional.is_empty() && !args.named.is_empty() {
                return Err(Fault::failed("can't handle positional and keyword arguments at the same time"));
            }
            let format = r.soft_str(value)?;
            let Value::Text(format) = &format else { return Ok(format) };
            let right = if args.named.is_empty() { Value::tuple(args.positional)? } else { r.dict_of(args.named)? };
            r.percent(format, &right)
        }
        "pprint" => {
            let [] = args.unnamed(name, 0)?;
            let text = r.repr(&value)?;
            let is_flat = !matches!(value, Value::Dict(_) | Value::List(_) | Value::Tuple(_));
            if text.chars().count() > 79 || !is_flat && text.contains('{') || text.contains("\\n") {
                return Err(Fault::unsupported("pprint of more than a line"));
            }
            r.text(text)
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"], 2)?;
            let (old, new) = (r.str(&old.unwrap_or(Value::None))?, r.str(&new.unwrap_or(Value::None))?);
            let count = count.filter(|count| !matches!(count, Value::None));
            let most = usize::try_from(super::arguments::whole_or(count, -1)?).unwrap_or(usize::MAX);
            r.replaced(&r.str(&value)?, &old, &new, most)
        }
        "string" => {
            let [] = args.unnamed(name, 0)?;
            r.soft_str(value)
        }
        "tojson" => to_json(r, &value, args),
        "trim" => {
            let [set] = args.bind(name, ["chars"], 0)?;
            let text = r.str(&value)?;
            r.text(stripped(&text, &set.unwrap_or(Value::None), "strip")?.to_owned())
        }
        "upper" | "lower" | "capitalize" | "title" => {
            let [] = args.unnamed(name, 0)?;
            let text = r.str(&value)?;
            let changed = if name == "title" { title(&text) } else { letters::changed(&text, name).unwrap_or(text) };
            r.text(changed)
        }
        _ => Err(Fault::failed(format!("No filter named '{name}'."))),
    }
}

/// Jinja's own title case: words begin behind blanks, hyphens and opening brackets.
fn title(text: &str) -> String {
    let is_start = |c: char| super::token::is_blank(c) || "-({[<".contains(c);
    let mut words = String::new();
    for part in text.split_inclusive(is_start) {
        let mut characters = part.chars();
        let Some(first) = characters.next() else { continue };
        words.extend(first.to_uppercase());
        words += &characters.as_str().to_lowercase();
    }
    words
}

fn to_json(r: &Renderer, value: &Value, args: Args) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ascii, indent, separators, sorted] = args.bind("tojson", names, 0)?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Text(text)) => Some(text.text.to_string()),
        Some(width) => Some(" ".repeat(r.width(super::arguments::whole(&width)?)?)),
    };
    let separators = match separators {
        None | Some(Value::None) => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
        Some(pair) => {
            let pair = r.items_of(&pair)?;
            let [item, key] = &pair[..] else { return Err(Fault::failed("separators must be two texts")) };
            [str_of(item, "separator")?.to_owned(), str_of(key, "separator")?.to_owned()]
        }
    };
    let is_set = |option: Option<Value>| option.is_some_and(|option| option.is_true());
    let style = Style { indent, separators, ascii: is_set(ascii), sorted: is_set(sorted) };
    Ok(Value::text(r.dump(value, &style)?))
}

impl Renderer {
    /// A text as it is, and anything else as a text.
    pub fn soft_str(&self, value: Value) -> Result<Value> {
        match value {
            Value::Text(_) => Ok(value),
            other => self.text(self.str(&other)?),
        }
    }
}
