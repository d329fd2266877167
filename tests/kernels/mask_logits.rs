//! Rows of `mask_logits`.
use gpu_kernels::MaskLogits;

use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, vocab; every third row has no mask, and the masks of the others stand in the order of the last row to the first.
const SHAPES: [(usize, usize); 16] = [
    (1, 1),
    (3, 5),
    (4, 31),
    (2, 33),
    (3, 257),
    (9, 600),
    (9, 900),
    (9, 1100),
    (9, 1300),
    (9, 1600),
    (2, 2047),
    (3, 2048),
    (5, 2049),
    (7, 100),
    (4, 6001),
    (65, 33),
];

pub fn rows() -> Vec<Row<MaskLogits>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, vocab): (usize, usize)) -> Row<MaskLogits> {
    let (mut data, mut random) = (Data::default(), Random::new(seed));
    let words = vocab.div_ceil(32);
    let index = |row: usize| if row % 3 == 1 { -1 } else { ((rows - 1 - row) * words) as i32 };
    // A third of the bits, and rows that allow nothing or everything.
    let word = |random: &mut Random, at: usize| match at / words % 5 {
        3 => 0,
        4 => -1,
        _ => (0..32).fold(0, |word, bit| word | (i32::from(random.below(3) == 0) << bit)),
    };
    let masks = (0..rows * words).map(|at| word(&mut random, at)).collect();
    let kernel = MaskLogits {
        logits: data.reals("logits", random.reals(rows * vocab, 1.0)),
        index: data.integers("index", (0..rows).map(index).collect()),
        masks: data.integers("masks", masks),
        rows: rows as u32,
        vocab: vocab as u32,
    };
    Row { name: format!("rows {rows}, vocab {vocab}"), kernel, data }
}

impl Oracle for MaskLogits {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (masks, vocab) = (data.i32s(self.masks), self.vocab as usize);
        let allows = |index: i32, id: usize| match usize::try_from(index) {
            Ok(first) => masks[first + id / 32].cast_unsigned() & (1 << (id % 32)) != 0,
            Err(_) => true,
        };
        let want = |index, id| if allows(index, id) { Want::Kept } else { Want::exact(f64::NEG_INFINITY) };
        let wants = data.i32s(self.index).iter().flat_map(|&index| (0..vocab).map(move |id| (index, id)));
        vec![Written::new(self.logits, wants.map(|(index, id)| want(index, id)).collect())]
    }
}
