//! `Fields`: the fields of a JSON object, taken one by one; what is wrong with one is said in plain words.
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::session::Seed;
use crate::session::messages::shown;

/// Characters of a name that is compared.
const SHOWN: usize = 40;

/// Fields that were not taken yet.
#[derive(Debug, Default)]
pub struct Fields {
    map: Map<String, Value>,
    /// What stands in front of a field's name in messages.
    path: &'static str,
}

impl Fields {
    /// The fields of the object in `text`.
    ///
    /// # Errors
    /// It is no object, or a field is there twice.
    pub fn parse(text: &str) -> Result<Fields, String> {
        let Unique(map) = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Fields { map, path: "" })
    }

    /// The object `name`, with `path` in front of its fields' names.
    pub fn object(&mut self, name: &str, path: &'static str) -> Result<Option<Fields>, String> {
        let object = self.take(name, "an object", |value| value.as_object().cloned())?;
        Ok(object.map(|map| Fields { map, path }))
    }

    /// Whether there is such a field.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A value as it is.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name)
    }

    /// A field's name, as messages have it.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// What `convert` makes of a value; nothing of null.
    pub fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        match self.map.shift_remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let wrong = || format!("{}{name}: expected {expected}, found {}", self.path, shown(&value));
                convert(&value).map(Some).ok_or_else(wrong)
            }
        }
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        self.take(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// True or false.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, String> {
        self.take(name, "true or false", Value::as_bool)
    }

    /// A number.
    pub fn number(&mut self, name: &str) -> Result<Option<f32>, String> {
        self.take(name, "a number", |value| value.as_f64().map(|number| number as f32))
    }

    /// A whole number from 0 on; `unset` is what -1 means.
    pub fn count<T: TryFrom<u64>>(&mut self, name: &str, unset: Option<T>) -> Result<Option<T>, String> {
        let expected = if unset.is_some() { "a whole number from -1 on" } else { "a whole number from 0 on" };
        self.take(name, expected, |value| match whole(value)? {
            -1 => unset,
            number => u64::try_from(number).ok().and_then(|number| T::try_from(number).ok()),
        })
    }

    /// A seed.
    pub fn seed(&mut self, name: &str) -> Result<Option<Seed>, String> {
        let expected = format!("a whole number from {} to {}", Seed::LEAST, Seed::MOST);
        self.take(name, &expected, |value| Seed::try_from(whole(value)?).ok())
    }

    /// Whether nothing is left.
    ///
    /// # Errors
    /// A field is left: its name, and that of `known` which is most like it.
    pub fn end(&self, known: &[&str]) -> Result<(), String> {
        let Some(name) = self.map.keys().next() else { return Ok(()) };
        let shown = shown(&Value::from(name.as_str()));
        Err(match nearest(name, known) {
            Some(nearest) => format!("{}{shown} is no field that is known; {nearest:?} is", self.path),
            None => format!("{}{shown} is no field that is known; known are {}", self.path, known.join(", ")),
        })
    }
}

/// A whole number, also where it is written with a point.
fn whole(value: &Value) -> Option<i128> {
    let exact = value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from));
    let real = || value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15);
    exact.or_else(|| real().map(|number| number as i128))
}

/// The name that somebody who wrote `name` may have meant.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    // A long name is like none, and comparing takes the product of both lengths.
    let short = plain(name.get(..name.len().min(SHOWN))?);
    let distance = |known: &str| strsim::damerau_levenshtein(&short, &plain(known));
    let (distance, nearest) = known.iter().map(|known| (distance(known), *known)).min()?;
    (distance <= short.len() / 3).then_some(nearest)
}

/// An object in which no field is there twice.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Unique;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if map.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("{name:?} is there twice")));
                    }
                    map.insert(name, value);
                }
                Ok(Unique(map))
            }
        }
        deserializer.deserialize_map(Once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text).unwrap()
    }

    #[test]
    fn numbers_are_whole_where_they_are_to_be() {
        let mut counts =
            fields(r#"{"a": 3, "b": -1, "c": 2.0, "d": 2.5, "e": -2, "f": "3", "g": null, "h": 4294967296}"#);
        assert_eq!(
            (counts.count("a", None), counts.count("b", Some(7)), counts.count("c", None)),
            (Ok(Some(3_u64)), Ok(Some(7_u64)), Ok(Some(2_u64)))
        );
        assert_eq!(counts.count::<u64>("d", None), Err("d: expected a whole number from 0 on, found 2.5".into()));
        assert_eq!(counts.count::<u64>("e", Some(0)), Err("e: expected a whole number from -1 on, found -2".into()));
        assert_eq!(counts.count::<u64>("f", None), Err("f: expected a whole number from 0 on, found \"3\"".into()));
        assert_eq!((counts.count::<u64>("g", None), counts.count::<u64>("none", None)), (Ok(None), Ok(None)));
        assert!(counts.count::<u32>("h", None).is_err() && counts.end(&[]).is_ok());
    }

    #[test]
    fn an_unknown_field_is_named_with_the_one_that_was_meant() {
        let known = ["prompt", "temperature", "top_p"];
        let error = |text: &str| fields(text).end(&known).unwrap_err();
        assert_eq!(error(r#"{"temprature": 1}"#), "\"temprature\" is no field that is known; \"temperature\" is");
        assert_eq!(error(r#"{"Top-P": 1}"#), "\"Top-P\" is no field that is known; \"top_p\" is");
        assert!(error(r#"{"colour": 1}"#).ends_with("known are prompt, temperature, top_p"));
        assert!(error(&format!("{{\"{}\": 1}}", "é".repeat(5000))).len() < 200);
    }

    #[test]
    fn what_is_no_object_or_has_a_field_twice_is_refused() {
        for (text, words) in
            [("{", "EOF"), ("{\"a\": 1, \"a\": 2}", "\"a\" is there twice"), ("3", "an object"), ("{} x", "trailing")]
        {
            let error = Fields::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
