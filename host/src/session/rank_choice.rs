//! `RankChoice`: which devices hold a model together.
use std::str::FromStr;

/// Most ranks of one model.
pub const MOST_RANKS: usize = 64;

/// The devices that hold a model together, each a rank of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RankChoice {
    /// One, by itself.
    #[default]
    One,
    /// So many, of the kind that is chosen otherwise.
    Count(usize),
    /// The CPU, as so many.
    Cpu(usize),
    /// The GPUs of these numbers.
    Gpus(Vec<u32>),
}

impl RankChoice {
    /// How many ranks there are, at least one.
    pub fn count(&self) -> usize {
        let ranks = match self {
            RankChoice::One => 1,
            RankChoice::Count(ranks) | RankChoice::Cpu(ranks) => *ranks,
            RankChoice::Gpus(numbers) => numbers.len(),
        };
        ranks.max(1)
    }
}

impl FromStr for RankChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<RankChoice, String> {
        let expected =
            || format!("expected numbers of GPUs with commas between them, or cpu:N with N from 1 to {MOST_RANKS}");
        if let Some(ranks) = text.strip_prefix("cpu:") {
            let ranks = ranks.parse().ok().filter(|ranks| (1..=MOST_RANKS).contains(ranks));
            return ranks.map(RankChoice::Cpu).ok_or_else(expected);
        }
        let numbers: Option<Vec<u32>> = text.split(',').map(|number| number.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| numbers.len() <= MOST_RANKS).ok_or_else(expected)?;
        match numbers.iter().enumerate().find(|(place, number)| numbers[..*place].contains(number)) {
            Some((_, number)) => Err(format!("GPU {number} is named twice")),
            None => Ok(RankChoice::Gpus(numbers)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_numbers_or_shares_of_the_cpu() {
        assert_eq!("cpu:4".parse(), Ok(RankChoice::Cpu(4)));
        assert_eq!("2,0".parse(), Ok(RankChoice::Gpus(vec![2, 0])));
        assert_eq!("3".parse::<RankChoice>().map(|choice| choice.count()), Ok(1));
        for wrong in ["", "cpu", "cpu:0", "cpu:65", "cpu:two", "0,", "0,cpu:2", "-1"] {
            let error = wrong.parse::<RankChoice>().expect_err(wrong);
            assert!(error.contains("cpu:N"), "{error}");
        }
        assert_eq!("0,1,0".parse::<RankChoice>(), Err("GPU 0 is named twice".to_owned()));
    }
}
