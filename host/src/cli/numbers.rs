//! Numbers on the command line: each option has a range, and clap refuses what is outside, before anything is loaded.
use std::fmt::Display;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::models::MAX_SIZE;
use crate::quantized::Recipe;
use crate::sample;
use crate::session::{MOST_RANKS, Seed};

/// Tokens of a context: no model that can be loaded has more.
pub const CONTEXT: RangeInclusive<usize> = 1..=MAX_SIZE;
/// Sequences that run or decode together.
pub const SEQUENCES: RangeInclusive<usize> = 1..=1_000_000;
/// Continuations of one prompt.
pub const COMPLETIONS: RangeInclusive<usize> = 1..=10_000;
/// Tokens of reasoning.
pub const THOUGHTS: RangeInclusive<usize> = 0..=MAX_SIZE;
/// Layers of a random model, as many as a model may have.
pub const LAYERS: RangeInclusive<usize> = 1..=4096;
/// Ranks of a model.
pub const RANKS: RangeInclusive<usize> = 1..=MOST_RANKS;
/// Threads of the CPU.
pub const THREADS: RangeInclusive<usize> = 1..=1024;

/// A whole number from `range`.
pub fn whole(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| expected(&range))
}

/// As [`whole`], of a range that begins at 1 or later.
pub fn count(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<NonZeroUsize, String> + Clone + Send + Sync + 'static {
    let whole = whole(range.clone());
    move |text| NonZeroUsize::new(whole(text)?).ok_or_else(|| expected(&range))
}

/// A number from `range`.
pub fn real(range: RangeInclusive<f32>) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync + 'static {
    move |text| parsed(text).filter(|number| range.contains(number)).ok_or_else(|| expected(&range))
}

/// A temperature: 0, or one that a logit can be divided by.
pub fn temperature(text: &str) -> Result<f32, String> {
    let allowed = |number: &f32| *number == 0.0 || sample::TEMPERATURES.contains(number);
    let [least, most] = [sample::TEMPERATURES.start(), sample::TEMPERATURES.end()];
    parsed(text).filter(allowed).ok_or_else(|| format!("expected 0, or {least} to {most}"))
}

/// A share of a whole: above 0, up to 1.
pub fn share<T: FromStr + PartialOrd + From<f32>>(text: &str) -> Result<T, String> {
    let share = parsed(text).filter(|share: &T| *share > T::from(0.0) && *share <= T::from(1.0));
    share.ok_or_else(|| "expected a number above 0, up to 1".to_owned())
}

/// How many tokens to generate: at least 1, or -1 for as many as the context has room for.
pub fn max_tokens(text: &str) -> Result<NonZeroUsize, String> {
    match text {
        "-1" => Ok(NonZeroUsize::MAX),
        "0" => Err("0 tokens are no text: give 1 or more, or -1 to go on until the context is full".into()),
        _ => text.parse().map_err(|_| "expected 1 or more, or -1 to go on until the context is full".into()),
    }
}

/// How many tokens to draw among: 0 and -1 for all.
pub fn top_k(text: &str) -> Result<usize, String> {
    if text == "-1" {
        return Ok(0);
    }
    text.parse().map_err(|_| "expected 1 or more, or 0 or -1 for all tokens".into())
}

/// A seed; -1 for another one each time.
pub fn seed(text: &str) -> Result<u64, String> {
    // What is no number of so many bits is no seed either.
    let seed = Seed::try_from(text.parse().unwrap_or(i128::MAX));
    let seed = seed.map_err(|expected| format!("{expected}; -1 is another one each time"))?;
    Ok(seed.bits().unwrap_or_else(chance))
}

/// A seed that nobody chose.
pub fn chance() -> u64 {
    // Every `RandomState` has keys of its own.
    RandomState::new().build_hasher().finish() >> 32
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn expected<T: Display>(range: &RangeInclusive<T>) -> String {
    format!("expected {} to {}", range.start(), range.end())
}

/// How weights become codes, by name.
pub fn recipe() -> impl TypedValueParser<Value = Recipe> {
    PossibleValuesParser::new(Recipe::NAMES).map(|name| name.parse().expect("the parser knows the names"))
}

#[cfg(test)]
mod tests;
