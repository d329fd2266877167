//! Rows of `argmax`.
use gpu_kernels::Argmax;

use crate::data::Data;
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, vocab, how many different logits there are (few: many ties), factor of the logits.
const SHAPES: [(usize, usize, usize, f32); 13] = [
    (1, 1, 1, 1.0),
    (1, 2, 1, 1.0),
    (3, 5, 2, 1.0),
    (2, 31, 9, 1e30),
    (5, 33, 3, 1.0),
    (7, 130, 1, -1.0),
    (1, 1023, 1 << 20, 1.0),
    (2, 4096, 50, 1e4),
    (3, 4097, 1 << 20, 1e-30),
    (1, 4100, 2, 1.0),
    (2, 8193, 200, 1.0),
    (1, 32_000, 300, 1.0),
    (3, 2178, 1 << 20, 10.0),
];

pub fn rows() -> Vec<Row<Argmax>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, vocab, levels, factor): (usize, usize, usize, f32)) -> Row<Argmax> {
    let mut random = Random::new(seed);
    let mut logit = || (random.below(levels) as f32 - levels as f32 / 2.0) * factor;
    let logits = (0..rows * vocab).map(|_| logit()).collect();
    let mut data = Data::default();
    let kernel = Argmax {
        logits: data.reals("logits", logits),
        slots: data.integers("slots", random.permutation(rows + 2)[..rows].iter().map(|slot| *slot as i32).collect()),
        sampled: data.integers("sampled", vec![-7; rows + 2]),
        rows: rows as u32,
        vocab: vocab as u32,
    };
    Row { name: format!("rows {rows}, vocab {vocab}, {levels} levels of {factor:e}"), kernel, data }
}

impl Oracle for Argmax {
    const C: f64 = 0.0;
    const D: f64 = 0.0;

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let logits = data.f64s(self.logits);
        let mut sampled = vec![Want::Kept; data.i32s(self.sampled).len()];
        for (row, slot) in logits.chunks(self.vocab as usize).zip(data.i32s(self.slots)) {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let first = row.iter().position(|logit| *logit == max).expect("a row has a maximum");
            sampled[*slot as usize] = Want::exact(first as f64);
        }
        vec![Written::new(self.sampled, sampled)]
    }
}
