//! `Sampling`: how the next token is chosen; checked, and as the words that the kernels read.
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use gpu_kernels::sampling as word;

use super::constraints::{Constraints, MAX_BIASES};
use crate::error::{Category, Error, Result};

/// Temperatures that are not greedy. At the lowest, 1 / temperature and its product with a logit stay finite.
pub const TEMPERATURES: RangeInclusive<f32> = 1e-4..=100.0;

/// What may be added to a logit.
pub const BIASES: RangeInclusive<f32> = -100.0..=100.0;

/// How the next token is chosen. The default is greedy.
///
/// Repeat penalty, frequency and presence penalty, rules and biases come first, then temperature, top-k, top-p and min-p in this
/// order, as transformers has it. The repeat penalty is for tokens of prompt and answer, the other two for those of the
/// answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 is the greedy choice.
    pub temperature: f32,
    /// Keeps this many best tokens and their equals; 0 keeps all.
    pub top_k: usize,
    /// Keeps the best tokens until they have this share of the probability; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens with at least this share of the best one's probability; 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits and multiplies others of tokens that are there; 1 for none.
    pub repeat_penalty: f32,
    /// Taken from the logits of generated tokens.
    pub presence_penalty: f32,
    /// Taken from the logits of generated tokens, as often as they were generated.
    pub frequency_penalty: f32,
    /// Names the random numbers.
    pub seed: u64,
    /// Which stream of the seed: completions of one prompt have different ones.
    pub stream: u32,
    /// Added to the logits of these ids; of equal ids the last counts.
    pub logit_bias: Vec<(u32, f32)>,
    /// Which tokens may not come, or not yet, or not again.
    pub constraints: Constraints,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
            stream: 0,
            logit_bias: Vec::new(),
            constraints: Constraints::default(),
        }
    }
}

impl Sampling {
    /// Whether the choice is the highest logit as the model gives it.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0 && !self.changes_logits()
    }

    /// The token that is forced at the end of an answer, at that position, if one is: of several the lowest id, or where tokens
    /// are drawn one that is as likely as the others.
    pub fn forced_last(&self, position: usize) -> Option<u32> {
        let forced = &self.constraints.forced_eos;
        if self.temperature == 0.0 {
            return forced.iter().min().copied();
        }
        // One step of SplitMix64.
        let word = self.seed ^ (u64::from(self.stream) << 32) ^ position as u64;
        let mut mixed = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = (u128::from(mixed ^ mixed >> 31) * forced.len() as u128) >> 64;
        forced.get(drawn as usize).copied()
    }

    /// Whether logits are changed, by penalties, biases or rules, before the choice.
    pub fn changes_logits(&self) -> bool {
        self.penalizes() || !self.logit_bias.is_empty() || self.constraints.changes_logits()
    }

    /// Whether the choice depends on which tokens are there.
    pub fn reads_history(&self) -> bool {
        self.penalizes() || self.constraints.reads_history()
    }

    /// Whether tokens that are there already are penalized.
    pub fn penalizes(&self) -> bool {
        self.repeat_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Whether every parameter is in its range, for a model of `vocab` tokens.
    ///
    /// # Errors
    /// Names the parameter, its range and what was found.
    pub fn check(&self, vocab: usize) -> Result<()> {
        if self.temperature != 0.0 {
            within("temperature", self.temperature, TEMPERATURES, "0 (greedy) or ")?;
        }
        within("top-p", self.top_p, f32::MIN_POSITIVE..=1.0, "above ")?;
        within("min-p", self.min_p, 0.0..=1.0, "")?;
        within("repeat-penalty", self.repeat_penalty, 0.01..=100.0, "")?;
        within("presence-penalty", self.presence_penalty, -100.0..=100.0, "")?;
        within("frequency-penalty", self.frequency_penalty, -100.0..=100.0, "")?;
        for (id, bias) in &self.logit_bias {
            within("logit-bias", *bias, BIASES, "")?;
            if *id as usize >= vocab {
                return Err(out_of_range("logit-bias", format_args!("an id from 0 to {}", vocab - 1), id));
            }
        }
        self.constraints.check(vocab)?;
        self.check_room(&[])
    }

    /// Whether there is room for all ids that have a bias or are forbidden, those of `eos` included where they are for some
    /// time.
    ///
    /// # Errors
    /// Says how many have room and how many there are.
    pub fn check_room(&self, eos: &[u32]) -> Result<()> {
        match biases(self, 0, eos, usize::MAX).len() {
            count if count > MAX_BIASES => Err(out_of_range(
                "logit-bias",
                format_args!("at most {MAX_BIASES} ids that have a bias or are forbidden"),
                count,
            )),
            _ => Ok(()),
        }
    }
}

