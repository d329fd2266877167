//! Rows of `embed`.
use gpu_kernels::Embed;

use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, hidden, vocab; behind a table of one row there is nothing to read.
const SHAPES: [(usize, usize, usize); 16] = [
    (1, 8, 1),
    (1, 24, 7),
    (3, 8, 33),
    (7, 40, 5),
    (31, 16, 100),
    (33, 64, 31),
    (2, 1024, 9),
    (5, 1032, 4),
    (3, 2056, 17),
    (1, 3072, 11),
    (130, 24, 64),
    (2, 2056, 1),
    (2, 3592, 1),
    (2, 4104, 1),
    (2, 5128, 1),
    (1, 9224, 1),
];

pub fn rows() -> Vec<Row<Embed>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, hidden, vocab): (usize, usize, usize)) -> Row<Embed> {
    let mut random = Random::new(seed);
    let slots = 5;
    let mut data = Data::default();
    // Every third row takes its token from a slot.
    let mut id = |row| if row % 3 == 2 { -1 - random.below(slots) as i32 } else { random.below(vocab) as i32 };
    let ids = data.integers("ids", (0..rows).map(&mut id).collect());
    let sampled = data.integers("sampled", (0..slots).map(|_| random.below(vocab) as i32).collect());
    let table = data.weight("table", random.reals(vocab * hidden, 1e3), hidden);
    let out = data.undefined("out", rows * hidden);
    let kernel = Embed { ids, sampled, table, out, rows: rows as u32, hidden: hidden as u32, vocab: vocab as u32 };
    Row { name: format!("rows {rows}, hidden {hidden}, vocab {vocab}"), kernel, data }
}

impl Oracle for Embed {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (ids, sampled, table) = (data.i32s(self.ids), data.i32s(self.sampled), data.f64s(self.table));
        let hidden = self.hidden as usize;
        let token = |id: i32| if id < 0 { sampled[(-1 - id) as usize] } else { id } as usize;
        let rows = ids.iter().flat_map(|id| &table[token(*id) * hidden..][..hidden]);
        vec![Written::new(self.out, rows.map(|value| Want::exact(*value)).collect())]
    }
}
