//! Rows of `top_logprobs`.
use gpu_kernels::{TopLogprobs, sampling, top_logprobs};

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, EDGE, LANES, STRIDE, TERM};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

const BEST: usize = top_logprobs::BEST as usize;
const WORDS: usize = top_logprobs::WORDS as usize;

/// Rows, vocab, how many different logits there are (few: many ties), the distance between two.
const SHAPES: [(usize, usize, usize, f32); 20] = [
    (4, 300, 1 << 20, 1e-5),
    (1, 1, 1, 1.0),
    (3, 19, 1 << 20, 1e-5),
    (2, 20, 3, 1.0),
    (4, 21, 1 << 20, 1e-5),
    (3, 33, 1, -1.0),
    (5, 1000, 2, 1e-3),
    (4, 4096, 1 << 20, 1e-6),
    (3, 4097, 40, 0.01),
    (2, 8193, 1 << 20, 2e-5),
    (1, 12_289, 3, 0.1),
    (2, 70, 9, 1e30),
    (66, 257, 1 << 20, 1e-7),
    (1, 1400, 1 << 20, 1e-5),
    (1, 1900, 1 << 20, 1e-5),
    (1, 2400, 1 << 20, 1e-5),
    (1, 2900, 1 << 20, 1e-5),
    (1, 3400, 1 << 20, 1e-5),
    (1, 3900, 1 << 20, 1e-5),
    (1, 135_173, 1 << 20, 1e-5),
];

pub fn rows() -> Vec<Row<TopLogprobs>> {
    let shapes = SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape));
    [masked(), one_block_has_all()].into_iter().chain(shapes).collect()
}

fn row(seed: u64, (rows, vocab, levels, step): (usize, usize, usize, f32)) -> Row<TopLogprobs> {
    let mut random = Random::new(seed);
    let logits = (0..rows * vocab).map(|_| (random.below(levels) as f32 - levels as f32 / 2.0) * step).collect();
    kernel(format!("rows {rows}, vocab {vocab}, {levels} levels of {step:e}"), logits, rows, &mut random)
}

/// −∞ nearly everywhere: in a whole block, in all but a few places, and in all but one.
fn masked() -> Row<TopLogprobs> {
    let (vocab, mut random) = (4500, Random::new(30));
    let mut logits = vec![f32::NEG_INFINITY; 4 * vocab];
    logits[..4096].copy_from_slice(&random.reals(4096, 1.0));
    [3, 700, 4200, 4499].iter().for_each(|place| logits[vocab + place] = *place as f32 * 1e-3);
    logits[2 * vocab + 4300] = -1e30;
    logits[3 * vocab + 4096..].copy_from_slice(&random.reals(vocab - 4096, 1.0));
    kernel("rows of −∞".to_owned(), logits, 4, &mut random)
}

/// The best tokens are neighbours, so that one block, one warp and one thread have more of them than others; the last block's
/// candidates are more than its threads.
fn one_block_has_all() -> Row<TopLogprobs> {
    let (vocab, mut random) = (14 * 4096 + 3, Random::new(31));
    let mut logits = random.reals(2 * vocab, 1.0);
    (0..25).for_each(|k| logits[13 * 4096 + 40 + k] += 20.0 + k as f32 / 8.0);
    // Every 256th token is the same thread's.
    (0..25).for_each(|k| logits[vocab + 3 * 4096 + 77 + 256 * (k % 16) + k / 16] += 20.0 - k as f32 / 8.0);
    kernel("the best in one block and in one thread".to_owned(), logits, 2, &mut random)
}

fn kernel(name: String, logits: Vec<f32>, rows: usize, random: &mut Random) -> Row<TopLogprobs> {
    let vocab = logits.len() / rows;
    let slots: Vec<i32> = random.permutation(rows + 2)[..rows].iter().map(|slot| *slot as i32).collect();
    // Of four rows two are asked for with the chosen token, one is not, and one with another token.
    let asked = |row: usize| match row % 4 {
        2 => sampling::NOT_ASKED,
        3 => (vocab / 2) as i32,
        _ => sampling::CHOSEN,
    };
    let mut data = Data::default();
    let kernel = TopLogprobs {
        logits: data.reals("logits", logits),
        asked: data.integers("asked", (0..rows).map(asked).collect()),
        slots: data.integers("slots", slots),
        sampled: data.integers("sampled", (0..rows + 2).map(|_| random.below(vocab) as i32).collect()),
        results: data.integers("results", vec![-7; (rows + 2) * WORDS]),
        found: data.undefined("found", rows * top_logprobs::blocks(vocab as u32) as usize * WORDS),
        counters: data.integers("counters", vec![0; rows]),
        rows: rows as u32,
        vocab: vocab as u32,
    };
    Row { name, kernel, data }
}

impl Oracle for TopLogprobs {
    const C: f64 = 1.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE, LANES, TERM, BARRIER];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let logits = data.f64s(self.logits);
        let mut results = vec![Want::Kept; data.i32s(self.results).len()];
        let rows = logits.chunks(self.vocab as usize).zip(data.i32s(self.asked)).zip(data.i32s(self.slots));
        for ((row, asked), slot) in rows.filter(|((_, asked), _)| **asked != -2) {
            let token = if *asked == -1 { data.i32s(self.sampled)[*slot as usize] } else { *asked };
            results[*slot as usize * WORDS..][..WORDS].copy_from_slice(&wanted(row, token as usize));
        }
        let counters = data.i32s(self.counters).iter().map(|count| Want::exact(f64::from(*count))).collect();
        let found = vec![Want::Any; self.rows as usize * top_logprobs::blocks(self.vocab) as usize * WORDS];
        vec![
            Written::new(self.results, results),
            Written::new(self.found, found),
            Written::new(self.counters, counters),
        ]
    }
}

fn wanted(row: &[f64], token: usize) -> Vec<Want> {
    let mut ids: Vec<usize> = (0..row.len()).collect();
    // Stable: equals stay in the order of their ids.
    ids.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
    let far = |logit: &f64| row[ids[0]] - logit;
    let terms = || row.iter().filter(|logit| **logit > f64::NEG_INFINITY);
    let sum = terms().map(|logit| (-far(logit)).exp()).sum();
    // Far away the exponential is 0, whatever the distance.
    let error = terms().map(|logit| (-far(logit)).exp() * (far(logit).min(200.0) + 56.0)).sum();
    let bits = |value: f64| Want::bits(value, 0.0);
    let mut wants = vec![Want::bits(sum, error), bits(row[token])];
    wants.extend((0..BEST).map(|rank| Want::exact(ids.get(rank).map_or(-1.0, |id| *id as f64))));
    wants.extend((0..BEST).map(|rank| bits(ids.get(rank).map_or(f64::NEG_INFINITY, |id| row[*id]))));
    wants
}