fn within(name: &str, value: f32, range: RangeInclusive<f32>, also: &str) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let start = if *range.start() == f32::MIN_POSITIVE { 0.0 } else { *range.start() };
    Err(out_of_range(name, format_args!("{also}{start} to {}", range.end()), value))
}

fn out_of_range(name: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Error {
    Error::new(Category::Input, "A sampling parameter is out of range")
        .details(format_args!("{name}: expected {expected}, found {found}"))
        .hint(format_args!("choose another --{name}"))
}

/// A sequence's [`Sampling`] as the words of a row of logits, see `gpu_kernels::sampling`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowParameters {
    words: [i32; word::WORDS as usize],
    /// Id, bits of the value, tokens until which the id is forbidden.
    biases: Vec<[i32; 3]>,
    phrases: Vec<i32>,
}

impl RowParameters {
    /// The words for a sequence with a prompt of `prompt_length` tokens which `eos` ends, in a model of `vocab` tokens.
    pub fn new(sampling: &Sampling, prompt_length: usize, eos: &[u32], vocab: usize) -> RowParameters {
        let mut words = [0_u32; word::WORDS as usize];
        let mut set = |index: u32, value: u32| words[index as usize] = value;
        if sampling.temperature > 0.0 {
            set(word::INVERSE_TEMPERATURE, sampling.temperature.recip().to_bits());
        }
        set(word::TOP_K, sampling.top_k.min(vocab) as u32);
        if sampling.top_p < 1.0 {
            set(word::TOP_P, ((f64::from(sampling.top_p) * 2f64.powi(32)) as u32).max(1));
        }
        // min-p 0 has an infinite distance, which the conversion bounds.
        let furthest = -f64::from(sampling.min_p).ln() * 2f64.powi(19);
        set(word::MIN_P_DISTANCE, (furthest as u32).min(word::MAX_DISTANCE));
        set(word::SEED, sampling.seed as u32);
        set(word::SEED_HIGH, (sampling.seed >> 32) as u32);
        set(word::STREAM, sampling.stream);
        set(word::PENALIZES, u32::from(sampling.penalizes()));
        set(word::REPEAT_PENALTY, sampling.repeat_penalty.to_bits());
        set(word::PRESENCE_PENALTY, sampling.presence_penalty.to_bits());
        set(word::FREQUENCY_PENALTY, sampling.frequency_penalty.to_bits());
        set(word::PROMPT_LENGTH, prompt_length as u32);
        // An n-gram is not longer than any text.
        set(word::NGRAM, u32::try_from(sampling.constraints.no_repeat_ngram).unwrap_or(u32::MAX));
        RowParameters {
            words: words.map(u32::cast_signed),
            biases: biases(sampling, prompt_length, eos, vocab),
            phrases: sampling.constraints.table(),
        }
    }

    /// The row's words, where its biases begin at number `first_bias` of all rows' biases and its phrases at word
    /// `first_phrase` of all rows' phrases.
    pub fn words(&self, first_bias: usize, first_phrase: usize) -> [i32; word::WORDS as usize] {
        let mut words = self.words;
        words[word::BIAS_START as usize] = first_bias as i32;
        words[word::BIAS_COUNT as usize] = self.biases.len() as i32;
        words[word::PHRASES as usize] = if self.phrases.is_empty() { 0 } else { first_phrase as i32 };
        words
    }

