//! Rows of `penalize`.
use gpu_kernels::{Penalize, sampling};

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, FACTOR, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, vocab, context, tokens of the deepest history, repeat, presence and frequency penalty, biases of a row.
type Shape = (usize, usize, usize, usize, [f32; 3], usize);
const SHAPES: [Shape; 12] = [
    (1, 1, 1, 1, [1.5, 0.0, 0.0], 0),
    (1, 7, 4, 4, [1.0, 0.5, 0.0], 1),
    (2, 33, 40, 33, [1.0, 0.0, 0.25], 5),
    (3, 5, 300, 257, [1.3, 0.7, 0.1], 2),
    (5, 100, 256, 256, [0.5, -1.0, -0.3], 31),
    (1, 1000, 600, 513, [1.1, 0.0, 0.0], 257),
    (4, 31, 64, 31, [2.0, 2.0, 2.0], 0),
    (7, 64, 20, 20, [1.0, 0.0, 0.0], 3),
    (2, 3, 500, 499, [1.7, 0.1, 0.01], 3),
    (1, 4097, 128, 100, [1.2, 0.4, 0.2], 9),
    (33, 40, 65, 65, [1.05, 0.0, 0.3], 4),
    (3, 2, 2, 2, [1.25, 1.5, 0.5], 1),
];

/// Tokens of the n-grams that may not come again, of every fourth shape.
const NGRAMS: [i32; 4] = [0, 1, 2, 3];

pub fn rows() -> Vec<Row<Penalize>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, vocab, context, deepest, penalties, biases): Shape) -> Row<Penalize> {
    let mut random = Random::new(seed);
    let history: Vec<i32> = (0..(rows + 1) * context).map(|_| random.below(vocab) as i32).collect();
    let slots: Vec<i32> = random.permutation(rows + 1)[..rows].iter().map(|slot| *slot as i32).collect();
    let index: Vec<i32> = random.permutation(rows + 3)[..rows].iter().map(|row| *row as i32).collect();
    let positions: Vec<i32> = (0..rows + 3).map(|row| (deepest - 1 - row % deepest.min(3)) as i32).collect();
    let (mut parameters, mut phrases) = (Vec::new(), vec![0]);
    for row in 0..rows {
        let mut words = [0_i32; sampling::WORDS as usize];
        // Every fourth row has neither penalties nor biases, as one that is greedy.
        if row % 4 != 3 {
            words[sampling::PENALIZES as usize] = i32::from(penalties != [1.0, 0.0, 0.0]);
            for (word, penalty) in (sampling::REPEAT_PENALTY..).zip(penalties) {
                words[word as usize] = penalty.to_bits().cast_signed();
            }
            words[sampling::PROMPT_LENGTH as usize] = random.below(deepest + 1) as i32;
            words[sampling::BIAS_START as usize] = (row * biases) as i32;
            words[sampling::BIAS_COUNT as usize] = biases as i32;
            words[sampling::NGRAM as usize] = NGRAMS[(seed as usize + row) % 4];
            if row % 4 != 1 {
                let text = &history[slots[row] as usize * context..][..=positions[index[row] as usize] as usize];
                words[sampling::PHRASES as usize] = phrases.len() as i32;
                phrases.extend(table(&mut random, vocab, text, if row % 4 == 0 { 5 } else { 300 }));
            }
        }
        parameters.extend(words);
    }
    let ids = (0..rows).flat_map(|_| random.permutation(vocab)[..biases].to_vec()).map(|id| id as i32).collect();
    let values = random.reals(rows * biases, 3.0).into_iter().map(|value| value.to_bits().cast_signed()).collect();
    // Some are never forbidden, some always, and some until about now.
    let until =
        (0..rows * biases).map(|_| [0, -1, deepest as i32 - random.below(4) as i32 + 1][random.below(3)]).collect();
    let mut logits = random.reals(rows * vocab, 8.0);
    // What is no number stays none, forbidden or not.
    if seed % 4 == 3 {
        logits.iter_mut().step_by(3).for_each(|logit| *logit = f32::NAN);
        logits.iter_mut().step_by(11).for_each(|logit| *logit = f32::INFINITY);
    }
    let mut data = Data::default();
    let kernel = Penalize {
        logits: data.reals("logits", logits),
        sampling: data.integers("sampling", parameters),
        bias_ids: data.integers("bias_ids", ids),
        bias_values: data.integers("bias_values", values),
        bias_until: data.integers("bias_until", until),
        phrases: data.integers("phrases", phrases),
        history: data.integers("history", history),
        slots: data.integers("slots", slots),
        index: data.integers("index", index),
        positions: data.integers("positions", positions),
        counts: data.undefined("counts", rows * vocab),
        rows: rows as u32,
        vocab: vocab as u32,
        context: context as u32,
    };
    Row { name: format!("rows {rows}, vocab {vocab}, {deepest} tokens, {penalties:?}, {biases} biases"), kernel, data }
}

