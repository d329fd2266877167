//! `Constraints`: tokens that may not come, or not yet, or not again.
use std::collections::BTreeMap;

use gpu_kernels::sampling::PHRASE_WORDS;

use crate::error::{Category, Error, Result};

/// Most ids of one sequence that are forbidden or have a bias.
pub const MAX_BIASES: usize = 1024;

/// Most words of the phrases of one sequence: 5 for each phrase, about, and one for each id but its last.
pub const MAX_PHRASE_WORDS: usize = 4096;

/// Rules that hold whatever the probabilities: which tokens may not come, or not yet, or not again.
///
/// They are checked on the device against the tokens that are there, prompt included, so they cost no wait. A forbidden
/// token has the logit −∞; where all are forbidden, the sequence ends with an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constraints {
    /// Never come.
    pub suppress: Vec<u32>,
    /// Do not come first in the answer.
    pub suppress_first: Vec<u32>,
    /// Phrases that do not come: the last id is forbidden where the others are the end of the text. None is empty.
    pub bad_words: Vec<Vec<u32>>,
    /// Phrases, and what is added to the logit of the last id where the others are the end of the text, before penalties.
    pub phrase_bias: Vec<(Vec<u32>, f32)>,
    /// No sequence of so many tokens comes twice, prompt included; 0 for no such rule.
    pub no_repeat_ngram: usize,
    /// The ids that end a text do not come before so many tokens of an answer.
    pub min_tokens: usize,
    /// The ids that end a text do not come before so many tokens of prompt and answer together.
    pub min_length: usize,
    /// One of them comes as the last token where nothing else ends the answer before the number of tokens that was asked for.
    pub forced_eos: Vec<u32>,
    /// Most tokens of prompt and answer together; 0 for no such rule.
    pub max_length: usize,
}

impl Constraints {
    /// Lets a text end before it has as many tokens as they ask for.
    pub fn end_anywhere(&mut self) {
        (self.min_tokens, self.min_length) = (0, 0);
    }

    /// Whether logits are changed before the choice.
    pub fn changes_logits(&self) -> bool {
        self.reads_history()
            || !(self.suppress.is_empty() && self.suppress_first.is_empty() && self.bad_words.is_empty())
            || !self.phrase_bias.is_empty()
            || self.min_tokens > 0
            || self.min_length > 0
    }

    /// Whether the choice depends on which tokens are there.
    pub fn reads_history(&self) -> bool {
        self.no_repeat_ngram > 0 || self.phrases().any(|(phrase, _)| phrase.len() > 1)
    }

    /// Bad words of several ids and phrases with a bias.
    fn phrases(&self) -> impl Iterator<Item = (&[u32], f32)> {
        let bad = self.bad_words.iter().filter(|phrase| phrase.len() > 1);
        let bad = bad.map(|phrase| (phrase.as_slice(), f32::NEG_INFINITY));
        bad.chain(self.phrase_bias.iter().map(|(phrase, bias)| (phrase.as_slice(), *bias)))
    }

