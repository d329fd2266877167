//! Rows of `ssm_copy`.
use gpu_kernels::SsmCopy;
use gpu_kernels::ssm::Mixer;

use crate::data::Data;
use crate::mutants::{Defect, EDGE};
use crate::oracle::{Oracle, Precision, Row, Want, Written};
use crate::random::Random;
use crate::ssm::{Batch, State, at, mixer};

/// The mixer, how many slots, and the copies: [from, to].
type Shape = (Mixer, usize, &'static [[i32; 2]]);

const SHAPES: [Shape; 12] = [
    (mixer(1, 8, 1, 8), 2, &[[0, 1]]),
    (mixer(2, 16, 1, 16), 3, &[]),
    (mixer(6, 8, 2, 24), 4, &[[3, 0], [1, 2]]),
    // A copy of what was copied, and a slot that is copied before it is written.
    (mixer(4, 64, 4, 96), 4, &[[0, 1], [1, 2]]),
    (mixer(3, 80, 1, 128), 5, &[[4, 2], [0, 4], [4, 3], [3, 1]]),
    (mixer(5, 24, 5, 8), 3, &[[2, 0]]),
    (mixer(16, 64, 2, 128), 2, &[[1, 0]]),
    (mixer(8, 40, 4, 56), 6, &[[5, 0], [4, 1], [3, 2]]),
    (mixer(7, 16, 7, 32), 3, &[[0, 1], [1, 0]]),
    (mixer(2, 128, 1, 64), 3, &[[2, 1], [2, 0]]),
    (mixer(1, 16, 1, 256), 8, &[[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [6, 7]]),
    // A slot for itself.
    (mixer(2, 8, 2, 16), 3, &[[1, 1], [1, 0]]),
];

pub fn rows() -> Vec<Row<SsmCopy>> {
    SHAPES.iter().enumerate().map(|(seed, shape)| row(seed as u64, shape)).collect()
}

fn row(seed: u64, &(mixer, slots, copies): &Shape) -> Row<SsmCopy> {
    let mut random = Random::new(seed);
    let mut data = Data::default();
    // Two of the slots are nobody's.
    let batch = Batch::new(&vec![at(1, 70); slots - 2], &mut random);
    let State { state, chunk, ring_x, ring_b, ring_dt, window } = State::new(&mut data, &mixer, &batch, &mut random);
    let numbers = std::iter::once(copies.len() as i32).chain(copies.iter().flatten().copied());
    let kernel = SsmCopy {
        // Behind the last copy stands what an earlier step left.
        copies: data.integers("copies", numbers.chain([0, 1, 0, 1]).collect()),
        state,
        chunk,
        ring_x,
        ring_b,
        ring_dt,
        window,
        heads: mixer.heads,
        head_dim: mixer.head_dim,
        groups: mixer.groups,
        state_size: mixer.state_size,
    };
    Row { name: format!("{mixer:?}, {copies:?}"), kernel, data }
}

impl Oracle for SsmCopy {
    const C: f64 = 0.0;
    const D: f64 = 0.0;
    const DEFECTS: &[Defect] = &[EDGE];

    fn oracle(&self, data: &Data, _: Precision) -> Vec<Written> {
        let numbers = data.i32s(self.copies);
        let copies: Vec<[usize; 2]> =
            (0..numbers[0] as usize).map(|copy| [1, 2].map(|word| numbers[word + 2 * copy] as usize)).collect();
        let slots = data.i32s(self.chunk).len() / self.heads as usize;
        // What each slot's elements end as: another slot's, or what was there.
        let mut holds: Vec<usize> = (0..slots).collect();
        copies.iter().for_each(|[from, to]| holds[*to] = holds[*from]);
        let wanted = |values: Vec<f64>| -> Vec<Want> {
            let elements = values.len() / slots;
            let slot = |(slot, from): (usize, &usize)| match slot == *from {
                true => vec![Want::Kept; elements],
                false => values[from * elements..][..elements].iter().map(|value| Want::exact(*value)).collect(),
            };
            holds.iter().enumerate().flat_map(slot).collect()
        };
        let integers = |values: &[i32]| values.iter().map(|value| f64::from(*value)).collect();
        vec![
            Written::new(self.state, wanted(data.f64s(self.state))),
            Written::new(self.chunk, wanted(integers(data.i32s(self.chunk)))),
            Written::new(self.ring_x, wanted(data.f64s(self.ring_x))),
            Written::new(self.ring_b, wanted(data.f64s(self.ring_b))),
            Written::new(self.ring_dt, wanted(data.f64s(self.ring_dt))),
            Written::new(self.window, wanted(data.f64s(self.window))),
        ]
    }
}
