//! Rows of `advance`.
use gpu_kernels::Advance;

use crate::data::Data;
use crate::mutants::{BARRIER, Defect, EDGE, STRIDE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;

/// Sequences, whether the inputs are fresh.
const SHAPES: [(usize, bool); 11] = [
    (1, false),
    (1, true),
    (2, false),
    (3, false),
    (31, false),
    (33, true),
    (33, false),
    (255, false),
    (256, false),
    (257, false),
    (700, false),
];

pub fn rows() -> Vec<Row<Advance>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, *shape)).collect()
}

fn row(seed: u64, (sequences, fresh): (usize, bool)) -> Row<Advance> {
    let mut random = Random::new(seed);
    let positions: Vec<i32> = (0..sequences).map(|_| random.below(1000) as i32).collect();
    let length = |(s, position): (usize, &i32)| if s % 5 == 3 { 0 } else { position + 1 };
    let lengths: Vec<i32> = positions.iter().enumerate().map(length).collect();
    let mut data = Data::default();
    let kernel = Advance {
        fresh: data.integers("fresh", vec![i32::from(fresh)]),
        positions: data.integers("positions", positions),
        lengths: data.integers("lengths", lengths),
        sequences: sequences as u32,
    };
    Row { name: format!("{sequences} sequences, fresh {fresh}"), kernel, data }
}

impl Oracle for Advance {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE, STRIDE, BARRIER];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        if data.i32s(self.fresh)[0] != 0 {
            return vec![Written::new(self.fresh, vec![Want::exact(0.0)])];
        }
        let (positions, lengths) = (data.i32s(self.positions), data.i32s(self.lengths));
        let exact = |value: i32| Want::exact(f64::from(value));
        let live = |f: &dyn Fn(usize) -> i32| -> Vec<Want> {
            (0..lengths.len()).map(|s| if lengths[s] > 0 { exact(f(s)) } else { Want::Kept }).collect()
        };
        vec![
            Written::new(self.positions, live(&|s| positions[s] + 1)),
            Written::new(self.lengths, live(&|s| lengths[s] + 1)),
        ]
    }
}