    /// Whether all ids are of a model of `vocab` tokens, and all lists have room.
    ///
    /// # Errors
    /// Names the rule, what it may be and what was found.
    pub fn check(&self, vocab: usize) -> Result<()> {
        let ids = self.forbidden(0, &[]).len();
        if ids > MAX_BIASES {
            let most = format_args!("at most {MAX_BIASES} single ids");
            return Err(wrong("suppress, suppress-first and bad-words", most, ids));
        }
        let named = [("suppress", &self.suppress), ("suppress-first", &self.suppress_first)];
        let forced = self.forced_eos.as_slice();
        let lists = named.into_iter().map(|(name, ids)| (name, ids.as_slice())).chain([("forced-eos", forced)]);
        let bad = self.bad_words.iter().map(|ids| ("bad-words", ids.as_slice()));
        for (name, ids) in lists.chain(bad).chain(self.phrase_bias.iter().map(|(ids, _)| ("phrase-bias", &ids[..]))) {
            if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
                return Err(wrong(name, format_args!("ids from 0 to {}", vocab - 1), id));
            }
        }
        if self.bad_words.iter().chain(self.phrase_bias.iter().map(|(ids, _)| ids)).any(Vec::is_empty) {
            return Err(wrong("bad-words and phrase-bias", "phrases of at least one id", "an empty one"));
        }
        if let Some((_, bias)) = self.phrase_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            return Err(wrong("phrase-bias", "numbers", bias));
        }
        match self.table().len() {
            words if words > MAX_PHRASE_WORDS => Err(wrong(
                "bad-words and phrase-bias",
                format_args!("at most {MAX_PHRASE_WORDS} words: 5 a phrase and one for each id but its last"),
                words,
            )),
            _ => Ok(()),
        }
    }

    /// Ids that are forbidden until a number of tokens is there, behind a prompt of `prompt` tokens that `eos` would end.
    pub(super) fn forbidden(&self, prompt: usize, eos: &[u32]) -> BTreeMap<u32, u32> {
        let bounded = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        let single = self.bad_words.iter().filter(|phrase| phrase.len() == 1).flatten();
        let always = self.suppress.iter().chain(single).map(|id| (*id, u32::MAX));
        let first = self.suppress_first.iter().map(|id| (*id, bounded(prompt + 1)));
        let least = bounded(prompt.saturating_add(self.min_tokens).max(self.min_length));
        let ends = eos.iter().map(|id| (*id, least)).filter(|_| least as usize > prompt);
        let mut forbidden = BTreeMap::new();
        for (id, until) in always.chain(first).chain(ends) {
            let known = forbidden.entry(id).or_insert(until);
            *known = until.max(*known);
        }
        forbidden
    }

    /// The phrases as the kernel reads them, see `gpu_kernels::sampling::PHRASES`; nothing where there are none.
    pub(super) fn table(&self) -> Vec<i32> {
        let mut phrases: Vec<_> = self.phrases().filter_map(|(ids, bias)| Some((ids.split_last()?, bias))).collect();
        phrases.sort_by_key(|((last, _), _)| **last);
        if phrases.is_empty() {
            return Vec::new();
        }
        let mut table = vec![phrases.len() as i32];
        let mut start = 1 + PHRASE_WORDS as usize * phrases.len();
        for ((last, others), bias) in &phrases {
            table.extend([last.cast_signed(), bias.to_bits().cast_signed(), start as i32, others.len() as i32]);
            start += others.len();
        }
        table.extend(phrases.iter().flat_map(|((_, others), _)| others.iter().map(|id| id.cast_signed())));
        table
    }
}

fn wrong(name: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
    Error::new(Category::Input, "A rule for tokens cannot be followed")
        .details(format_args!("{name}: expected {expected}, found {found}"))
        .hint(
            "correct what forbids tokens or makes them more likely: the request, or the model's generation_config.json",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forbidden_as_long_as_its_longest_rule_says() {
        let rules = Constraints {
            suppress: vec![7],
            suppress_first: vec![3, 7, 9],
            bad_words: vec![vec![5], vec![1, 2]],
            min_tokens: 4,
            min_length: 6,
            ..Constraints::default()
        };
        let forbidden: Vec<_> = rules.forbidden(10, &[3, 8]).into_iter().collect();
        assert_eq!(forbidden, [(3, 14), (5, u32::MAX), (7, u32::MAX), (8, 14), (9, 11)]);
        assert_eq!(Constraints { min_length: 6, ..Constraints::default() }.forbidden(2, &[1])[&1], 6);
        assert!(Constraints { min_length: 6, ..Constraints::default() }.forbidden(6, &[1]).is_empty());
    }

    #[test]
    fn phrases_stand_in_the_order_of_their_last_ids() {
        let phrase_bias = vec![(vec![4], 1.5), (vec![8, 9, 2], -2.0)];
        let rules = Constraints { bad_words: vec![vec![6, 3], vec![1]], phrase_bias, ..Constraints::default() };
        let [bias, less] = [1.5_f32, -2.0].map(|value| value.to_bits().cast_signed());
        let never = f32::NEG_INFINITY.to_bits().cast_signed();
        assert_eq!(rules.table(), [3, 2, less, 13, 2, 3, never, 15, 1, 4, bias, 16, 0, 8, 9, 6]);
        assert!(Constraints::default().table().is_empty());
    }

    #[test]
    fn what_the_device_has_no_room_or_no_id_for_is_named() {
        let check = |rules: Constraints| rules.check(10).unwrap_err().details_text().to_owned();
        let none = Constraints::default;
        assert_eq!(
            check(Constraints { suppress: vec![3, 10], ..none() }),
            "suppress: expected ids from 0 to 9, found 10"
        );
        assert!(check(Constraints { bad_words: vec![vec![]], ..none() }).contains("an empty one"));
        assert!(check(Constraints { phrase_bias: vec![(vec![1], f32::NAN)], ..none() }).contains("found NaN"));
        let long = vec![vec![1; MAX_PHRASE_WORDS - 3]];
        assert!(check(Constraints { bad_words: long, ..none() }).contains("found 4097"));
        assert!(Constraints { bad_words: vec![vec![1; MAX_PHRASE_WORDS - 4]], ..none() }.check(10).is_ok());
    }
}
