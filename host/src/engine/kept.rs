//! `KeptSequences`: ended sequences whose pages stay, for a request that begins as they did.
use std::collections::VecDeque;

use gpu_kernels::PAGE_TOKENS;

/// Ids and the pages that hold their keys and values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The ids; all are computed.
    pub ids: Vec<u32>,
    /// Pages for them, and no more.
    pub pages: Vec<usize>,
}

impl Kept {
    /// Shortens to `tokens` tokens and returns the pages that are no longer needed.
    pub fn truncate(&mut self, tokens: usize) -> Vec<usize> {
        self.ids.truncate(tokens);
        self.pages.split_off(self.ids.len().div_ceil(PAGE_TOKENS as usize).min(self.pages.len()))
    }
}

/// The kept sequences, the oldest first.
#[derive(Debug, Default)]
pub struct KeptSequences {
    sequences: VecDeque<Kept>,
}

impl KeptSequences {
    /// Keeps one more.
    pub fn push(&mut self, kept: Kept) {
        self.sequences.push_back(kept);
    }

    /// Takes the one that shares the longest prefix with `prompt`, and says how many tokens that is: at least one, and
    /// not the whole prompt, whose last token is computed to choose the next.
    pub fn take(&mut self, prompt: &[u32]) -> Option<(Kept, usize)> {
        let shared = |kept: &Kept| {
            let common = kept.ids.iter().zip(prompt).take_while(|(a, b)| a == b).count();
            common.min(prompt.len().saturating_sub(1))
        };
        let (index, common) =
            self.sequences.iter().map(shared).enumerate().max_by_key(|(_, common)| *common).filter(|(_, c)| *c > 0)?;
        Some((self.sequences.remove(index)?, common))
    }

    /// Gives up the oldest one.
    pub fn pop_oldest(&mut self) -> Option<Kept> {
        self.sequences.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(ids: std::ops::Range<u32>) -> Kept {
        let pages = (0..ids.len().div_ceil(PAGE_TOKENS as usize)).collect();
        Kept { ids: ids.collect(), pages }
    }

    #[test]
    fn the_longest_common_prefix_wins_and_leaves_a_token_to_compute() {
        let mut sequences = KeptSequences::default();
        sequences.push(kept(0..3));
        sequences.push(kept(0..200));
        sequences.push(kept(7..90));
        let prompt: Vec<u32> = (0..150).chain([9]).collect();
        assert_eq!(sequences.take(&prompt).map(|(kept, common)| (kept.ids.len(), common)), Some((200, 150)));
        assert_eq!(sequences.take(&[0, 1]).map(|(_, common)| common), Some(1));
        assert_eq!(sequences.take(&[1, 2]), None);
        assert_eq!(sequences.pop_oldest(), Some(kept(7..90)));
    }

    #[test]
    fn pages_behind_the_prefix_are_freed() {
        let mut sequence = kept(0..200);
        assert_eq!(sequence.truncate(64), [1, 2, 3]);
        assert_eq!((sequence.ids.len(), sequence.pages), (64, vec![0]));
    }
}
