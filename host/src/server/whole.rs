//! Whole numbers as JSON Schema has them: 3.0 is one.
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::session::Seed;

/// Whole numbers of some range.
pub trait Number: TryFrom<i128> {
    /// The least one.
    const LEAST: i128;
    /// The greatest one.
    const MOST: i128;
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Number for $number {
            const LEAST: i128 = <$number>::MIN as i128;
            const MOST: i128 = <$number>::MAX as i128;
        })*
    };
}

numbers!(u32, u64, usize, i64);

impl Number for Seed {
    const LEAST: i128 = Seed::LEAST;
    const MOST: i128 = Seed::MOST;
}

/// From here on a number of 64 bits may stand for its neighbours too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number.
pub struct Whole<T>(pub T);

impl<'de, T: Number> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Whole<T>, D::Error> {
        from.deserialize_any(WholeVisitor(PhantomData)).map(Whole)
    }
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: Number> Visitor<'_> for WholeVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match T::LEAST {
            0 => f.write_str("a whole number from 0 on"),
            _ => f.write_str("a whole number"),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        T::try_from(value.into()).map_err(|_| beyond::<T, E>(Unexpected::Unsigned(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::try_from(value.into()).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        // As a float, the least number of 64 bits stands for smaller ones too.
        let least = if T::LEAST == 0 { 0 } else { T::LEAST + 1 };
        if value.fract() == 0.0 && !(least..=T::MOST).contains(&(value as i128)) {
            return Err(beyond::<T, E>(Unexpected::Float(value)));
        }
        let whole = (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i128);
        whole.and_then(|whole| T::try_from(whole).ok()).ok_or_else(|| E::invalid_type(Unexpected::Float(value), &self))
    }
}

/// What is said of a whole number that is too great, or too small.
fn beyond<T: Number, E: Error>(found: Unexpected) -> E {
    E::invalid_value(found, &format!("a whole number from {} to {}", T::LEAST, T::MOST).as_str())
}

/// A whole number, or null.
///
/// # Errors
/// It is something else.
pub fn one<'de, D: Deserializer<'de>, T: Number>(from: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Whole<T>>::deserialize(from)?.map(|whole| whole.0))
}

/// Whole numbers, or null.
///
/// # Errors
/// It is something else.
pub fn list<'de, D: Deserializer<'de>, T: Number>(from: D) -> Result<Option<Vec<T>>, D::Error> {
    Ok(Option::<Vec<Whole<T>>>::deserialize(from)?.map(plain))
}

/// The numbers themselves.
pub fn plain<T>(numbers: Vec<Whole<T>>) -> Vec<T> {
    numbers.into_iter().map(|whole| whole.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_by_its_value_and_not_by_how_it_is_written() {
        let id = |text: &str| serde_json::from_str::<Whole<u32>>(text).ok().map(|whole| whole.0);
        assert_eq!((id("3"), id("3.0"), id("3e2"), id("0.0")), (Some(3), Some(3), Some(300), Some(0)));
        assert_eq!(id("4294967295.0"), Some(u32::MAX));
        for wrong in ["-1", "-1.0", "3.5", "1e30", "4294967296", "4294967296.0", "\"3\"", "true"] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
        let error = |text: &str| serde_json::from_str::<Whole<Seed>>(text).err().map(|error| error.to_string());
        let range = "expected a whole number from -9223372036854775808 to 18446744073709551615";
        for beyond in ["18446744073709551616", "1e30", "-9223372036854775809"] {
            assert!(error(beyond).unwrap().contains(range), "{beyond}");
        }
        assert_eq!(error("9223372036854775808"), None);
        let signed = |text: &str| serde_json::from_str::<Whole<i64>>(text).ok().map(|whole| whole.0);
        assert_eq!((signed("-1.0"), signed("-9223372036854775808")), (Some(-1), Some(i64::MIN)));
    }
}
