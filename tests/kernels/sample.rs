//! Rows of `sample`, and its distribution.
use gpu_kernels::{Ptr, Sample, sample, sampling};

use crate::data::Data;
use crate::mutants::{BARRIER, Defect};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, vocab, temperature, top-k, top-p, min-p, how many different logits there are (few: many ties).
type Shape = (usize, usize, f32, u32, f64, f64, usize);
const SHAPES: [Shape; 20] = [
    (1, 8192, 1.0, 0, 1.0, 0.0, 1 << 20),
    (3, 9001, 3.0, 50, 0.9, 0.0, 1 << 20),
    (5, 12_289, 20.0, 0, 0.5, 0.0, 300),
    (1, 40_000, 50.0, 20_000, 0.99, 0.01, 1 << 20),
    (1, 1, 1.0, 0, 1.0, 0.0, 9),
    (2, 2, 1.0, 0, 1.0, 0.0, 9),
    (7, 31, 0.7, 0, 1.0, 0.0, 200),
    (7, 33, 1.5, 5, 1.0, 0.0, 200),
    (7, 64, 1.0, 0, 0.8, 0.0, 200),
    (5, 65, 2.0, 0, 1.0, 0.2, 200),
    (9, 130, 1.0, 40, 0.95, 0.05, 300),
    (9, 1000, 1.0, 1, 1.0, 0.0, 4000),
    (4, 1023, 3.0, 17, 0.5, 0.0, 100),
    (3, 1025, 1.0, 1025, 0.01, 0.0, 3),
    (5, 4096, 5.0, 0, 0.9, 0.0, 1 << 20),
    (3, 4099, 10.0, 3000, 0.99, 0.001, 1 << 20),
    (2, 8193, 100.0, 0, 1.0, 0.0, 1 << 20),
    (2, 32_000, 4.0, 100, 0.999, 0.0, 1 << 20),
    (3, 5000, 0.01, 0, 0.5, 0.0, 2),
    (2, 6007, 1.0, 6000, 1.0, 0.0, 1),
];

pub fn rows() -> Vec<Row<Sample>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, vocab, temperature, top_k, top_p, min_p, levels): Shape) -> Row<Sample> {
    let mut random = Random::new(seed);
    let mut logit = || random.below(levels) as f32 * 20.0 / levels as f32 - 9.0;
    let logits: Vec<f32> = (0..rows * vocab).map(|_| logit()).collect();
    let slots = random.permutation(rows + 2)[..rows].to_vec();
    let mut sampled = vec![-7; rows + 2];
    for (row, slot) in logits.chunks(vocab).zip(&slots) {
        let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        sampled[*slot] = row.iter().position(|logit| *logit == best).expect("a row has a best") as i32;
    }
    let mut parameters = Vec::new();
    for row in 0..rows {
        // Every fifth row is greedy.
        let inverse_temperature = if row % 5 == 4 { 0.0 } else { 1.0 / temperature };
        parameters.extend(words(inverse_temperature, top_k, top_p, min_p, 77 + seed));
    }
    let index: Vec<i32> = random.permutation(rows + 1)[..rows].iter().map(|row| *row as i32).collect();
    let mut data = Data::default();
    let kernel = Sample {
        logits: data.reals("logits", logits),
        sampling: data.integers("sampling", parameters),
        slots: data.integers("slots", slots.iter().map(|slot| *slot as i32).collect()),
        index: data.integers("index", index),
        positions: data.integers("positions", (0..=rows as i32).map(|row| row * 3 + 5).collect()),
        sampled: data.integers("sampled", sampled),
        shared: data.integers("shared", vec![0; (2 * sample::TEAMS * sample::TOLD_WORDS) as usize]),
        arrivals: data.integers("arrivals", vec![0; sample::TEAMS as usize]),
        rows: rows as u32,
        vocab: vocab as u32,
    };
    Row {
        name: format!("rows {rows}, vocab {vocab}, T {temperature}, k {top_k}, p {top_p}, min {min_p}"),
        kernel,
        data,
    }
}

