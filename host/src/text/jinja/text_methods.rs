//! Methods of Python's `str`.
use super::arguments::{Args, str_of, whole, whole_or};
use super::fault::{Fault, Result};
use super::render::Renderer;
use super::value::{Text, Value};
use super::{letters, splits};

impl Renderer {
    pub fn text_method(&self, object: &Text, method: &'static str, args: Args) -> Result<Value> {
        let text = &*object.text;
        self.budget.bytes(text.len())?;
        if object.safe && matches!(method, "replace" | "join" | "format" | "format_map") {
            return Err(Fault::unsupported(format!("{method} of a safe text")));
        }
        let result = match method {
            "split" | "rsplit" | "splitlines" | "partition" | "rpartition" => self.split_method(text, method, args)?,
            "find" | "rfind" | "index" | "rindex" | "count" | "startswith" | "endswith" => {
                self.search_method(text, method, args)?
            }
            "center" | "ljust" | "rjust" | "zfill" | "expandtabs" => self.width_method(text, method, args)?,
            "strip" | "lstrip" | "rstrip" | "removeprefix" | "removesuffix" | "replace" => {
                self.cut_method(text, method, args)?
            }
            "join" => {
                let [items] = args.unnamed(method, 1)?;
                self.join(text, &items.unwrap_or(Value::None))?
            }
            "format" => self.format(object, args)?,
            "format_map" => {
                let [mapping] = args.unnamed(method, 1)?;
                let Some(Value::Dict(dict)) = mapping else { return Err(Fault::failed("format_map wants a dict")) };
                self.format_with(object, &[], &dict)?
            }
            "encode" | "maketrans" | "translate" => return Err(Fault::unsupported(format!("str.{method}"))),
            _ => {
                let [] = args.unnamed(method, 0)?;
                match letters::changed(text, method) {
                    Some(text) => self.text(text)?,
                    None => Value::Bool(letters::is(text, method)?),
                }
            }
        };
        Ok(match result {
            Value::Text(result) if object.safe => Value::safe(result.text),
            other => other,
        })
    }

    fn split_method(&self, text: &str, method: &str, args: Args) -> Result<Value> {
        if method == "splitlines" {
            let [keep] = args.bind(method, ["keepends"], 0)?;
            return self.text_list(splits::lines(text, keep.is_some_and(|keep| keep.is_true())));
        }
        if method.ends_with("partition") {
            let [separator] = args.unnamed(method, 1)?;
            let separator = separator.unwrap_or(Value::None);
            let separator = separator_of(&separator)?;
            let parts = if method == "partition" { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match parts {
                Some((before, after)) => [before, separator, after],
                None if method == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            return Value::tuple(parts.into_iter().map(Value::text).collect());
        }
        let [separator, most] = args.bind(method, ["sep", "maxsplit"], 0)?;
        let most = usize::try_from(whole_or(most, -1)?).unwrap_or(usize::MAX - 1);
        let parts = match &separator {
            None | Some(Value::None) if method == "split" => splits::by_blanks(text, most),
            None | Some(Value::None) => splits::by_blanks_from_the_end(text, most),
            Some(separator) => {
                let separator = separator_of(separator)?;
                if method == "split" {
                    text.splitn(most.saturating_add(1), separator).collect()
                } else {
                    let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), separator).collect();
                    parts.reverse();
                    parts
                }
            }
        };
        self.text_list(parts)
    }

    pub fn text_list<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Result<Value> {
        let texts: Vec<Value> = texts.into_iter().map(Value::text).collect();
        self.budget.items(texts.len())?;
        Value::list(texts)
    }

    fn search_method(&self, text: &str, method: &str, args: Args) -> Result<Value> {
        let [part, start, stop] = args.unnamed(method, 1)?;
        let part = part.unwrap_or(Value::None);
        let window = splits::window(text, start.as_ref(), stop.as_ref())?;
        let Some((first, window)) = window else {
            let found = match method {
                "find" | "rfind" => Value::Int(-1),
                "count" => Value::Int(0),
                "startswith" | "endswith" => Value::Bool(false),
                _ => return Err(Fault::failed("substring not found")),
            };
            return Ok(found);
        };
        match method {
            "startswith" => return Ok(Value::Bool(self.any_text(&part, method, |part| window.starts_with(part))?)),
            "endswith" => return Ok(Value::Bool(self.any_text(&part, method, |part| window.ends_with(part))?)),
            _ => (),
        }
        let part = str_of(&part, method)?;
        if method == "count" {
            return Ok(Value::Int(window.matches(part).count() as i128));
        }
        let found = if method.starts_with('r') { window.rfind(part) } else { window.find(part) };
        match found {
            Some(at) => Ok(Value::Int((first + window[..at].chars().count()) as i128)),
            None if method.ends_with("find") => Ok(Value::Int(-1)),
            None => Err(Fault::failed("substring not found")),
        }
    }

