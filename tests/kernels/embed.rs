//! Rows of `embed`.
use gpu_kernels::all_reduce::meeting::MOST_RANKS;
use gpu_kernels::{Embed, Ptr};

use crate::data::Data;
use crate::mutants::{Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Rows, columns of a table, vocab, tables; behind a table of one row there is nothing to read.
const SHAPES: [(usize, usize, usize, usize); 20] = [
    (1, 8, 1, 1),
    (1, 24, 7, 1),
    (3, 8, 33, 1),
    (7, 40, 5, 1),
    (31, 16, 100, 1),
    (33, 64, 31, 1),
    (2, 1024, 9, 1),
    (5, 1032, 4, 1),
    (3, 2056, 17, 1),
    (1, 3072, 11, 1),
    (130, 24, 64, 1),
    (2, 2056, 1, 1),
    (2, 3592, 1, 1),
    (2, 4104, 1, 1),
    (2, 5128, 1, 1),
    (1, 9224, 1, 1),
    (3, 24, 9, 2),
    (2, 1032, 5, 3),
    (5, 8, 12, 8),
    (1, 4104, 1, 2),
];

pub fn rows() -> Vec<Row<Embed>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (rows, hidden, vocab, ranks): (usize, usize, usize, usize)) -> Row<Embed> {
    let mut random = Random::new(seed);
    let slots = 5;
    let mut data = Data::default();
    // Every third row takes its token from a slot.
    let mut id = |row| if row % 3 == 2 { -1 - random.below(slots) as i32 } else { random.below(vocab) as i32 };
    let ids = data.integers("ids", (0..rows).map(&mut id).collect());
    let sampled = data.integers("sampled", (0..slots).map(|_| random.below(vocab) as i32).collect());
    let mut tables = [Ptr::NULL; MOST_RANKS];
    for table in &mut tables[..ranks] {
        *table = data.weight("table", random.reals(vocab * hidden, 1e3), hidden);
    }
    let out = data.undefined("out", rows * ranks * hidden);
    let name = format!("rows {rows}, hidden {hidden}, vocab {vocab}, tables {ranks}");
    let [rows, hidden, vocab, ranks] = [rows, hidden, vocab, ranks].map(|size| size as u32);
    Row { name, kernel: Embed { ids, sampled, tables, out, rows, hidden, vocab, ranks }, data }
}

impl Oracle for Embed {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let (ids, sampled) = (data.i32s(self.ids), data.i32s(self.sampled));
        let tables: Vec<Vec<f64>> = self.tables[..self.ranks as usize].iter().map(|table| data.f64s(*table)).collect();
        let hidden = self.hidden as usize;
        let token = |id: i32| if id < 0 { sampled[(-1 - id) as usize] } else { id } as usize;
        let row = |id: &i32| {
            let first = token(*id) * hidden;
            tables.iter().flat_map(move |table| &table[first..][..hidden])
        };
        let rows = ids.iter().flat_map(row);
        vec![Written::new(self.out, rows.map(|value| Want::exact(*value)).collect())]
    }
}