fn words(inverse_temperature: f32, top_k: u32, top_p: f64, min_p: f64, seed: u64) -> [i32; sampling::WORDS as usize] {
    let mut words = [0_u32; sampling::WORDS as usize];
    words[sampling::INVERSE_TEMPERATURE as usize] = inverse_temperature.to_bits();
    words[sampling::TOP_K as usize] = top_k;
    words[sampling::TOP_P as usize] = if top_p < 1.0 { (top_p * 2f64.powi(32)) as u32 } else { 0 };
    words[sampling::MIN_P_DISTANCE as usize] = ((-min_p.ln() * 2f64.powi(19)) as u32).min(sampling::MAX_DISTANCE);
    words[sampling::SEED as usize] = seed as u32;
    words[sampling::SEED_HIGH as usize] = (seed >> 32) as u32;
    words[sampling::STREAM as usize] = 3;
    words.map(u32::cast_signed)
}

/// Weights in f64 of the tokens that the filters keep, found by sorting.
fn weights(logits: &[f64], parameters: &[i32]) -> Vec<f64> {
    let word = |word: u32| parameters[word as usize].cast_unsigned();
    let inverse_temperature = f64::from(f32::from_bits(word(sampling::INVERSE_TEMPERATURE)));
    let single = |value: f64| f64::from(value as f32);
    let best = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let distance = |logit: &f64| {
        let scaled = single(single(best - logit) * inverse_temperature) * 2f64.powi(19);
        scaled.trunc().min(f64::from(sampling::MAX_DISTANCE))
    };
    let distances: Vec<f64> = logits.iter().map(distance).collect();
    let weight = |distance: f64| (2f64.powi(40) * (-distance * 2f64.powi(-19)).exp()).trunc();
    let mut sorted = distances.clone();
    sorted.sort_by(f64::total_cmp);
    let mut limit = f64::INFINITY;
    if word(sampling::TOP_K) > 0 {
        limit = sorted[word(sampling::TOP_K) as usize - 1];
    }
    if word(sampling::TOP_P) > 0 {
        let kept = || sorted.iter().copied().filter(|distance| *distance <= limit);
        let target = kept().map(weight).sum::<f64>() * f64::from(word(sampling::TOP_P)) * 2f64.powi(-32);
        let mut before = 0.0;
        limit = kept()
            .take_while(|distance| {
                let enters = before < target;
                before += weight(*distance);
                enters
            })
            .last()
            .expect("top-p keeps a token");
    }
    limit = limit.min(f64::from(word(sampling::MIN_P_DISTANCE)));
    distances.iter().map(|distance| if *distance <= limit { weight(*distance) } else { 0.0 }).collect()
}

/// Philox4x32-10 in wide arithmetic, as a number from 0 to 1.
fn uniform(seed: u64, position: i32, stream: i32) -> f64 {
    let low = |value: u64| value & u64::from(u32::MAX);
    let (mut x, mut key) = ([position as u64, stream as u64, 0, 0], [low(seed), seed >> 32]);
    for _ in 0..10 {
        let (a, b) = (x[0] * 3_528_531_795, x[2] * 3_449_720_151);
        x = [(b >> 32) ^ x[1] ^ key[0], low(b), (a >> 32) ^ x[3] ^ key[1], low(a)];
        key = [low(key[0] + 2_654_435_769), low(key[1] + 3_144_134_277)];
    }
    (x[1] as f64 + x[0] as f64 / 2f64.powi(32)) / 2f64.powi(32)
}

impl Oracle for Sample {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[BARRIER];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let logits = data.f64s(self.logits);
        let mut sampled = vec![Want::Kept; data.i32s(self.sampled).len()];
        for (row, logits) in logits.chunks(self.vocab as usize).enumerate() {
            let parameters = &data.i32s(self.sampling)[row * sampling::WORDS as usize..][..sampling::WORDS as usize];
            let word = |word: u32| parameters[word as usize];
            if word(sampling::INVERSE_TEMPERATURE) == 0 {
                continue;
            }
            let weights = weights(logits, parameters);
            let seed = u64::from(word(sampling::SEED).cast_unsigned())
                | u64::from(word(sampling::SEED_HIGH).cast_unsigned()) << 32;
            let position = data.i32s(self.positions)[data.i32s(self.index)[row] as usize] + 1;
            let share = uniform(seed, position, word(sampling::STREAM)) * weights.iter().sum::<f64>();
            let mut sum = 0.0;
            let passed = |weight: &f64| {
                sum += weight;
                sum > share
            };
            let choice = weights.iter().position(passed).expect("the sum passes every share of it");
            sampled[data.i32s(self.slots)[row] as usize] = Want::exact(choice as f64);
        }
        let any = |of: Ptr<i32>| Written::new(of, vec![Want::Any; data.i32s(of).len()]);
        vec![Written::new(self.sampled, sampled), any(self.shared), any(self.arrivals)]
    }
}
