//! `PromptInput`: what a completion goes on with, as a text, ids, or lists of either.
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::whole::{self, Whole};

/// What is to be continued.
#[derive(Clone, Debug, PartialEq, Eq, ToSchema)]
#[schema(examples("Once upon a time"))]
#[serde(untagged)]
pub enum PromptInput {
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Token ids.
    Ids(Vec<u32>),
    /// Several prompts of token ids.
    Lists(Vec<Vec<u32>>),
}

/// The first of a list tells what the list is of: nothing of a long one is kept twice.
impl<'de> Deserialize<'de> for PromptInput {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<PromptInput, D::Error> {
        from.deserialize_any(PromptVisitor)
    }
}

struct PromptVisitor;

/// Most prompts of one request.
pub const MOST_PROMPTS: usize = 256;

/// A prompt, or one of several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected texts, token ids, or lists of token ids")]
enum First {
    Id(Whole<u32>),
    Text(String),
    Ids(Vec<Whole<u32>>),
}

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = PromptInput;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text, a list of texts, token ids, or a list of lists of token ids")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PromptInput, E> {
        Ok(PromptInput::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<PromptInput, E> {
        Ok(PromptInput::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PromptInput, A::Error> {
        fn rest<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
            first: T,
            most: usize,
            mut list: A,
        ) -> Result<Vec<T>, A::Error> {
            let mut all = vec![first];
            while let Some(next) = list.next_element()? {
                if all.len() == most {
                    return Err(de::Error::custom(format_args!("expected 1 to {most} prompts, found more")));
                }
                all.push(next);
            }
            Ok(all)
        }
        match list.next_element()? {
            None => Ok(PromptInput::Ids(Vec::new())),
            Some(First::Id(id)) => rest(id, usize::MAX, list).map(whole::plain).map(PromptInput::Ids),
            Some(First::Text(text)) => rest(text, MOST_PROMPTS, list).map(PromptInput::Texts),
            Some(First::Ids(ids)) => {
                let lists = rest(ids, MOST_PROMPTS, list)?;
                Ok(PromptInput::Lists(lists.into_iter().map(whole::plain).collect()))
            }
        }
    }
}
