//! Rows of `history_append`.
use gpu_kernels::HistoryAppend;

use crate::data::Data;
use crate::mutants::{Defect, EDGE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, context, slots.
const SHAPES: [(usize, usize, usize); 11] = [
    (1, 1, 1),
    (1, 7, 3),
    (2, 64, 1),
    (3, 5, 4),
    (31, 33, 2),
    (33, 31, 7),
    (127, 50, 3),
    (128, 128, 1),
    (129, 65, 2),
    (300, 77, 4),
    (700, 1000, 1),
];

pub fn rows() -> Vec<Row<HistoryAppend>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, context, slots): (usize, usize, usize)) -> Row<HistoryAppend> {
    let mut random = Random::new(seed);
    let integers = |values: Vec<usize>| values.into_iter().map(|value| value as i32).collect::<Vec<_>>();
    // Different places, in any order.
    let places = random.permutation(slots * context)[..rows].to_vec();
    let mut id = |row: usize| if row % 3 == 2 { -1 - random.below(slots) as i32 } else { random.below(1000) as i32 };
    let ids = (0..rows).map(&mut id).collect();
    let mut data = Data::default();
    let kernel = HistoryAppend {
        ids: data.integers("ids", ids),
        sampled: data.integers("sampled", (0..slots).map(|slot| 2000 + slot as i32).collect()),
        slots: data.integers("slots", integers(places.iter().map(|place| place / context).collect())),
        positions: data.integers("positions", integers(places.iter().map(|place| place % context).collect())),
        history: data.integers("history", vec![-7; slots * context]),
        rows: rows as u32,
        context: context as u32,
    };
    Row { name: format!("rows {rows}, context {context}, slots {slots}"), kernel, data }
}

impl Oracle for HistoryAppend {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (ids, sampled) = (data.i32s(self.ids), data.i32s(self.sampled));
        let mut history = vec![Want::Kept; data.i32s(self.history).len()];
        for ((id, slot), position) in ids.iter().zip(data.i32s(self.slots)).zip(data.i32s(self.positions)) {
            let id = if *id < 0 { sampled[-(1 + *id) as usize] } else { *id };
            history[(slot * self.context as i32 + position) as usize] = Want::exact(f64::from(id));
        }
        vec![Written::new(self.history, history)]
    }
}
