//! Typed access to config.json: each error names the key, what was expected and what was found.
use std::cell::RefCell;
use std::fmt::Display;

use serde_json::Value;

use crate::error::{Category, Error, Result};

/// The largest size that any key may have: what is above it is a mistake, and what is not cannot overflow.
pub const MAX_SIZE: usize = 1 << 24;

/// What the owner of a file should know of how it was read: keys that were ignored, defaults that were taken.
pub type Notes = RefCell<Vec<String>>;

/// A JSON object of config.json, or one of its own.
#[derive(Clone, Copy)]
pub struct Config<'a> {
    path: &'a str,
    value: &'a Value,
    notes: Option<&'a Notes>,
    /// What goes before `value`.
    own: Option<&'a Value>,
}

impl<'a> Config<'a> {
    /// The object `value`, called `path` in errors.
    pub fn new(path: &'a str, value: &'a Value) -> Config<'a> {
        Config { path, value, notes: None, own: None }
    }

    /// The same object, which collects notes in `notes`.
    pub fn noting(self, notes: &'a Notes) -> Config<'a> {
        Config { notes: Some(notes), ..self }
    }

    /// Says something to the file's owner, once.
    pub fn note(&self, text: impl Display) {
        let Some(notes) = self.notes else { return };
        let text = format!("{}: {text}", self.path);
        let mut notes = notes.borrow_mut();
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    /// Says which of `others` have another value than `counts`, which is that of `key`.
    pub fn note_ignored(&self, key: &str, counts: &Value, others: &[&str]) {
        for other in others {
            if let Some(value) = self.value(other).filter(|value| !same(value, counts)) {
                self.note(format_args!("{other} {value} is ignored: {key} {counts} counts"));
            }
        }
    }

    /// The value of `key`; null counts as missing.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        let given = |object: &'a Value| object.get(key).filter(|value| !value.is_null());
        self.own.and_then(given).or_else(|| given(self.value))
    }

    /// The first of `keys` that has a value, and that value; a note names those behind it that differ.
    fn first<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, &'a Value)> {
        let (key, value) = keys.iter().find_map(|key| Some((*key, self.value(key)?)))?;
        self.note_ignored(key, value, keys);
        Some((key, value))
    }

    /// A size: a whole number from 1 to [`MAX_SIZE`]; the first of `keys` that has a value counts.
    pub fn optional_size(&self, keys: &[&str]) -> Result<Option<usize>> {
        let Some((key, value)) = self.first(keys) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|size| (1..=MAX_SIZE).contains(size));
        let expected = format_args!("a whole number from 1 to {MAX_SIZE}");
        size.map(Some).ok_or_else(|| self.unexpected(key, expected, value))
    }

    /// As [`Config::optional_size`], of a key that must be there.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(&[key])?.ok_or_else(|| self.missing(key, "a whole number"))
    }

    /// A finite number above 0; the first of `keys` that has a value counts.
    pub fn optional_positive(&self, keys: &[&str]) -> Result<Option<f64>> {
        let Some((key, value)) = self.first(keys) else { return Ok(None) };
        let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
        number.map(Some).ok_or_else(|| self.unexpected(key, "a number above 0", value))
    }

    /// As [`Config::optional_size`], with the default that transformers has for a key that is missing.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.optional_size(&[key])?.unwrap_or_else(|| self.default(key, default)))
    }

    /// As [`Config::optional_positive`], with the default that transformers has for a key that is missing.
    pub fn positive_or(&self, keys: &[&str], default: f64) -> Result<f64> {
        Ok(self.optional_positive(keys)?.unwrap_or_else(|| self.default(keys[0], default)))
    }

    fn default<T: Display>(&self, key: &str, default: T) -> T {
        self.note(format_args!("{key} is missing: {default} is taken, as transformers does"));
        default
    }

    /// As [`Config::optional_positive`], of a key that must be there.
    pub fn positive(&self, keys: &[&str]) -> Result<f64> {
        self.optional_positive(keys)?.ok_or_else(|| self.missing(&keys.join(" or "), "a number above 0"))
    }

    /// True or false; false where it is missing.
    pub fn flag(&self, key: &str) -> Result<bool> {
        let Some(value) = self.value(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.unexpected(key, "true or false", value))
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.unexpected(key, "a string", value))
    }

    /// An object within this one; `key` is its name in errors.
    pub fn object(&self, key: &'a str) -> Result<Option<Config<'a>>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let object = value.is_object().then_some(Config { path: key, value, notes: self.notes, own: None });
        object.map(Some).ok_or_else(|| self.unexpected(key, "an object", value))
    }

    /// This object, whose keys count only where `own` has none.
    pub fn overridden_by(self, own: &'a Value) -> Config<'a> {
        Config { own: Some(own), ..self }
    }

    /// What errors call this object.
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The same object, called `path` in errors.
    pub fn called(self, path: &'a str) -> Config<'a> {
        Config { path, ..self }
    }

    /// The object itself.
    pub fn object_value(&self) -> &'a Value {
        self.value
    }

    /// Whether the key stands there at all, be it as null.
    pub fn contains(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// The error for a key whose value is not what it should be.
    pub fn unexpected(&self, key: &str, expected: impl Display, found: impl Display) -> Error {
        Error::new(Category::Model, "Unexpected value in config")
            .details(format_args!("{}: {key}: expected {expected}, found {found}", self.path))
            .hint("correct the file, or download it again")
    }

    fn missing(&self, key: &str, expected: impl Display) -> Error {
        Error::new(Category::Model, "Key missing in config")
            .details(format_args!("{}: {key}: expected {expected}, found nothing", self.path))
            .hint("correct the file, or download it again")
    }
}

/// Whether two values say the same: numbers by their size, be they whole or not.
fn same(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}
