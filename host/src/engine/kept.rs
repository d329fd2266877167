//! `KeptSequences`: ended sequences whose pages stay, for a request that begins as they did.
use std::collections::VecDeque;

use gpu_kernels::{PAGE_TOKENS, ssm};

/// Ids and the pages that hold their keys and values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The ids; all are computed.
    pub ids: Vec<u32>,
    /// Pages for them, and no more.
    pub pages: Vec<usize>,
    /// The slot, where a sequence of the model keeps more than keys and values.
    pub slot: Option<usize>,
}

impl Kept {
    /// Shortens to `tokens` tokens and returns the pages that are no longer needed.
    pub fn truncate(&mut self, tokens: usize) -> Vec<usize> {
        self.ids.truncate(tokens);
        self.pages.split_off(self.ids.len().div_ceil(PAGE_TOKENS as usize).min(self.pages.len()))
    }
}

/// Tokens at the end of a sequence with state that another may part from it at: what is kept of the inputs before, and one step
/// that a device may have run ahead.
const LOOSE_END: usize = (ssm::WINDOW - ssm::TAPS) as usize;

impl Kept {
    /// How many of the first `common` tokens another sequence can go on from. Keys and values are there for each of them; a
    /// state stands at the end, from which it goes back a few tokens, and not out of its chunk.
    fn usable(&self, common: usize) -> usize {
        let (end, chunk) = (self.ids.len(), ssm::CHUNK as usize);
        let in_reach = common == end || (common + LOOSE_END >= end && common / chunk == end / chunk);
        if self.slot.is_none() || in_reach { common } else { 0 }
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
            kept.usable(common.min(prompt.len().saturating_sub(1)))
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
        Kept { ids: ids.collect(), pages, slot: None }
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
    fn a_state_goes_back_a_few_tokens_within_its_chunk() {
        for (length, common, usable) in [
            (200, 200, 200),
            (200, 197, 197),
            (200, 196, 196),
            (200, 195, 0),
            (192, 192, 192),
            (192, 191, 0),
            (193, 192, 192),
            (193, 191, 0),
        ] {
            let kept = Kept { slot: Some(0), ..kept(0..length) };
            assert_eq!(kept.usable(common), usable, "{common} of {length}");
        }
    }

    #[test]
    fn pages_behind_the_prefix_are_freed() {
        let mut sequence = kept(0..200);
        assert_eq!(sequence.truncate(64), [1, 2, 3]);
        assert_eq!((sequence.ids.len(), sequence.pages), (64, vec![0]));
    }
}
