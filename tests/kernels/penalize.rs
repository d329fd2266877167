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

pub fn rows() -> Vec<Row<Penalize>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, vocab, context, deepest, penalties, biases): Shape) -> Row<Penalize> {
    let mut random = Random::new(seed);
    let mut parameters = Vec::new();
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
        }
        parameters.extend(words);
    }
    let ids = (0..rows).flat_map(|_| random.permutation(vocab)[..biases].to_vec()).map(|id| id as i32).collect();
    let values = random.reals(rows * biases, 3.0).into_iter().map(|value| value.to_bits().cast_signed()).collect();
    let slots = random.permutation(rows + 1)[..rows].iter().map(|slot| *slot as i32).collect();
    let index = random.permutation(rows + 3)[..rows].iter().map(|row| *row as i32).collect();
    let positions = (0..rows + 3).map(|row| (deepest - 1 - row % deepest.min(3)) as i32).collect();
    let history = (0..(rows + 1) * context).map(|_| random.below(vocab) as i32).collect();
    let logits = random.reals(rows * vocab, 8.0);
    let mut data = Data::default();
    let kernel = Penalize {
        logits: data.reals("logits", logits),
        sampling: data.integers("sampling", parameters),
        bias_ids: data.integers("bias_ids", ids),
        bias_values: data.integers("bias_values", values),
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

impl Oracle for Penalize {
    const C: f64 = 4.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[BARRIER, FACTOR, TERM];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (vocab, words) = (self.vocab as usize, sampling::WORDS as usize);
        let logits = data.f64s(self.logits);
        let mut wants = Vec::new();
        for row in 0..self.rows as usize {
            let parameters = &data.i32s(self.sampling)[row * words..][..words];
            let float = |word: u32| f64::from(f32::from_bits(parameters[word as usize].cast_unsigned()));
            let mut biases = vec![0.0; vocab];
            let start = parameters[sampling::BIAS_START as usize] as usize;
            for bias in start..start + parameters[sampling::BIAS_COUNT as usize] as usize {
                let value = f32::from_bits(data.i32s(self.bias_values)[bias].cast_unsigned());
                biases[data.i32s(self.bias_ids)[bias] as usize] = f64::from(value);
            }
            let last = data.i32s(self.positions)[data.i32s(self.index)[row] as usize] as usize;
            let history = &data.i32s(self.history)[data.i32s(self.slots)[row] as usize * self.context as usize..];
            let (prompt, generated) =
                history[..=last].split_at((parameters[sampling::PROMPT_LENGTH as usize] as usize).min(last + 1));
            for (token, bias) in biases.into_iter().enumerate() {
                let mut value = logits[row * vocab + token];
                let mut error = value.abs();
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
                wants.push(Want::near(value + bias, error + bias.abs()));
            }
        }
        let counts = vec![Want::Any; self.rows as usize * vocab];
        vec![Written::new(self.logits, wants), Written::new(self.counts, counts)]
    }
}
