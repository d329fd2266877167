//! `Seed`: what names the random numbers of an answer.

/// A seed as users and clients give it: a number of 64 bits, with a sign or without one. A negative one is the same as the
/// number without a sign that has its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(i128);

impl Seed {
    /// The least one.
    pub const LEAST: i128 = i64::MIN as i128;

    /// The greatest one.
    pub const MOST: i128 = u64::MAX as i128;

    /// Its bits; none of -1, which asks for another one each time.
    pub fn bits(self) -> Option<u64> {
        (self.0 != -1).then_some(self.0 as u64)
    }
}

impl TryFrom<i128> for Seed {
    type Error = String;

    fn try_from(number: i128) -> Result<Seed, String> {
        let range = Seed::LEAST..=Seed::MOST;
        let is_one = range.contains(&number);
        is_one.then_some(Seed(number)).ok_or_else(|| format!("expected {} to {}", range.start(), range.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_64_bits_with_a_sign_or_without_one() {
        let bits = |number: i128| Seed::try_from(number).map(Seed::bits);
        assert_eq!((bits(7), bits(i128::from(u64::MAX))), (Ok(Some(7)), Ok(Some(u64::MAX))));
        assert_eq!((bits(-2), bits(i128::from(i64::MIN))), (Ok(Some(u64::MAX - 1)), Ok(Some(1 << 63))));
        assert_eq!(bits(-1), Ok(None));
        assert!(bits(Seed::MOST + 1).is_err() && bits(Seed::LEAST - 1).is_err());
    }
}
