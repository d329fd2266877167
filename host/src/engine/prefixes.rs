//! `Prefixes`: which whole pages two sequences begin with, without a look at their tokens.
use std::hash::{DefaultHasher, Hasher};

use gpu_kernels::PAGE_TOKENS;

/// A hash of a sequence's tokens up to the end of each whole page. Two that are the same by chance make a sequence wait for
/// another in vain, and no more.
#[derive(Clone, Debug, Default)]
pub struct Prefixes {
    hasher: DefaultHasher,
    tokens: usize,
    ends: Vec<u64>,
}

impl Prefixes {
    /// Those of `tokens`.
    pub fn of(tokens: &[u32]) -> Prefixes {
        let mut prefixes = Prefixes::default();
        tokens.iter().for_each(|&token| prefixes.push(token));
        prefixes
    }

    /// Takes a further token.
    pub fn push(&mut self, token: u32) {
        self.hasher.write_u32(token);
        self.tokens += 1;
        if self.tokens.is_multiple_of(PAGE_TOKENS as usize) {
            self.ends.push(self.hasher.finish());
        }
    }

    /// Whole pages that both begin with.
    pub fn common(&self, other: &Prefixes) -> usize {
        let both = self.ends.len().min(other.ends.len());
        let (mut same, mut differs) = (0, both + 1);
        while differs - same > 1 {
            let middle = same.midpoint(differs);
            if self.ends[middle - 1] == other.ends[middle - 1] { same = middle } else { differs = middle }
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_pages_are_those_of_the_tokens() {
        let tokens: Vec<u32> = (0..1000).collect();
        for differs in [0, 1, 63, 64, 65, 500, 640, 999, 1000] {
            for length in [0, 64, 639, 640, 1000] {
                let mut other = tokens[..length].to_vec();
                other.iter_mut().skip(differs).for_each(|token| *token += 5000);
                let common = Prefixes::of(&tokens).common(&Prefixes::of(&other));
                assert_eq!(common, differs.min(length) / 64, "{differs} of {length}");
            }
        }
    }
}