    fn width_method(&self, text: &str, method: &str, args: Args) -> Result<Value> {
        if method == "expandtabs" {
            let [size] = args.bind(method, ["tabsize"], 0)?;
            let size = self.width(whole_or(size, 8)?)?;
            self.budget.bytes(text.matches('\t').count().saturating_mul(size))?;
            return self.text(splits::without_tabs(text, size));
        }
        let [width, fill] = args.unnamed(method, 1)?;
        let width = self.width(whole(&width.unwrap_or(Value::None))?)?;
        let mut fills = fill.as_ref().map_or(Ok(" "), |fill| str_of(fill, "the fill character"))?.chars();
        let (Some(fill), None) = (fills.next(), fills.next()) else {
            return Err(Fault::failed("The fill character must be exactly one character long"));
        };
        let missing = width.saturating_sub(text.chars().count());
        let filled = |count: usize| fill.to_string().repeat(count);
        self.text(match method {
            "ljust" => text.to_owned() + &filled(missing),
            "rjust" => filled(missing) + text,
            "zfill" => {
                let sign = text.chars().next().filter(|sign| matches!(sign, '+' | '-')).map_or(0, char::len_utf8);
                text[..sign].to_owned() + &"0".repeat(missing) + &text[sign..]
            }
            _ => centered(text, width, fill),
        })
    }

    fn cut_method(&self, text: &str, method: &str, args: Args) -> Result<Value> {
        if method == "replace" {
            let [old, new, count] = args.unnamed(method, 2)?;
            let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
            let (old, new) = (str_of(&old, "replace() argument 1")?, str_of(&new, "replace() argument 2")?);
            let most = usize::try_from(whole_or(count, -1)?).unwrap_or(usize::MAX);
            return self.replaced(text, old, new, most);
        }
        let [part] = args.unnamed(method, usize::from(method.starts_with("remove")))?;
        let part = part.unwrap_or(Value::None);
        let cut = match method {
            "removeprefix" => text.strip_prefix(str_of(&part, method)?).unwrap_or(text),
            "removesuffix" => text.strip_suffix(str_of(&part, method)?).unwrap_or(text),
            _ => stripped(text, &part, method)?,
        };
        self.text(cut.to_owned())
    }

    pub fn replaced(&self, text: &str, old: &str, new: &str, most: usize) -> Result<Value> {
        let count = text.matches(old).count().min(most);
        self.budget.bytes(count.saturating_mul(new.len()))?;
        self.text(text.replacen(old, new, most))
    }

    /// `separator.join(items)`, whose items must be texts.
    fn join(&self, separator: &str, items: &Value) -> Result<Value> {
        let mut text = String::new();
        for (at, item) in self.items_of(items)?.iter().enumerate() {
            let Some(part) = item.as_text() else {
                let kind = item.type_name();
                return Err(Fault::failed(format!("sequence item {at}: expected str instance, {kind} found")));
            };
            let separator = if at > 0 { separator } else { "" };
            self.budget.bytes(separator.len() + part.len())?;
            text += separator;
            text += part;
        }
        Ok(Value::text(text))
    }
}

/// Python puts the odd blank of an odd width in front.
pub(super) fn centered(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let before = missing / 2 + (missing & width & 1);
    let filled = |count: usize| fill.to_string().repeat(count);
    filled(before) + text + &filled(missing - before)
}

fn separator_of(value: &Value) -> Result<&str> {
    match str_of(value, "the separator")? {
        "" => Err(Fault::failed("empty separator")),
        separator => Ok(separator),
    }
}

/// `text` without the characters of `set` at its ends; without a set, those are blanks.
pub(super) fn stripped<'a>(text: &'a str, set: &Value, method: &str) -> Result<&'a str> {
    let set = if matches!(set, Value::None) { None } else { Some(str_of(set, "strip arg")?) };
    let goes = |character: char| set.map_or(super::token::is_blank(character), |set| set.contains(character));
    let text = if method == "rstrip" { text } else { text.trim_start_matches(goes) };
    Ok(if method == "lstrip" { text } else { text.trim_end_matches(goes) })
}
