//! Rows of `sample`, and its distribution.
use gpu_kernels::{Sample, sampling, team};

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

/// What the kernels that sample read, for one shape.
pub struct Case {
    pub logits: Vec<f32>,
    pub parameters: Vec<i32>,
    pub slots: Vec<i32>,
    pub sampled: Vec<i32>,
    pub rows: u32,
    pub vocab: u32,
    pub name: String,
}

pub fn cases() -> impl Iterator<Item = Case> {
    SHAPES.iter().enumerate().map(|(seed, shape)| Case::new(&mut Random::new(seed as u64), seed as u64, *shape))
}

impl Case {
    fn new(random: &mut Random, seed: u64, (rows, vocab, temperature, top_k, top_p, min_p, levels): Shape) -> Case {
        let mut logit = || random.below(levels) as f32 * 20.0 / levels as f32 - 9.0;
        let logits: Vec<f32> = (0..rows * vocab).map(|_| logit()).collect();
        let slots = random.permutation(rows + 2)[..rows].to_vec();
        let mut sampled = vec![-7; rows + 2];
        for (row, slot) in logits.chunks(vocab).zip(&slots) {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            sampled[*slot] = row.iter().position(|logit| *logit == best).expect("a row has a best") as i32;
        }
        // Every fifth row is greedy.
        let inverse = |row: usize| if row % 5 == 4 { 0.0 } else { 1.0 / temperature };
        Case {
            logits,
            parameters: (0..rows).flat_map(|row| words(inverse(row), top_k, top_p, min_p, 77 + seed)).collect(),
            slots: slots.iter().map(|slot| *slot as i32).collect(),
            sampled,
            rows: rows as u32,
            vocab: vocab as u32,
            name: format!("rows {rows}, vocab {vocab}, T {temperature}, k {top_k}, p {top_p}, min {min_p}"),
        }
    }

    /// Logits and parameters of each row.
    pub fn by_row(&self) -> impl Iterator<Item = (Vec<f64>, &[i32])> {
        let logits = self.logits.chunks(self.vocab as usize);
        logits
            .map(|row| row.iter().copied().map(f64::from).collect())
            .zip(self.parameters.chunks(sampling::WORDS as usize))
    }
}

fn row(seed: u64, shape: Shape) -> Row<Sample> {
    let mut random = Random::new(seed);
    let case = Case::new(&mut random, seed, shape);
    let index: Vec<i32> = random.permutation(shape.0 + 1)[..shape.0].iter().map(|row| *row as i32).collect();
    let limits = case.by_row().flat_map(|(logits, parameters)| {
        let limit = Filtered::new(&logits, parameters).map_or(-7.0, |row| row.limit);
        [limit.min(f64::from(sampling::MAX_DISTANCE)) as i32, -7, -7, -7]
    });
    let limits = limits.collect();
    let mut data = Data::default();
    let kernel = Sample {
        logits: data.reals("logits", case.logits),
        sampling: data.integers("sampling", case.parameters),
        slots: data.integers("slots", case.slots),
        index: data.integers("index", index),
        positions: data.integers("positions", (0..=case.rows as i32).map(|row| row * 3 + 5).collect()),
        sampled: data.integers("sampled", case.sampled),
        limits: data.integers("limits", limits),
        sums: data.undefined("sums", (2 * team::TEAM_ROWS * team::TEAM_BLOCKS) as usize),
        counters: data.integers("counters", vec![0; team::TEAM_ROWS as usize]),
        rows: case.rows,
        vocab: case.vocab,
    };
    Row { name: case.name, kernel, data }
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

/// A row's distances in f64, and what top-k and top-p keep of them, found by sorting.
pub struct Filtered {
    /// Of each token.
    pub distances: Vec<f64>,
    /// The limit of top-k; infinite without it.
    pub top_k: f64,
    /// The limit of both; infinite without either.
    pub limit: f64,
}

/// The weight at a distance.
pub fn weight(distance: f64) -> f64 {
    (2f64.powi(40) * (-distance * 2f64.powi(-19)).exp()).trunc()
}

impl Filtered {
    /// None for a greedy row.
    pub fn new(logits: &[f64], parameters: &[i32]) -> Option<Filtered> {
        let word = |word: u32| parameters[word as usize].cast_unsigned();
        let inverse_temperature = f64::from(f32::from_bits(word(sampling::INVERSE_TEMPERATURE)));
        if inverse_temperature == 0.0 {
            return None;
        }
        let single = |value: f64| f64::from(value as f32);
        let best = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let distance = |logit: &f64| {
            let scaled = single(single(best - logit) * inverse_temperature) * 2f64.powi(19);
            scaled.trunc().min(f64::from(sampling::MAX_DISTANCE))
        };
        let distances: Vec<f64> = logits.iter().map(distance).collect();
        let mut sorted = distances.clone();
        sorted.sort_by(f64::total_cmp);
        let top_k = match word(sampling::TOP_K) as usize {
            0 => f64::INFINITY,
            count => sorted[count - 1],
        };
        let mut limit = top_k;
        if word(sampling::TOP_P) > 0 {
            let kept = || sorted.iter().copied().filter(|distance| *distance <= top_k);
            let target = kept().map(weight).sum::<f64>() * f64::from(word(sampling::TOP_P)) * 2f64.powi(-32);
            let mut before = 0.0;
            let within = kept().take_while(|distance| {
                let enters = before < target;
                before += weight(*distance);
                enters
            });
            limit = within.last().expect("top-p keeps a token");
        }
        Some(Filtered { distances, top_k, limit })
    }
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
            let Some(filtered) = Filtered::new(logits, parameters) else { continue };
            let limit = filtered.limit.min(f64::from(word(sampling::MIN_P_DISTANCE)));
            let weights = || filtered.distances.iter().map(|d| if *d <= limit { weight(*d) } else { 0.0 });
            let seed = u64::from(word(sampling::SEED).cast_unsigned())
                | u64::from(word(sampling::SEED_HIGH).cast_unsigned()) << 32;
            let position = data.i32s(self.positions)[data.i32s(self.index)[row] as usize] + 1;
            let share = uniform(seed, position, word(sampling::STREAM)) * weights().sum::<f64>();
            let mut sum = 0.0;
            let passed = |weight: f64| {
                sum += weight;
                sum > share
            };
            let choice = weights().position(passed).expect("the sum passes every share of it");
            sampled[data.i32s(self.slots)[row] as usize] = Want::exact(choice as f64);
        }
        let sums = vec![Want::Any; (2 * team::TEAM_ROWS * team::TEAM_BLOCKS) as usize];
        let counters = vec![Want::exact(0.0); team::TEAM_ROWS as usize];
        vec![Written::new(self.sampled, sampled), Written::new(self.sums, sums), Written::new(self.counters, counters)]
    }
}