/// `count` phrases of up to 4 ids: the others of about half of them are the end of `text`, some are longer than it is.
fn table(random: &mut Random, vocab: usize, text: &[i32], count: usize) -> Vec<i32> {
    let mut phrases: Vec<(i32, f32, Vec<i32>)> = Vec::new();
    for number in 0..count {
        let ids = (0..random.below(4)).map(|_| random.below(vocab) as i32).collect::<Vec<_>>();
        let begun = text[text.len().saturating_sub(number % 4)..].to_vec();
        let others = match number % 7 {
            0..4 => begun,
            4 => [&[0][..], text].concat(),
            _ => ids,
        };
        let value = if number % 5 == 2 { f32::NEG_INFINITY } else { random.reals(1, 3.0)[0] };
        phrases.push((random.below(vocab) as i32, value, others));
    }
    phrases.sort_by_key(|(last, ..)| *last);
    let (mut words, mut start) = (vec![count as i32], 1 + sampling::PHRASE_WORDS as i32 * count as i32);
    for (last, value, others) in &phrases {
        words.extend([*last, value.to_bits().cast_signed(), start, others.len() as i32]);
        start += others.len() as i32;
    }
    words.extend(phrases.iter().flat_map(|(.., others)| others));
    words
}

/// What phrases add to the logit of `token`, and the sum of the sizes.
fn phrase_bias(table: &[i32], text: &[i32], token: usize) -> (f64, f64) {
    let (mut sum, mut size) = (0.0, 0.0);
    for phrase in 0..table[0] as usize {
        let [last, value, start, count] = table[1 + 4 * phrase..][..4] else { unreachable!("four words") };
        if last as usize == token && text.ends_with(&table[start as usize..][..count as usize]) {
            let value = f64::from(f32::from_bits(value.cast_unsigned()));
            (sum, size) = (sum + value, 2.0 * size + value.abs());
        }
    }
    (sum, size)
}

/// Whether `token` would complete `size` tokens that `text` has already.
fn repeats(text: &[i32], size: usize, token: usize) -> bool {
    if size == 0 || text.len() + 1 < size {
        return false;
    }
    let next: Vec<i32> = text[text.len() + 1 - size..].iter().copied().chain([token as i32]).collect();
    text.windows(size).any(|ngram| ngram == next)
}

impl Oracle for Penalize {
    const C: f64 = 8.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[BARRIER, FACTOR, TERM];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (vocab, words) = (self.vocab as usize, sampling::WORDS as usize);
        let logits = data.f64s(self.logits);
        let mut wants = Vec::new();
        for row in 0..self.rows as usize {
            let parameters = &data.i32s(self.sampling)[row * words..][..words];
            let float = |word: u32| f64::from(f32::from_bits(parameters[word as usize].cast_unsigned()));
            let last = data.i32s(self.positions)[data.i32s(self.index)[row] as usize] as usize;
            let mut biases = vec![0.0; vocab];
            let start = parameters[sampling::BIAS_START as usize] as usize;
            for bias in start..start + parameters[sampling::BIAS_COUNT as usize] as usize {
                let value = f32::from_bits(data.i32s(self.bias_values)[bias].cast_unsigned());
                let forbidden = (last as u32 + 1) < data.i32s(self.bias_until)[bias].cast_unsigned();
                let value = if forbidden { f64::NEG_INFINITY } else { f64::from(value) };
                biases[data.i32s(self.bias_ids)[bias] as usize] = value;
            }
            let history = &data.i32s(self.history)[data.i32s(self.slots)[row] as usize * self.context as usize..];
            let (prompt, generated) =
                history[..=last].split_at((parameters[sampling::PROMPT_LENGTH as usize] as usize).min(last + 1));
            let text = &history[..=last];
            let table = parameters[sampling::PHRASES as usize] as usize;
            let ngram = parameters[sampling::NGRAM as usize] as usize;
            for (token, bias) in biases.into_iter().enumerate() {
                let mut value = logits[row * vocab + token];
                let mut error = value.abs();
                if table > 0 {
                    let (sum, size) = phrase_bias(&data.i32s(self.phrases)[table..], text, token);
                    (value, error) = (value + sum, error + size);
                }
                let count = generated.iter().filter(|id| **id as usize == token).count() as f64;
                let there = count > 0.0 || prompt.iter().any(|id| *id as usize == token);
                if parameters[sampling::PENALIZES as usize] != 0 && there {
                    let repeat = float(sampling::REPEAT_PENALTY);
                    value = if value > 0.0 { value / repeat } else { value * repeat };
                    let presence = if count > 0.0 { float(sampling::PRESENCE_PENALTY) } else { 0.0 };
                    let frequency = count * float(sampling::FREQUENCY_PENALTY);
                    error += value.abs() + frequency.abs() + presence.abs();
                    value -= frequency + presence;
                }
                let value = value + bias + if repeats(text, ngram, token) { f64::NEG_INFINITY } else { 0.0 };
                wants.push(if !value.is_finite() { Want::exact(value) } else { Want::near(value, error + bias.abs()) });
            }
        }
        let counts = vec![Want::Any; self.rows as usize * vocab];
        vec![Written::new(self.logits, wants), Written::new(self.counts, counts)]
    }
}
