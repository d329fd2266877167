//! Whole numbers as JSON Schema has them: 3.0 is one.
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// From here on a number of 64 bits may stand for its neighbours too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number.
pub struct Whole<T>(pub T);

impl<'de, T: TryFrom<i128>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Whole<T>, D::Error> {
        from.deserialize_any(WholeVisitor(PhantomData)).map(Whole)
    }
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: TryFrom<i128>> Visitor<'_> for WholeVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        T::try_from(value.into()).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::try_from(value.into()).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        let whole = (value.fract() == 0.0 && value.abs() < EXACT).then_some(value as i128);
        whole.and_then(|whole| T::try_from(whole).ok()).ok_or_else(|| E::invalid_type(Unexpected::Float(value), &self))
    }
}

/// A whole number, or null.
///
/// # Errors
/// It is something else.
pub fn one<'de, D: Deserializer<'de>, T: TryFrom<i128>>(from: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Whole<T>>::deserialize(from)?.map(|whole| whole.0))
}

/// Whole numbers, or null.
///
/// # Errors
/// It is something else.
pub fn list<'de, D: Deserializer<'de>, T: TryFrom<i128>>(from: D) -> Result<Option<Vec<T>>, D::Error> {
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
        for wrong in ["-1", "-1.0", "3.5", "1e30", "4294967296", "4294967296.0", "\"3\"", "true"] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
        let signed = |text: &str| serde_json::from_str::<Whole<i64>>(text).ok().map(|whole| whole.0);
        assert_eq!((signed("-1.0"), signed("-9223372036854775808")), (Some(-1), Some(i64::MIN)));
    }
}
