//! `Outline`: a first look at a request's body that keeps next to nothing of it, so that no value is made for fields that nobody
//! reads, and a body of millions of small values is refused before they take many times its memory.
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::other_fields::{OPENAI, OtherFields};

/// Most values of a field whose form is the chat template's affair.
pub const MOST_VALUES: usize = 100_000;

/// Fields of such values, and lists whose own limit is looked at when all of their values are made.
const FREE: [&str; 22] = [
    "messages",
    "system",
    "input",
    "include",
    "reasoning",
    "text",
    "thinking",
    "output_config",
    "output_format",
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_choice",
    "tools",
    "tool_choice",
    "chat_template_kwargs",
    "stop",
    "stop_sequences",
    "stop_token_ids",
    "bad_words",
    "logit_bias",
    "nvext",
];

/// Most bytes of another field's value that may say nothing; a longer one says something.
const MOST_BYTES: usize = 1024;

/// Most other fields that are kept, but for those that would change the text.
const MOST_OTHERS: usize = 256;

/// What a body can be read into.
pub trait RequestBody {
    /// Fields that have a place of their own.
    const FIELDS: &'static [&'static str] = &[];

    /// What is known of the other ones.
    const OTHERS: &'static OtherFields = &OPENAI;

    /// Takes the other ones.
    fn take_others(&mut self, _others: HashMap<String, Value>) {}
}

/// What is known of a body for a `B`.
pub struct Outline<B> {
    /// Fields without a place of their own. A long value is the text "long".
    pub others: HashMap<String, Value>,
    /// The field that has more than [`MOST_VALUES`].
    pub too_many: Option<&'static str>,
    body: PhantomData<B>,
}

impl<'de, B: RequestBody> Deserialize<'de> for Outline<B> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Outline<B>, D::Error> {
        from.deserialize_map(OutlineVisitor(PhantomData))
    }
}

struct OutlineVisitor<B>(PhantomData<B>);

impl<'de, B: RequestBody> Visitor<'de> for OutlineVisitor<B> {
    type Value = Outline<B>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline<B>, A::Error> {
        let mut outline = Outline { others: HashMap::new(), too_many: None, body: PhantomData };
        while let Some(name) = map.next_key::<String>()? {
            let is_own = B::FIELDS.contains(&name.as_str());
            if let Some(free) = FREE.into_iter().find(|free| *free == name && is_own) {
                let Count(values) = map.next_value()?;
                outline.too_many = outline.too_many.or((values > MOST_VALUES).then_some(free));
            } else if is_own || outline.others.len() >= MOST_OTHERS && !B::OTHERS.refuses(&name) {
                map.next_value::<IgnoredAny>()?;
            } else {
                let value: &RawValue = map.next_value()?;
                let is_short = value.get().len() <= MOST_BYTES;
                let value = if is_short { serde_json::from_str(value.get()) } else { Ok(Value::from("long")) };
                outline.others.insert(name, value.map_err(de::Error::custom)?);
            }
        }
        Ok(outline)
    }
}

/// How many values there are; behind too many the rest of a list is not counted.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Count, D::Error> {
        from.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
        let mut values = 1;
        while values <= MOST_VALUES
            && let Some(Count(more)) = list.next_element()?
        {
            values += more;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        let mut values = 1;
        while values <= MOST_VALUES
            && let Some((IgnoredAny, Count(more))) = map.next_entry()?
        {
            values += more;
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(values))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(1))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count(1))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Count, E> {
        Ok(Count(1))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Count, E> {
        Ok(Count(1))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(1))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Any;

    impl RequestBody for Any {
        const FIELDS: &'static [&'static str] = &["prompt"];
    }

    #[test]
    fn other_fields_are_kept_short_and_known_ones_not_at_all() {
        let long = format!("[{}1]", "1,".repeat(MOST_BYTES));
        let text = format!(r#"{{"prompt": {long}, "tools": {long}, "best_of": 1, "audio": null}}"#);
        let outline: Outline<Any> = serde_json::from_str(&text).unwrap();
        let expected = [("tools", Value::from("long")), ("best_of", Value::from(1)), ("audio", Value::Null)];
        assert_eq!(outline.others, expected.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(outline.too_many, None);
    }

    #[test]
    fn values_are_counted_at_all_depths() {
        let count = |text: &str| serde_json::from_str::<Count>(text).unwrap().0;
        assert_eq!((count("[]"), count(r#"[1, "a", null, {"b": [true, -1.5, -2]}]"#)), (1, 9));
        assert_eq!(count(&format!("[{}[]]", "[[]],".repeat(MOST_VALUES))), MOST_VALUES + 1);
    }
}