    /// For each bias its id, the bits of its value, and the number of tokens until which the id is forbidden.
    pub fn biases(&self) -> &[[i32; 3]] {
        &self.biases
    }

    /// The table of phrases; empty where there are none.
    pub fn phrases(&self) -> &[i32] {
        &self.phrases
    }
}

/// An entry for each id that has a bias or is forbidden for some time.
fn biases(sampling: &Sampling, prompt_length: usize, eos: &[u32], vocab: usize) -> Vec<[i32; 3]> {
    let forbidden = sampling.constraints.forbidden(prompt_length, eos);
    let mut biases: BTreeMap<u32, (f32, u32)> =
        sampling.logit_bias.iter().map(|(id, bias)| (*id, (*bias, 0))).collect();
    for (id, until) in forbidden.into_iter().filter(|(id, _)| (*id as usize) < vocab) {
        biases.entry(id).or_default().1 = until;
    }
    biases.into_iter().map(|(id, (value, until))| [id, value.to_bits(), until].map(u32::cast_signed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_said_with_its_range() {
        let greedy = Sampling::default();
        let rows = [
            (
                Sampling { temperature: -1.0, ..greedy.clone() },
                "temperature: expected 0 (greedy) or 0.0001 to 100, found -1",
            ),
            (
                Sampling { temperature: f32::NAN, ..greedy.clone() },
                "temperature: expected 0 (greedy) or 0.0001 to 100, found NaN",
            ),
            (Sampling { top_p: 0.0, ..greedy.clone() }, "top-p: expected above 0 to 1, found 0"),
            (Sampling { min_p: 1.5, ..greedy.clone() }, "min-p: expected 0 to 1, found 1.5"),
            (Sampling { repeat_penalty: 0.0, ..greedy.clone() }, "repeat-penalty: expected 0.01 to 100, found 0"),
            (
                Sampling { logit_bias: vec![(10, 1.0)], ..greedy.clone() },
                "logit-bias: expected an id from 0 to 9, found 10",
            ),
            (
                Sampling { logit_bias: vec![(1, 1e9)], ..greedy.clone() },
                "logit-bias: expected -100 to 100, found 1000000000",
            ),
        ];
        for (sampling, details) in rows {
            let error = sampling.check(10).expect_err("out of range").to_string();
            assert!(error.contains(details), "{error}");
        }
        assert!(greedy.check(10).is_ok() && greedy.is_greedy());
    }

    #[test]
    fn of_equal_biases_the_last_counts() {
        let sampling = Sampling { logit_bias: vec![(3, 1.0), (1, 2.0), (3, -5.0)], ..Sampling::default() };
        let row = RowParameters::new(&sampling, 4, &[], 10);
        let bits = |value: f32| value.to_bits().cast_signed();
        assert_eq!(row.biases(), [[1, bits(2.0), 0], [3, bits(-5.0), 0]]);
        assert_eq!(row.words(7, 9)[word::BIAS_START as usize..][..4], [7, 2, 0, 0]);
    }

    #[test]
    fn a_bias_and_a_rule_for_one_id_are_one_entry() {
        let constraints = Constraints { bad_words: vec![vec![1, 2]], min_tokens: 3, ..Constraints::default() };
        let sampling = Sampling { logit_bias: vec![(9, 1.0)], constraints, ..Sampling::default() };
        let row = RowParameters::new(&sampling, 4, &[9, 10], 10);
        assert_eq!(row.biases(), [[9, 1.0_f32.to_bits().cast_signed(), 7]]);
        assert_eq!(row.words(7, 9)[word::BIAS_START as usize..][..4], [7, 1, 0, 9]);
    }
}
