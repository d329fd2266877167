//! Rows of `keep_logits`.
use gpu_kernels::{KeepLogits, sampling};

use crate::data::Data;
use crate::mutants::{Defect, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, vocab; every third row is not asked for, every third one with a token.
const SHAPES: [(usize, usize); 10] =
    [(1, 1), (3, 5), (4, 255), (3, 257), (2, 2047), (3, 2048), (5, 2049), (7, 100), (4, 6001), (65, 33)];

pub fn rows() -> Vec<Row<KeepLogits>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, vocab): (usize, usize)) -> Row<KeepLogits> {
    let mut data = Data::default();
    let asked = |row: usize| [sampling::CHOSEN, sampling::NOT_ASKED, (vocab - 1) as i32][row % 3];
    let kernel = KeepLogits {
        logits: data.reals("logits", Random::new(seed).reals(rows * vocab, 1.0)),
        asked: data.integers("asked", (0..rows).map(asked).collect()),
        kept: data.undefined("kept", rows * vocab),
        rows: rows as u32,
        vocab: vocab as u32,
    };
    Row { name: format!("rows {rows}, vocab {vocab}"), kernel, data }
}

impl Oracle for KeepLogits {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let logits = data.f64s(self.logits);
        let wants = logits.chunks(self.vocab as usize).zip(data.i32s(self.asked)).flat_map(|(row, asked)| {
            row.iter().map(|logit| if *asked == -2 { Want::Kept } else { Want::exact(*logit) })
        });
        vec![Written::new(self.kept, wants.collect())]
    }
}
