//! Rows of `advance`.
use gpu_kernels::{Advance, PAGE_TOKENS};

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, EDGE, PAGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Sequences, pages per sequence, whether the inputs are fresh.
const SHAPES: [(usize, usize, bool); 11] = [
    (1, 1, false),
    (1, 1, true),
    (2, 2, false),
    (3, 7, false),
    (31, 3, false),
    (33, 2, true),
    (33, 2, false),
    (255, 1, false),
    (256, 5, false),
    (257, 2, false),
    (700, 3, false),
];

pub fn rows() -> Vec<Row<Advance>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (sequences, pages, fresh): (usize, usize, bool)) -> Row<Advance> {
    let mut random = Random::new(seed);
    let page_tokens = PAGE_TOKENS as usize;
    // Positions whose successor still has a page; every fourth stands just before a page boundary, if there is one.
    let mut position = |s: usize| {
        if s.is_multiple_of(4) && pages > 1 {
            (1 + random.below(pages - 1)) * page_tokens - 1
        } else {
            random.below(pages * page_tokens - 1)
        }
    };
    let positions: Vec<i32> = (0..sequences).map(|s| position(s) as i32).collect();
    let length = |(s, position): (usize, &i32)| if s % 5 == 3 { 0 } else { position + 1 };
    let lengths: Vec<i32> = positions.iter().enumerate().map(length).collect();
    let page_ids: Vec<i32> = random.permutation(sequences * pages).into_iter().map(|page| page as i32).collect();
    let mut data = Data::default();
    let kernel = Advance {
        fresh: data.integers("fresh", vec![i32::from(fresh)]),
        positions: data.integers("positions", positions),
        lengths: data.integers("lengths", lengths),
        slot_mapping: data.integers("slot_mapping", vec![-7; sequences]),
        block_table: data.integers("block_table", page_ids),
        sequences: sequences as u32,
        pages_per_sequence: pages as u32,
    };
    Row { name: format!("{sequences} sequences of {pages} pages, fresh {fresh}"), kernel, data }
}

impl Oracle for Advance {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[PAGE, EDGE, STRIDE, BARRIER];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        if data.i32s(self.fresh)[0] != 0 {
            return vec![Written::new(self.fresh, vec![Want::exact(0.0)])];
        }
        let (positions, lengths) = (data.i32s(self.positions), data.i32s(self.lengths));
        let exact = |value: i32| Want::exact(f64::from(value));
        let live = |f: &dyn Fn(usize) -> i32| -> Vec<Want> {
            (0..lengths.len()).map(|s| if lengths[s] > 0 { exact(f(s)) } else { Want::Kept }).collect()
        };
        let (table, tokens) = (data.i32s(self.block_table), PAGE_TOKENS as i32);
        let slot = |s: usize| {
            let position = positions[s] + 1;
            table[s * self.pages_per_sequence as usize + (position / tokens) as usize] * tokens + position % tokens
        };
        vec![
            Written::new(self.positions, live(&|s| positions[s] + 1)),
            Written::new(self.lengths, live(&|s| lengths[s] + 1)),
            Written::new(self.slot_mapping, live(&slot)),
        ]
    }
}
